"""Reorder: some words of a text change places."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from simcse_kit.parts import Float, PartSettings
from simcse_kit.views.units import Units, share
from simcse_kit.views.view import Draws, View


class Reorder(View):
    """Of n words ``⌊rate·n + u⌋`` are shuffled among their places: a run of them, or any.

    u is uniform in [0, 1), so that the share is `rate` on average in short texts too. Every order
    is as likely, the one that stood there too.

    Source: random swaps of Wei and Zou: EDA (EMNLP 2019), whose α = 0.1 moves up to 0.2 of the
    words; spans that change places in Wu et al.: CLEAR (2020).
    """

    class Settings(PartSettings):
        rate: Float = Field(0.2, ge=0, le=1, description="Share of the words that are shuffled.")
        scattered: bool = Field(
            False, description="Words from anywhere in the text, not a run of neighbours."
        )

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        units = Units.of(ids, lengths, self.vocabulary)
        many = np.minimum(share(self.settings.rate, units.counts, draws.per_row(0)), units.counts)
        if self.settings.scattered:
            shuffled = units.lowest(draws.per_token(units.counts, 1), many)
        else:
            start = np.floor(draws.per_row(1) * (units.counts - many + 1)).astype(np.int64)
            places = units.places - units.per_word(start)
            shuffled = (places >= 0) & (places < units.per_word(many))
        moved = units.words[shuffled]
        uniform = draws.per_token(units.counts, 2)[shuffled]
        order = np.arange(len(units.starts))
        order[moved] = moved[np.lexsort((uniform, units.text[moved]))]
        return units.joined(order)
