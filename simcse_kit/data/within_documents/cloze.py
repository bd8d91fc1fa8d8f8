"""A sentence from inside a document, and the document around it."""

from __future__ import annotations

import numpy as np

from simcse_kit.data.within_documents.sentences import Document, up_to, words_of

#: How often the sentence is taken out of what it is to find (Lee et al. 2019, section 4).
TAKEN_OUT = 0.9


def cloze_pair(
    document: Document, draws: np.random.Generator, *, words: int, least: int
) -> tuple[str, str] | None:
    """A sentence that is not the first, and its document, mostly without it.

    What is around it begins so that the sentence's own place lies in it.

    Source: the inverse cloze task (Lee, Chang and Toutanova, ORQA, ACL 2019, arXiv:1906.00300,
    section 4): the sentence is left where it is in one of ten, so that matching words is learned
    as well.

    Args, returns: as of `title_pair`.
    """
    sentences = document.sentences
    inner = [place for place in range(1, len(sentences)) if words_of(sentences[place]) >= least]
    if len(sentences) < 3 or not inner:
        return None
    place = inner[int(draws.integers(len(inner)))]
    start = place
    while start > 0 and _words(sentences[start - 1 : place]) <= words // 2:
        start -= 1
    behind = place + 1 if draws.random() < TAKEN_OUT else place
    around = (*sentences[start:place], *sentences[behind:])
    if not around:
        return None
    rest = up_to(around, words)
    return (sentences[place], rest) if words_of(rest) >= least else None


def _words(sentences: tuple[str, ...]) -> int:
    return sum(map(words_of, sentences))
