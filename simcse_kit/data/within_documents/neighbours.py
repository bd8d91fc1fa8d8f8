"""A sentence and the next, or a paragraph and the next."""

from __future__ import annotations

import numpy as np

from simcse_kit.data.within_documents.sentences import Document, up_to, words_of


def sentences_pair(
    document: Document, draws: np.random.Generator, *, words: int, least: int
) -> tuple[str, str] | None:
    """Any sentence, and the one that follows it.

    Source: QuickThoughts (Logeswaran and Lee, ICLR 2018, section 3). Where documents are in order
    and none is to be made a pair of, `pairing: neighbour` draws these anew in every epoch.

    Args, returns: as of `title_pair`.
    """
    return _next(document.sentences, draws, least)


def paragraphs_pair(
    document: Document, draws: np.random.Generator, *, words: int, least: int
) -> tuple[str, str] | None:
    """Any paragraph, and the one that follows it; each from its first sentence on.

    Source: as of `sentences_pair`, on the paragraphs that an author made.

    Args, returns: as of `title_pair`.
    """
    return _next(tuple(up_to(each, words) for each in document.paragraphs), draws, least)


def _next(texts: tuple[str, ...], draws: np.random.Generator, least: int) -> tuple[str, str] | None:
    long = [words_of(each) >= least for each in texts]
    both = [place for place in range(len(texts) - 1) if long[place] and long[place + 1]]
    if not both:
        return None
    place = both[int(draws.integers(len(both)))]
    return texts[place], texts[place + 1]
