"""Character noise: slips of the pen in some words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field

from simcse_kit.parts import Float, Int, PartSettings
from simcse_kit.views.units import Units, cut
from simcse_kit.views.view import Draws, View


class CharacterNoise(View):
    """Each word is misspelt with probability `rate`, by one slip, and written in tokens again.

    The slip is as likely to be two neighbours that change places, a character too few, one too
    many or a wrong one; where in the word, and which letter, is as likely too. Words that have
    fewer than `shortest` characters or no letter, and those that the tokens do not tell, stay. A
    text that grows beyond the length that texts are cut to is cut again.

    Source: the four edits of Pruthi, Dhingra, Lipton (ACL 2019) and of Belinkov and Bisk (ICLR
    2018), without their keyboard.
    """

    class Settings(PartSettings):
        rate: Float = Field(
            0.1, ge=0, lt=1, description="Probability that a word is misspelt, each for itself."
        )
        shortest: Int = Field(3, ge=2, description="Words of fewer characters stay as they are.")
        alphabet: str = Field(
            "abcdefghijklmnopqrstuvwxyz",
            min_length=1,
            description="Letters that slip in; give those of your texts' script.",
        )

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        units = Units.of(ids, lengths, self.vocabulary)
        chosen = np.flatnonzero(draws.per_token(units.counts, 0) < self.settings.rate)
        texts = self.vocabulary.texts(units.tokens(units.words[chosen]))
        uniform = [draws.per_token(units.counts, stream)[chosen].tolist() for stream in (1, 2, 3)]
        slips = [
            self._misspelt(text, *chance) for text, *chance in zip(texts, *uniform, strict=True)
        ]
        changed = [place for place, slip in enumerate(slips) if slip != texts[place]]
        contents = self.vocabulary.words([slips[place] for place in changed])
        said = [(place, new) for place, new in zip(changed, contents, strict=True) if new]
        replaced = units.with_tokens(
            units.words[chosen[[place for place, _ in said]]], [np.array(new) for _, new in said]
        )
        new_ids, new_lengths = replaced.joined(np.arange(len(units.starts)))
        limits = np.maximum(self.vocabulary.max_length, lengths)
        return cut(new_ids, new_lengths, limits, self.vocabulary)

    def _misspelt(self, word: str, kind: float, where: float, letter: float) -> str:
        """A word with one slip, or as it is; `kind`, `where` and `letter` are uniform in [0, 1)."""
        if len(word) < self.settings.shortest or not any(map(str.isalpha, word)):
            return word
        alphabet = self.settings.alphabet
        slip = _SLIPS[int(kind * len(_SLIPS))]
        return slip(word, where, alphabet[int(letter * len(alphabet))])


def _swapped(word: str, where: float, letter: str) -> str:
    at = int(where * (len(word) - 1))
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _without(word: str, where: float, letter: str) -> str:
    at = int(where * len(word))
    return word[:at] + word[at + 1 :]


def _with(word: str, where: float, letter: str) -> str:
    at = int(where * (len(word) + 1))
    return word[:at] + letter + word[at:]


def _wrong(word: str, where: float, letter: str) -> str:
    at = int(where * len(word))
    return word[:at] + letter + word[at + 1 :]


#: Each from a word, where in it (uniform in [0, 1)) and a letter to the word with a slip.
_SLIPS: tuple[Callable[[str, float, str], str], ...] = (_swapped, _without, _with, _wrong)
