"""Token cut-off: the embeddings of some of a text's tokens become zero."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from simcse_kit.parts import Float, PartSettings
from simcse_kit.views.cutoff import Cutoff
from simcse_kit.views.units import lowest
from simcse_kit.views.view import Draws


class TokenCutoff(Cutoff):
    """Of a text of n tokens, the embeddings of ``⌊rate · n⌋`` drawn ones become zero.

    Position and token type are part of an embedding and go with it; the encoder attends to the
    token as to others.

    Shen et al. 2020 (arXiv:2009.13818); ConSERT, Yan et al., ACL 2021, section 3.2, and
    its code, where a text of too few tokens also loses none.
    """

    class Settings(PartSettings):
        rate: Float = Field(0.15, gt=0, lt=1, description="Share of a text's tokens.")
        special: bool = Field(
            True, description="Special tokens ([CLS], [SEP]) count and may be cut as others."
        )

    def kept_tokens(self, ids: np.ndarray, lengths: np.ndarray, draws: Draws) -> np.ndarray:
        """Bool ``(sum(lengths),)``: tokens whose embedding is kept."""
        values = draws.per_token(lengths)
        runs, free = np.repeat(np.arange(len(lengths)), lengths), lengths
        if not self.settings.special:
            special = self.vocabulary.special[ids]
            values = np.where(special, 2.0, values)  # after all others
            free = np.bincount(runs[~special], minlength=len(lengths))
        # a product like 0.29 · 100 lies a hair below the number it stands for
        counts = np.floor(self.settings.rate * free + 1e-9).astype(np.int64)
        return ~lowest(values, lengths, counts)
