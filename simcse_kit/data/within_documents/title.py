"""A title, or what stands first, and what comes after it."""

from __future__ import annotations

import numpy as np

from simcse_kit.data.within_documents.sentences import Document, up_to, words_of

_SHORTEST = 2  # words of a title: few say more than few of a sentence do


def title_pair(
    document: Document, draws: np.random.Generator, *, words: int, least: int
) -> tuple[str, str] | None:
    """The first sentence, a title where there is one, and the sentences after it.

    Source: titles and bodies of web pages and questions, as in the weakly supervised pairs of E5
    (Wang et al. 2022, arXiv:2212.03533, section 3.1).

    Args:
        draws: not used; every way is called alike.
        words: what a side holds at most, in whole sentences. least: and at least; a title two.

    Returns:
        Anchor and positive; None where either side is too short.
    """
    if len(document.sentences) < 2:
        return None
    first, rest = document.sentences[0], up_to(document.sentences[1:], words)
    told = words_of(first) >= min(_SHORTEST, least) and words_of(rest) >= least
    return (first, rest) if told else None
