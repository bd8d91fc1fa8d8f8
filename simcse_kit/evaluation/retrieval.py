"""Retrieval from embeddings: does each query find its own document?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry import normalize

# Equal texts get equal embeddings, but their cosines may differ by rounding errors of the matrix
# product; anything this close is a tie.
_TIE = 1e-6


def retrieval(
    queries: Any,
    corpus: Any,
    relevant: Any,
    *,
    ks: Sequence[int] = (1, 5, 10),
    block: int = 1024,
) -> dict[str, float]:
    """Recall@k and mean reciprocal rank ×100, by cosine, with one relevant row a query.

    Ties count against the query: the rank of its document is the number of corpus rows that
    score at least as high (within 1e-6), itself included. So a collapsed space gets a rank of
    `len(corpus)` and not of 1, and a document that is in the corpus twice is at best second.

    Args:
        queries: embeddings (N, D). corpus: embeddings (M, D).
        relevant: int (N,), the corpus row that belongs to each query.
        block: queries compared with the whole corpus at a time: memory is O(block · M).

    Returns:
        {"recall@1": …, "recall@5": …, "recall@10": …, "mrr": …}.

    Raises:
        InputError: widths that differ, non-finite or zero rows, row numbers outside the corpus.
    """
    ranks = _ranks(np.asarray(queries), np.asarray(corpus), np.asarray(relevant), block)
    result = {f"recall@{k}": 100 * float((ranks <= k).mean()) for k in ks}
    return {**result, "mrr": 100 * float((1 / ranks).mean())}


def _ranks(queries: np.ndarray, corpus: np.ndarray, relevant: np.ndarray, block: int) -> np.ndarray:
    """Pessimistic rank (N,) of each query's own document, from 1."""
    queries, corpus = normalize(queries), normalize(corpus)
    if queries.shape[1] != corpus.shape[1]:
        raise InputError(
            f"Queries have {queries.shape[1]} dimensions and the corpus {corpus.shape[1]}:"
            " embed both with one model."
        )
    if relevant.shape != (len(queries),) or not np.issubdtype(relevant.dtype, np.integer):
        raise InputError(
            f"relevant must hold one corpus row number for each of the {len(queries)} queries,"
            f" not {relevant.dtype} of shape {relevant.shape}."
        )
    outside = (relevant < 0) | (relevant >= len(corpus))
    if outside.any():
        query = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"The relevant row of query {query} is {relevant[query]}, outside the corpus of"
            f" {len(corpus)} rows."
        )
    ranks = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ corpus.T
        own = relevant[start : start + block, None]
        threshold = np.take_along_axis(scores, own, axis=1) - _TIE
        ranks[start : start + block] = (scores >= threshold).sum(axis=1)
    return ranks
