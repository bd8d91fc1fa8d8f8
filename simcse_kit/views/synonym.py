"""Synonyms: words change for others that mean the same, from a lexicon."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from simcse_kit.errors import InputError
from simcse_kit.parts import Context, Float, PartSettings
from simcse_kit.views.lexicon import read_lexicon
from simcse_kit.views.units import Units, cut
from simcse_kit.views.view import Draws, View

_REMEMBERED = 1 << 18  # words; looking one up again costs microseconds

logger = logging.getLogger(__name__)


class Synonym(View):
    """Each word that the lexicon has is replaced with probability `rate`, by any of its synonyms.

    Words are looked up whole and whatever their case; a capital first letter, or capitals
    throughout, stay. A synonym may be several words, an entry of several is never found. A text
    that grows beyond the length that texts are cut to is cut again.

    Source: Wei and Zou: EDA (EMNLP 2019), synonym replacement, α = 0.1; Wu et al.: CLEAR (2020).

    Raises:
        InputError: no lexicon is given, or it cannot be read.
    """

    class Settings(PartSettings):
        lexicon: Path | None = Field(
            None, description="File of words and synonyms: TSV, or JSON lines (.jsonl)."
        )
        rate: Float = Field(
            0.1, ge=0, lt=1, description="Probability that a word with synonyms is replaced."
        )

    @classmethod
    def check(cls, settings: Any) -> None:
        _lexicon(settings.lexicon)

    @classmethod
    def files(cls, settings: Any) -> Sequence[Path]:
        return () if settings.lexicon is None else (settings.lexicon,)

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self._lexicon = _lexicon(self.settings.lexicon)
        several = [word for word in self._lexicon if len(word.split()) > 1]
        if several:
            logger.warning(
                "lexicon %s: %d of its %d words are several words, such as %r, and are never found",
                *(self.settings.lexicon, len(several), len(self._lexicon), several[0]),
            )
        self._known: dict[int, list[np.ndarray]] = {}

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        units = Units.of(ids, lengths, self.vocabulary)
        chosen = np.flatnonzero(draws.per_token(units.counts, 0) < self.settings.rate)
        synonyms = self._synonyms(units, chosen)
        many = np.array([len(each) for each in synonyms], dtype=np.int64)
        which = np.floor(draws.per_token(units.counts, 1)[chosen] * many).astype(np.int64)
        has = np.flatnonzero(many)
        contents = [synonyms[word][which[word]] for word in has]
        replaced = units.with_tokens(units.words[chosen[has]], contents)
        new_ids, new_lengths = replaced.joined(np.arange(len(units.starts)))
        limits = np.maximum(self.vocabulary.max_length, lengths)
        return cut(new_ids, new_lengths, limits, self.vocabulary)

    def _synonyms(self, units: Units, chosen: np.ndarray) -> list[list[np.ndarray]]:
        """The token ids of each synonym of each of the words `chosen`."""
        spellings = units.spellings[chosen]
        distinct, first = np.unique(spellings, return_index=True)
        if len(self._known) > _REMEMBERED:
            self._known = {}
        new = [place for place, key in enumerate(distinct.tolist()) if key not in self._known]
        if new:
            texts = self.vocabulary.texts(units.tokens(units.words[chosen[first[new]]]))
            for key, text in zip(distinct[new].tolist(), texts, strict=True):
                self._known[key] = self._looked_up(text)
        return [self._known[key] for key in spellings.tolist()]

    def _looked_up(self, word: str) -> list[np.ndarray]:
        """The synonyms of a word that the tokens can say."""
        synonyms = [_in_case(each, word) for each in self._lexicon.get(word.casefold(), ())]
        return [np.array(ids) for ids in self.vocabulary.words(synonyms) if ids]


def _lexicon(path: Path | None) -> dict[str, list[str]]:
    """Words and synonyms of the setting's file; InputError where there is none."""
    if path is None:
        raise InputError(
            "view synonym needs a file of words and synonyms; set its lexicon, such as "
            "{name: synonym, lexicon: synonyms.tsv}"
        )
    return read_lexicon(path)


def _in_case(synonym: str, word: str) -> str:
    """A synonym with the capitals of the word that it stands for."""
    if len(word) > 1 and word.isupper():
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym
