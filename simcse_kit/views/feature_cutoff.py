"""Feature cut-off: some dimensions of a text's embeddings become zero."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from simcse_kit.parts import Float, PartSettings
from simcse_kit.views.cutoff import Cutoff
from simcse_kit.views.view import Draws


class FeatureCutoff(Cutoff):
    """Of E dimensions, ``⌊rate · E⌋`` drawn for a text become zero in all its tokens.

    They are columns of the whole embedding matrix, as in ConSERT: special tokens lose them, and so
    do those of a prompt and of a template, which other views leave whole. A dimension that some
    tokens still had would not be gone, for attention carries it to all. What is left is not scaled
    up.

    Shen et al. 2020 (arXiv:2009.13818); ConSERT, Yan et al., ACL 2021, section 3.2, and its code,
    whose best pair of views is this at 0.2 against tokens in another order.
    """

    class Settings(PartSettings):
        rate: Float = Field(0.2, gt=0, lt=1, description="Share of the dimensions.")

    def kept_features(self, draws: Draws) -> np.ndarray:
        """Bool ``(B, E)``: dimensions that are kept."""
        shape = len(draws), self.context.width
        count = int(self.settings.rate * shape[1] + 1e-9)
        values = draws.per_token(np.full(*shape)).reshape(shape)
        kept = np.ones(shape, dtype=bool)
        np.put_along_axis(kept, np.argpartition(values, count, axis=1)[:, :count], False, axis=1)
        return kept
