"""Two spans of one text: a long one, and a shorter one in or beside it (DeCLUTR)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from simcse_kit.errors import key_error
from simcse_kit.parts import Int, PartSettings
from simcse_kit.views.units import Units
from simcse_kit.views.view import Draws, View

_ANCHOR, _POSITIVE = 4, 2  # which of five uniform numbers in order: Beta(4, 2) and Beta(2, 4)
_PLACE = 1  # the stream of chance that places a span; 0 is that of its length


class Span(View):
    """A run of words of a text: the anchor's on side 0, on other sides one in or beside it.

    Lengths in words are ``⌊b·(longest − shortest) + shortest⌋`` with b of Beta(4, 2) for anchors
    and of Beta(2, 4) for positives; both bounds are those of the text where it is shorter. An
    anchor starts anywhere it has room. Its positive overlaps it, touches it or is a part of it
    (``any``), touches it (``adjacent``) or is a part of it (``subsumed``), and all places of that
    kind are as likely.

    It is meant for both sides, with the same settings, and for long texts: `max_length` of
    training cuts them first. What the anchor's span is both sides draw alike (`Draws.shared`).

    Source: Giorgi et al.: DeCLUTR (ACL 2021), section 3.1. There texts have at least `longest`
    words, and an anchor starts only where `longest` words have room.
    """

    BOTH_SIDES = True

    class Settings(PartSettings):
        shortest: Int = Field(32, ge=1, description="Words of the shortest span.")
        longest: Int = Field(512, ge=1, description="Words of the longest span.")
        positives: Literal["any", "adjacent", "subsumed"] = Field(
            "any", description="Where a positive lies beside its anchor."
        )

        @model_validator(mode="after")
        def _ordered(self) -> Span.Settings:
            if self.shortest > self.longest:
                raise key_error(
                    "shortest",
                    f"shortest ({self.shortest} words) must not be above longest ({self.longest})",
                )
            return self

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        units = Units.of(ids, lengths, self.vocabulary)
        start, many = self._anchor(units.counts, draws.shared)
        if draws.side > 0:
            start, many = self._positive(units.counts, start, many, draws)
        places = units.places - units.per_word(start)
        return units.kept((places >= 0) & (places < units.per_word(many)))

    def _anchor(self, counts: np.ndarray, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """First word and number of words of each text's anchor, int64 ``(B,)``."""
        longest = np.minimum(self.settings.longest, counts)
        if self.settings.positives == "adjacent":  # leave it a place
            longest = np.minimum(longest, counts - np.minimum(self.settings.shortest, counts // 2))
        many = self._length(_ANCHOR, longest, draws)
        return _below(counts - many + 1, draws.per_row(_PLACE)), many

    def _positive(
        self, counts: np.ndarray, start: np.ndarray, many: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """First word and number of words of each positive, beside its anchor's."""
        end = start + many
        if self.settings.positives == "adjacent":
            room = np.maximum(start, counts - end)  # none where the text is a single word
            length = self._length(_POSITIVE, np.minimum(self.settings.longest, room), draws)
            left = (length <= start) & ((length > counts - end) | (draws.per_row(_PLACE) < 0.5))
            return np.where(room == 0, start, np.where(left, start - length, end)), np.where(
                room == 0, many, length
            )
        within = self.settings.positives == "subsumed"
        longest = many if within else np.minimum(self.settings.longest, counts)
        length = self._length(_POSITIVE, longest, draws)
        low = start if within else np.maximum(start - length, 0)
        high = end - length if within else np.minimum(end, counts - length)
        return low + _below(high - low + 1, draws.per_row(_PLACE)), length

    def _length(self, which: int, longest: np.ndarray, draws: Draws) -> np.ndarray:
        """int64 ``(B,)``: between `shortest` and `longest`, or `longest` where that is less.

        The k-th smallest of five uniform numbers is of Beta(k, 6 − k).
        """
        five = draws.per_token(np.full(len(draws), 5)).reshape(-1, 5)
        beta = np.sort(five, axis=1)[:, which - 1]
        shortest = np.minimum(self.settings.shortest, longest)
        return np.floor(beta * (longest - shortest) + shortest).astype(np.int64)


def _below(bounds: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to below `bounds`, all as likely."""
    return np.floor(uniform * bounds).astype(np.int64)
