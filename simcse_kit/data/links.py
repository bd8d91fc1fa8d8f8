"""Which texts the rows call positives of each other, beyond the pair in one row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simcse_kit.errors import InputError

#: Of texts in one document, all together.
_MOST_LINKS = 200_000_000


def text_numbers(texts: Sequence[str]) -> np.ndarray:
    """Numbers from 0 by first appearance, equal for equal texts, int64 ``(N,)``; -1 for no text."""
    numbers: dict[str, int] = {"": -1}
    return np.fromiter(
        (numbers.setdefault(text, len(numbers) - 1) for text in texts), np.int64, len(texts)
    )


def linked_texts(anchors: np.ndarray, positives: np.ndarray, texts: int) -> np.ndarray:
    """The pairs of texts that a row makes, of the texts that stand in several such pairs.

    A text with a single partner needs no entry: its partner, which may be itself, is the positive
    beside it, and equal texts are known by their numbers.

    Args:
        anchors, positives: int64 ``(N,)``: the number of each row's texts, equal for equal texts.
        texts: how many numbers there are.

    Returns:
        int64 ``(L,)``, sorted: ``u · texts + v`` and ``v · texts + u`` for every row ``(u, v)``,
        where its first text has more than one partner.
    """
    keys = np.unique(np.concatenate([anchors * texts + positives, positives * texts + anchors]))
    first, second = np.divmod(keys, texts)
    partners = np.bincount(first, minlength=texts)
    return keys[(partners[first] > 1) & (first != second)]


def document_links(
    texts_of_rows: Sequence[np.ndarray], documents: np.ndarray, texts: int
) -> np.ndarray:
    """The pairs of texts that stand in one document, as `linked_texts` gives those of rows.

    Args:
        texts_of_rows: int64 ``(N,)`` each: the numbers of the rows' texts, a column each.
        documents: int64 ``(N,)``, the document of each row, from 0.

    Raises:
        InputError: a document of so many texts that its pairs could not be kept.
    """
    both = [documents * texts + column for column in texts_of_rows]
    document, text = np.divmod(np.unique(np.concatenate(both)), texts)
    sizes = np.bincount(document)
    if int((sizes.astype(np.float64) ** 2).sum()) > _MOST_LINKS:
        raise InputError(
            f"column document: one of them has {sizes.max():,} texts, and no two texts of a "
            "document may be negatives of each other, which are too many to keep apart; leave the "
            "column out, or give smaller documents"
        )
    each = sizes[document]  # texts beside every text
    behind = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
    second = text[np.repeat((np.cumsum(sizes) - sizes)[document], each) + behind]
    first = np.repeat(text, each)
    return np.unique((first * texts + second)[first != second])


def told_links(links: np.ndarray, texts: int) -> str:
    """How many there are, in words: "2 texts have several positives (8 pairs)"."""
    several = len(np.unique(links // texts))
    have = "texts have" if several > 1 else "text has"
    return f"{several:,} {have} several positives ({len(links):,} pairs)"
