"""Crop: a run of words stays, what stands before and after it goes."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from simcse_kit.parts import Float, PartSettings
from simcse_kit.views.units import Units, share
from simcse_kit.views.view import Draws, View


class Crop(View):
    """Of n words ``⌊rate·n + u⌋`` go, at most n − 1, and all places of the rest are as likely.

    u is uniform in [0, 1), so that the share is `rate` on average in short texts too.

    Source: the crops of Gao, Yao, Chen: SimCSE (EMNLP 2021), table 1; 10 % there.
    """

    class Settings(PartSettings):
        rate: Float = Field(0.1, ge=0, lt=1, description="Share of the words that is cut off.")

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        units = Units.of(ids, lengths, self.vocabulary)
        wanted = share(self.settings.rate, units.counts, draws.per_row(0))
        gone = np.minimum(wanted, np.maximum(units.counts - 1, 0))
        start = np.floor(draws.per_row(1) * (gone + 1)).astype(np.int64)
        end = start + units.counts - gone
        return units.kept(
            (units.places >= units.per_word(start)) & (units.places < units.per_word(end))
        )
