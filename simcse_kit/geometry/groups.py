"""Rows in groups: by label or by k-means, which rows are typical of each, how well they part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry import normalize
from simcse_kit.geometry.projection import JUDGED, NEIGHBOURS, checked_rows, draw
from simcse_kit.geometry.rows import whole_number

_MOST_CLUSTERS = 12  # tried when the number is not given: more cannot be told apart on a map
_STARTS = 10  # of k-means, of which the best counts
_COPY = 0.9995  # cosine: equal texts of different batches differ a little in bf16


@dataclass(frozen=True)
class Groups:
    """N rows in groups, the largest group first."""

    kind: Literal["label", "cluster"]
    names: tuple[str, ...]
    members: np.ndarray  # int64 (N,): the group of each row
    silhouette: float | None = None  # of clusters: -1 to 1, the mean over at most 2,000 rows
    chosen: bool = False  # the number of clusters was chosen by the silhouette, not given

    @property
    def sizes(self) -> np.ndarray:
        """int64: the rows of each group."""
        return np.bincount(self.members, minlength=len(self.names))

    @property
    def chance(self) -> float:
        """The share of same-group rows around a row if the groups were shuffled."""
        sizes, n = self.sizes, len(self.members)
        return float((sizes * (sizes - 1)).sum() / (n * (n - 1)))


def by_label(labels: Sequence[str]) -> Groups:
    """One group for each distinct label; of two as large, the first in the alphabet comes first."""
    names = sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    place = {name: index for index, (name, _) in enumerate(names)}
    members = np.array([place[label] for label in labels], dtype=np.int64)
    return Groups("label", tuple(place), members)


def by_cluster(embeddings: np.ndarray, count: int | None = None, seed: int = 0) -> Groups:
    """k-means of embeddings (N, D) on the unit sphere, in `count` clusters.

    Without `count`, the number from 2 to 12 with the largest mean silhouette (Rousseeuw, 1987).

    Raises:
        InputError: what `projection.project` refuses, or `count` is not between 2 and the number
            of distinct rows.
    """
    from sklearn.cluster import KMeans

    unit = checked_rows(embeddings)
    seed = whole_number(seed, "seed", 0)
    distinct = len(np.unique(unit, axis=0))
    if count is not None and whole_number(count, "the number of clusters", 2) > distinct:
        raise InputError(f"{count} clusters cannot be made of {distinct} distinct embeddings.")
    most = min(_MOST_CLUSTERS, distinct, len(unit) - 1)
    parted = []
    for k in range(2, most + 1) if count is None else [count]:
        members = KMeans(k, n_init=_STARTS, random_state=seed).fit_predict(unit)
        parted.append((_silhouette(unit, members, seed), members))
    silhouette, members = max(parted, key=lambda found: found[0])
    sizes = np.bincount(members)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    names = tuple(f"Cluster {number + 1}" for number in range(len(sizes)))
    return Groups("cluster", names, rank[members], silhouette, count is None)


def _silhouette(unit: np.ndarray, members: np.ndarray, seed: int) -> float:
    from sklearn.metrics import silhouette_score

    some = draw(len(unit), JUDGED, seed)
    if not 2 <= len(np.unique(members[some])) < len(some):
        return 0.0  # as for a row alone in its cluster
    return float(silhouette_score(unit[some], members[some]))


def central_rows(embeddings: np.ndarray, groups: Groups, each: int = 3) -> list[np.ndarray]:
    """For each group, its `each` rows nearest to the group's mean direction, nearest first.

    Rows that all but equal one already taken are passed over: copies would crowd the others out.
    """
    unit = normalize(embeddings)
    central = []
    for group in range(len(groups.names)):
        rows = np.flatnonzero(groups.members == group)
        taken: list[int] = []
        for row in rows[np.argsort(-(unit[rows] @ unit[rows].mean(axis=0)), kind="stable")]:
            if not taken or (unit[taken] @ unit[row]).max() < _COPY:
                taken.append(int(row))
            if len(taken) == each:
                break
        central.append(np.array(taken))
    return central


def neighbours_alike(
    rows: np.ndarray, groups: Groups, neighbours: int = NEIGHBOURS, seed: int = 0
) -> float:
    """Of a row's nearest neighbours by Euclidean distance, the share that is of its own group.

    `rows` (N, D) are points, or embeddings on the unit sphere. Measured on all rows, or on 2,000
    drawn by `seed`; the neighbours are always among all.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(neighbours, len(rows) - 1)
    some = draw(len(rows), JUDGED, seed)
    near = (
        NearestNeighbors(n_neighbors=k + 1).fit(rows).kneighbors(rows[some], return_distance=False)
    )
    # A row is its own neighbour, though not always the first where there are copies of it.
    others = near != some[:, None]
    others[others.all(axis=1), -1] = False
    alike = (groups.members[near] == groups.members[some][:, None]) & others
    return float(alike.sum() / others.sum())
