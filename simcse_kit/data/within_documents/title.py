"""A title, or what stands first, and what comes after it."""

from __future__ import annotations

import numpy as np

from simcse_kit.data.within_documents.sentences import Document, up_to, words_of

_SHORTEST = 2  # words of a title: few say more than few of a sentence do


def title_pair(
    document: Document, draws: np.random.Generator, *, words: int, least: int
) -> tuple[str, str] | None:
    """The first sentence, a title where there is one, and the sentences after it.

    Where it is a word alone ("Introduction"), it is the next that has more.

    Source: titles and bodies of web pages and questions, as in the weakly supervised pairs of E5
    (Wang et al. 2022, arXiv:2212.03533, section 3.1).

    Args:
        draws: not used; every way is called alike.
        words: what a side holds at most, in whole sentences. least: and at least; a title two.

    Returns:
        Anchor and positive; None where either side is too short.
    """
    sentences = document.sentences
    shortest = min(_SHORTEST, least)
    start = next((n for n, each in enumerate(sentences) if words_of(each) >= shortest), 0)
    if len(sentences) < start + 2:
        return None
    first, rest = sentences[start], up_to(sentences[start + 1 :], words)
    told = words_of(first) >= shortest and words_of(rest) >= least
    return (first, rest) if told else None
