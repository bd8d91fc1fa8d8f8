"""Dot products and Euclidean distances as cosines: other vectors, the same ranks.

A query ranks documents by ``q · d`` as it ranks them by the cosine of ``(q, 0)`` and
``(d, s)``, where ``s`` brings every document to one length (Bachrach et al. 2014); and by
``-|q - d|`` as by the dot product of ``(q, 1)`` and ``(d, -|d|² / 2)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simcse_kit.errors import InputError

#: What a retrieval task can rank by.
RANKABLE = ("cosine", "dot", "euclidean")


def similarity_of(model: Any) -> str:
    """What the model says that its embeddings are to be ranked by; InputError for what we cannot.

    A model that says nothing, or nothing yet, is compared by cosine.
    """
    name = getattr(model, "similarity_fn_name", None) or "cosine"
    if name not in RANKABLE:
        raise InputError(
            f"the model compares by {name}, and retrieval ranks by {', '.join(RANKABLE)}; set its"
            " similarity_fn_name to one of these"
        )
    return str(name)


def as_cosines(
    queries: np.ndarray, corpus: np.ndarray, similarity: str
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose cosines rank the corpus for each query as `similarity` ranks it.

    Args:
        queries: (N, D). corpus: (M, D). similarity: one of `RANKABLE`.

    Returns:
        The same arrays for cosine, else float64 (N, D + 1 or 2) and (M, D + 1 or 2).
    """
    if similarity == "cosine":
        return queries, corpus
    queries, corpus = queries.astype(np.float64), corpus.astype(np.float64)
    if similarity == "euclidean":
        queries = np.append(queries, np.ones((len(queries), 1)), axis=1)
        halves = -np.square(corpus).sum(1, keepdims=True) / 2
        corpus = np.append(corpus, halves, axis=1)
    squares = np.square(corpus).sum(1, keepdims=True)
    missing = np.sqrt(squares.max() - squares)
    queries = np.append(queries, np.zeros((len(queries), 1)), axis=1)
    return queries, np.append(corpus, missing, axis=1)
