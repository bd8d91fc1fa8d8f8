"""Two spans of sentences from two parts of one document."""

from __future__ import annotations

import numpy as np

from simcse_kit.data.within_documents.sentences import Document, up_to, words_of


def crop_pair(
    document: Document, draws: np.random.Generator, *, words: int, least: int
) -> tuple[str, str] | None:
    """Cut a document between two sentences, and take a span from either part, in either order.

    Source: two crops of one text are a positive pair in Contriever (Izacard et al. 2022,
    arXiv:2112.09118, section 3.2) and DeCLUTR (Giorgi et al. 2021, arXiv:2006.03659, section 3).
    Theirs may overlap; these do not, or what they share would be all that is learned from short
    documents.

    Args, returns: as of `title_pair`.
    """
    sentences = document.sentences
    if len(sentences) < 2:
        return None
    cut = int(draws.integers(1, len(sentences)))
    one, other = (_span(part, draws, words) for part in (sentences[:cut], sentences[cut:]))
    if draws.random() < 0.5:
        one, other = other, one
    return (one, other) if min(words_of(one), words_of(other)) >= least else None


def _span(sentences: tuple[str, ...], draws: np.random.Generator, words: int) -> str:
    """From any sentence on, up to any."""
    start = int(draws.integers(len(sentences)))
    stop = int(draws.integers(start, len(sentences))) + 1
    return up_to(sentences[start:stop], words)
