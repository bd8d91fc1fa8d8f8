"""How two sets of embeddings compare, by the names that sentence-transformers gives."""

from __future__ import annotations

import numpy as np


def similarities(left: np.ndarray, right: np.ndarray, name: str) -> np.ndarray:
    """All with all, ``(N, M)``: cosines, dot products, or distances with a minus before them.

    Args:
        left, right: float ``(N, D)`` and ``(M, D)``; unit vectors where `name` is cosine.
        name: one of `simcse_kit.encoder.modules.SIMILARITIES`.
    """
    if name in ("cosine", "dot"):
        products: np.ndarray = left @ right.T
        return products
    from scipy.spatial.distance import cdist

    metric = {"euclidean": "euclidean", "manhattan": "cityblock"}[name]
    return -cdist(left, right, metric).astype(left.dtype)
