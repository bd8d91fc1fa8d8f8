"""Embeddings become points in the plane, with figures that say how far to trust them.

A picture of 384 dimensions in two is wrong somewhere. So every projection carries the share of
variance that its two principal axes hold, and its trustworthiness: how many of the neighbours one
sees are neighbours indeed. All distances are Euclidean between unit rows, which rank as cosines do.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry import normalize
from simcse_kit.geometry.rows import whole_number

Method = Literal["pca", "tsne", "umap"]

FEWEST = 3  # points that make a picture
_PERPLEXITY = 30.0  # van der Maaten & Hinton (2008) advise 5 to 50
_UMAP_NEIGHBOURS = 15  # the default of McInnes et al. (2018)
NEIGHBOURS = 10  # looked at around each point
JUDGED = 2000  # rows whose distances to each other are all compared


@dataclass(frozen=True)
class Projection:
    """N points in the plane, and how much of the space they show."""

    method: Method
    points: np.ndarray  # float64 (N, 2); t-SNE's and UMAP's axes have no meaning
    variance: tuple[float, float]  # shares (0 to 1) of the variance on the first principal axes
    trustworthiness: float  # 0 to 1; see `trustworthiness`
    neighbours: int  # looked at for it
    judged: int  # rows it was measured on
    settings: dict[str, float]  # the method's own
    seed: int

    @property
    def is_linear(self) -> bool:
        """Whether the axes are directions of the space, so that `variance` is of this picture."""
        return self.method == "pca"


def project(embeddings: np.ndarray, method: Method = "pca", seed: int = 0) -> Projection:
    """Put embeddings (N, D) in the plane.

    ``pca`` keeps what it can of the distances: the plane of largest variance, each axis turned so
    that its largest loading is positive. ``tsne`` (van der Maaten & Hinton, 2008) and ``umap``
    (McInnes et al., 2018) keep neighbours together instead; sizes of groups and gaps between them
    then mean little. Both start from the principal plane, which keeps more of the global layout
    than a random start (Kobak & Linderman, 2021).

    The result is the same for the same seed on one machine with the same number of threads.

    Raises:
        InputError: fewer than 3 rows, fewer than 2 columns, rows that are not finite, zero or all
            equal; an unknown method; ``umap`` where umap-learn is not installed.
    """
    seed = whole_number(seed, "seed", 0)
    check_method(method)
    unit = checked_rows(embeddings)
    points, variance = _principal_plane(unit)
    settings: dict[str, float] = {}
    if method == "tsne":
        points, settings = _tsne(unit, points, seed)
    elif method == "umap":
        points, settings = _umap(unit, points, seed)
    figure, neighbours, judged = trustworthiness(unit, points, seed=seed)
    return Projection(method, points, variance, figure, neighbours, judged, settings, seed)


def check_method(method: str) -> None:
    """Raise InputError unless `method` is known and its package installed."""
    if method not in get_args(Method):
        raise InputError(f"method must be {', '.join(get_args(Method))}, not {method!r}.")
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise InputError(
            "UMAP needs the package umap-learn, which is not installed: "
            "pip install 'simcse-kit[umap]', or choose pca or tsne"
        )


def trustworthiness(
    embeddings: np.ndarray, points: np.ndarray, neighbours: int = NEIGHBOURS, seed: int = 0
) -> tuple[float, int, int]:
    """How far neighbours in `points` (N, 2) are neighbours among the unit rows of `embeddings`.

    1 when every point's k nearest in the picture are its k nearest in the space; strangers among
    them cost their rank in the space (Venna & Kaski, 2001). A random picture has about 0.5.

    Returns the figure, k, and the rows it was measured on: all, or 2,000 drawn by `seed`. k is
    `neighbours`, or what is below half of these rows, as the definition demands.
    """
    from sklearn.manifold import trustworthiness as judge

    some = draw(len(points), JUDGED, seed)
    k = min(neighbours, (len(some) - 1) // 2)
    return float(judge(normalize(embeddings)[some], points[some], n_neighbors=k)), k, len(some)


def draw(count: int, most: int, seed: int) -> np.ndarray:
    """int64: all of ``range(count)``, or `most` of them drawn without replacement, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


# ---- the methods --------------------------------------------------------------------------------


def checked_rows(embeddings: np.ndarray) -> np.ndarray:
    """Unit rows, float64 (N, D), of which some differ."""
    unit = normalize(np.asarray(embeddings)).astype(np.float64)
    if len(unit) < FEWEST:
        raise InputError(f"A map needs at least {FEWEST} embeddings, not {len(unit)}.")
    if unit.shape[1] < 2:
        raise InputError("A map needs embeddings of at least 2 dimensions, not 1.")
    # float32 leaves equal texts of different batches some 1e-7 apart
    if np.ptp(unit, axis=0).max() < 1e-6:
        raise InputError(f"All {len(unit)} embeddings point the same way: there is no map of them.")
    return unit


def _principal_plane(unit: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Coordinates (N, 2) on the two principal axes, and their shares of the variance."""
    from sklearn.decomposition import PCA

    # both are exact and deterministic; which is quicker depends on the shape alone
    solver = "full" if len(unit) < unit.shape[1] else "covariance_eigh"
    pca = PCA(n_components=2, svd_solver=solver)
    points = pca.fit_transform(unit)
    first, second = pca.explained_variance_ratio_
    return points, (float(first), float(second))


def _tsne(unit: np.ndarray, plane: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    from sklearn.manifold import TSNE

    # a point cannot have more neighbours of weight than a third of the others
    perplexity = max(1.0, min(_PERPLEXITY, (len(unit) - 1) / 3))
    start = plane / plane[:, 0].std() * 1e-4
    method = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=seed)
    points = method.fit_transform(unit).astype(np.float64)
    return points, {"perplexity": perplexity}


def _umap(unit: np.ndarray, plane: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    from umap import UMAP  # no dependency: it compiles itself for half a minute

    neighbours = min(_UMAP_NEIGHBOURS, len(unit) - 1)
    # one thread: with more, umap-learn does not keep to its seed
    method = UMAP(n_neighbors=neighbours, min_dist=0.1, init=plane, random_state=seed, n_jobs=1)
    points = np.asarray(method.fit_transform(unit), dtype=np.float64)
    return points, {"n_neighbors": neighbours, "min_dist": 0.1}
