"""Clusters of unit vectors: k-means with none left empty, and whether one has most of them."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.errors import InputError
from simcse_kit.objectives.cosines import cosines, full_precision

logger = logging.getLogger(__name__)

#: Distances of a k-means pass up to which it looks at all rows at each of its steps.
_WHOLE = 20_000_000
_PASSES = 20  # as the code of PCL
_BATCH = 4096  # rows of a mini-batch
#: Share of the rows in one cluster from which the clusters say little; of two, one may have most.
_MOST = 0.5


@dataclass(frozen=True)
class Clusters:
    """K clusters of N unit vectors.

    Attributes:
        centroids: float32 ``(K, D)`` unit vectors.
        own: int64 ``(N,)``, the cluster of each, that of the nearest centroid; none is empty.
        distances: float32 ``(N,)``, of each to its centroid.
    """

    centroids: np.ndarray
    own: np.ndarray
    distances: np.ndarray


def find_clusters(embeddings: np.ndarray, clusters: int, seed: int) -> Clusters:
    """Cluster rows by their directions: scikit-learn's k-means on unit vectors.

    It starts with k-means++ on 1,000 rows, or 4K. Up to 20 million distances a pass it is `KMeans`
    with 20 passes, above that `MiniBatchKMeans`. An empty cluster is given the row that is farthest
    from its centroid.

    Args:
        embeddings: ``(N, D)``, any scale.
        clusters: K, at most N.
        seed: of the start.

    Raises:
        InputError: there are fewer rows than clusters, or an embedding is not finite.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if len(embeddings) < clusters:
        raise InputError(
            f"{clusters} clusters cannot be made of {len(embeddings)} rows; give fewer in clusters"
        )
    if not np.isfinite(embeddings).all():
        raise InputError(
            "the data's embeddings are not finite, so there are no clusters of them; lower "
            "learning_rate, or train with bf16=false"
        )
    unit = _unit(np.asarray(embeddings, dtype=np.float32))
    some = np.random.default_rng(seed).permutation(len(unit))[: max(1000, 4 * clusters)]
    # one trial a centroid, of some rows: the default costs far more than all the passes
    start, _ = kmeans_plusplus(unit[some], clusters, random_state=seed, n_local_trials=1)
    if len(unit) * clusters <= _WHOLE:
        kmeans = KMeans(clusters, init=start, n_init=1, max_iter=_PASSES, random_state=seed)
    else:
        kmeans = MiniBatchKMeans(
            clusters, init=start, n_init=1, batch_size=max(_BATCH, clusters), random_state=seed
        )
    # threads add up in the order in which they end: a resumed run, and ranks, would differ
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        # fewer different rows than clusters: what is left empty is filled below
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(unit)
    centroids = _unit(kmeans.cluster_centers_.astype(np.float32))
    nearest, cosine = _nearest(unit, centroids)
    distances = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    return _filled(unit, Clusters(centroids, nearest, distances))


@full_precision
def nearest_prototype(views: Tensor, prototypes: Tensor) -> Tensor:
    """Which of ``(K, D)`` is nearest by cosine to the mean of a text's views, int64 ``(N,)``.

    Args:
        views: ``(V, N, D)``, any scale; each counts by its direction.
    """
    return cosines(F.normalize(views, dim=-1).sum(0), prototypes).argmax(1)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _nearest(unit: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's nearest centroid and its cosine, in blocks."""
    at_once = max(1, (1 << 22) // len(centroids))
    cosines = [unit[at : at + at_once] @ centroids.T for at in range(0, len(unit), at_once)]
    nearest = np.concatenate([each.argmax(1) for each in cosines])
    return nearest, np.concatenate([each.max(1) for each in cosines])


def _filled(unit: np.ndarray, found: Clusters) -> Clusters:
    """The same, where every empty cluster has been given a row that was far from its own."""
    centroids, own, distances = (
        found.centroids.copy(),
        found.own.copy(),
        found.distances.copy(),
    )
    counts = np.bincount(own, minlength=len(centroids))
    far = iter(np.argsort(-distances, kind="stable").tolist())
    for empty in np.flatnonzero(counts == 0).tolist():
        row = next(row for row in far if counts[own[row]] > 1)
        counts[own[row]] -= 1
        counts[empty] = 1
        centroids[empty], own[row], distances[row] = unit[row], empty, 0
    return Clusters(centroids, own, distances)


def even_share(shares: np.ndarray) -> float:
    """How evenly clusters are used: the entropy of their shares over its most, ``ln K``; 0 to 1."""
    used = shares[shares > 0]
    return float(-(used * np.log(used)).sum() / np.log(len(shares)))


def has_collapsed(shares: np.ndarray) -> bool:
    """Whether one of K clusters has more than half of all, or of two or three nearly all."""
    return bool(shares.max() > max(_MOST, min(2 / len(shares), 0.99)))


def tell_collapsed(part: str, what: str, shares: np.ndarray) -> None:
    """Warn that one cluster has most of what is shared out over them."""
    logger.warning(
        "%s: one of %d clusters has %.0f %% of %s, so that they tell little apart; the space may "
        "be collapsing: lower the part's weight or learning_rate, or give InfoNCE beside it",
        *(part, len(shares), 100 * shares.max(), what),
    )
