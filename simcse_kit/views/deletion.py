"""Word deletion: some words are left out (EDA, CLEAR)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from simcse_kit.parts import Float, PartSettings
from simcse_kit.views.units import Units
from simcse_kit.views.view import Draws, View


class Deletion(View):
    """Each word goes with probability `rate`, with all its tokens; one always stays.

    Where all would go, the word that came nearest to staying does.

    Source: Wei and Zou: EDA (EMNLP 2019), random deletion, α = 0.1; Wu et al.: CLEAR (2020).
    """

    class Settings(PartSettings):
        rate: Float = Field(
            0.1, ge=0, lt=1, description="Probability that a word is left out, each for itself."
        )

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        units = Units.of(ids, lengths, self.vocabulary)
        uniform = draws.per_token(units.counts)
        nearest = units.lowest(-uniform, np.ones_like(units.counts))
        return units.kept((uniform >= self.settings.rate) | nearest)
