"""Subword repetition: some tokens stand twice (ESimCSE)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from simcse_kit.parts import Float, Int, PartSettings
from simcse_kit.views.units import lowest
from simcse_kit.views.view import Draws, View


class Repetition(View):
    """Of n tokens (special ones counted) some that are not special are put twice.

    Their number is uniform over ``0 … min(most, ⌊rate·n⌋) − 1``, and 0 where ``⌊rate·n⌋ = 0``.
    It is done after texts were cut, as ESimCSE does: a text of 32 tokens may have 41 then. It
    never has more than the model has positions for: fewer are put twice where there is no room.

    Source: Wu et al.: ESimCSE (COLING 2022), section 3.1, and its authors' code. Their rates:
    0.32 (BERT), 0.30 (RoBERTa-base), 0.28 (RoBERTa-large).
    """

    class Settings(PartSettings):
        rate: Float = Field(
            0.32, ge=0, lt=1, description="Bounds the repeated tokens: a share of a text's tokens."
        )
        most: Int = Field(10, ge=1, description="Fewer tokens than this are put twice in a text.")

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        bound = np.minimum(self.settings.most, np.floor(self.settings.rate * lengths))
        many = np.floor(draws.per_row(0) * bound).astype(np.int64)
        if self.vocabulary.room is not None:
            many = np.clip(many, 0, np.maximum(self.vocabulary.room - lengths, 0))
        text = np.repeat(np.arange(len(lengths)), lengths)
        ordinary = ~self.vocabulary.special[ids]
        counts = np.bincount(text[ordinary], minlength=len(lengths))
        times = np.ones(len(ids), dtype=np.int64)
        times[ordinary] += lowest(draws.per_token(counts, 1), counts, many)
        return np.repeat(ids, times), np.bincount(text, weights=times).astype(np.int64)
