"""The ways by name: each from all documents to what draws a pair of one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from simcse_kit.data.within_documents.cloze import cloze_pair
from simcse_kit.data.within_documents.crop import crop_pair
from simcse_kit.data.within_documents.keywords import key_terms, keywords_pair
from simcse_kit.data.within_documents.neighbours import paragraphs_pair, sentences_pair
from simcse_kit.data.within_documents.sentences import Document
from simcse_kit.data.within_documents.title import title_pair

Pair = tuple[str, str]
#: A document's number and chance to a pair, or None where it gives none.
Draw = Callable[[int, np.random.Generator], Pair | None]
#: All documents, the words of a side at most, and at least.
Way = Callable[[Sequence[Document], int, int], Draw]


def _of_each(pair: Callable[..., Pair | None]) -> Way:
    """A way that looks at one document alone."""

    def way(documents: Sequence[Document], words: int, least: int) -> Draw:
        return lambda number, draws: pair(documents[number], draws, words=words, least=least)

    return way


def _keywords(documents: Sequence[Document], words: int, least: int) -> Draw:
    terms = key_terms(documents)
    drawn = partial(keywords_pair, words=words, least=least)
    return lambda number, draws: drawn(documents[number], terms[number], draws)


WAYS: dict[str, Way] = {
    "title": _of_each(title_pair),
    "crop": _of_each(crop_pair),
    "cloze": _of_each(cloze_pair),
    "keywords": _keywords,
    "sentences": _of_each(sentences_pair),
    "paragraphs": _of_each(paragraphs_pair),
}
