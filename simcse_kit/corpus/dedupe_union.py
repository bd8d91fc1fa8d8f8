"""Which rows links hold together: a union-find that takes links in arrays."""

from __future__ import annotations

import numpy as np


class Union:
    """Rows 0…M−1, each alone at first; the root of a cluster is its first row.

    Attributes:
        parent: int64 (M,), a row of the same cluster, no later one; a root is its own.
    """

    def __init__(self, count: int) -> None:
        self.parent = np.arange(count)

    def roots(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The first row of the cluster of each of these rows, by default of all: int64 (n,)."""
        own = np.arange(len(self.parent)) if rows is None else rows
        found = self.parent[own]
        while True:
            above = self.parent[found]
            if np.array_equal(above, found):
                break
            found = self.parent[above]
        self.parent[own] = found  # the way is short the next time
        return found

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Link row `first[p]` with row `second[p]`, int64 (P,) each."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        one, other = self.roots(first), self.roots(second)
        apart = one != other
        if not apart.any():
            return
        ends = np.stack([one[apart], other[apart]])
        nodes, places = np.unique(ends, return_inverse=True)
        row, column = places.reshape(2, -1)
        size = len(nodes)
        graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(size, size))
        _, labels = connected_components(graph, directed=False)
        first_of = np.full(labels.max() + 1, len(self.parent))
        np.minimum.at(first_of, labels, nodes)
        self.parent[nodes] = first_of[labels]
