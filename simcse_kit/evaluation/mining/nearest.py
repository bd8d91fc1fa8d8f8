"""The candidates nearest to each query, block by block: never the whole matrix. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

#: Candidates compared at a time: with as many queries 64 MiB of cosines.
BLOCK = 4096

#: Candidates found beyond those asked for: float32 may order the last ones otherwise than float64.
_SPARE = 8

#: Numbers in float64 gathered at a time for exact cosines: 64 MiB.
_AT_A_TIME = 1 << 23


@dataclass(frozen=True, eq=False)
class Barred:
    """Candidates that are none for a query: `candidate[e]` for `query[e]`, int64 (E,) each.

    Sorted by query, then by candidate; each pair once.
    """

    query: np.ndarray
    candidate: np.ndarray

    def between(self, start: int, stop: int) -> Barred:
        """Those of the queries from `start` up to `stop`, whose numbers begin from 0 there."""
        some = slice(*np.searchsorted(self.query, [start, stop]))
        return Barred(self.query[some] - start, self.candidate[some])


def nearest(
    queries: np.ndarray, corpus: np.ndarray, depth: int, barred: Barred, *, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """The `depth` candidates of highest cosine for each query, the highest first.

    Found in float32, ordered by the cosine in float64 of the same vectors (`cosines_at`), equal
    ones by their place in the corpus: the order does not depend on `block`.

    Args:
        queries: float32 (N, D), unit rows. corpus: float32 (M, D), unit rows, for instance a memory
            map, of which `block` rows are read at a time.
        barred: no candidates of their query.

    Returns:
        Rows of the corpus, int64 (N, K), −1 where a query has fewer candidates, and their cosines,
        float64 (N, K), −inf there; K is `depth`, or M where that is less. Memory is
        O(N · (block + depth)).
    """
    found = _found(queries, corpus, min(len(corpus), depth + _SPARE), barred, block)
    return in_order(queries, corpus, found, min(len(corpus), depth))


def in_order(
    queries: np.ndarray, corpus: np.ndarray, found: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first `depth` of what was `found` (N, F), by exact cosine; as `nearest` returns them."""
    cosines = cosines_at(queries, corpus, found)
    order = np.lexsort((found, -cosines), axis=1)[:, :depth]
    return np.take_along_axis(found, order, 1), np.take_along_axis(cosines, order, 1)


def cosines_at(queries: np.ndarray, corpus: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The products of query i with the corpus's rows `places[i]`, in float64: (N, K).

    Args:
        queries: float32 (N, D). corpus: float32 (M, D), unit rows both.
        places: int64 (N, K); −1 gives −inf.
    """
    corpus = np.asarray(corpus)  # a memory map is slow at picking rows
    cosines = np.full(places.shape, -np.inf)
    at_once = max(1, _AT_A_TIME // max(1, places.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), at_once):
        some = slice(start, start + at_once)
        asked, rows = np.asarray(queries[some], np.float64), corpus[places[some]]
        cosines[some] = np.einsum("nd,nkd->nk", asked, rows.astype(np.float64))
    cosines[places < 0] = -np.inf
    return cosines


def _found(
    queries: np.ndarray, corpus: np.ndarray, depth: int, barred: Barred, block: int
) -> np.ndarray:
    """As `nearest`, in float32 alone: int64 (N, depth), −1 where there are fewer."""
    asked = torch.from_numpy(np.array(queries))
    best, places = np.empty((len(asked), 0), np.float32), np.empty((len(asked), 0), np.int64)
    order = np.argsort(barred.candidate, kind="stable")
    rows, columns = barred.query[order], barred.candidate[order]
    for left in range(0, len(corpus), block):
        cosines = (asked @ torch.from_numpy(np.array(corpus[left : left + block])).T).numpy()
        here = slice(*np.searchsorted(columns, [left, left + block]))
        cosines[rows[here], columns[here] - left] = -np.inf
        above, where = _among(cosines, _floor(best, cosines, depth))
        both, at = np.append(best, above, axis=1), np.append(places, where + left, axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :depth]
        best, places = np.take_along_axis(both, order, 1), np.take_along_axis(at, order, 1)
    places[np.isneginf(best)] = -1
    return places


def _floor(best: np.ndarray, cosines: np.ndarray, depth: int) -> np.ndarray:
    """The least cosine that may be among the `depth` best, (N, 1).

    Once there are so many it lies above the lowest of them: what only equals that comes after it in
    the corpus, and stays behind. So after the first blocks few reach it, and to sort them is cheap.
    """
    if best.shape[1] == depth:
        return np.nextafter(best[:, -1:], np.float32(np.inf))
    width = cosines.shape[1]
    if width <= depth:
        return np.full((len(cosines), 1), -np.inf, np.float32)
    return np.partition(cosines, width - depth, axis=1)[:, width - depth, None]


def _among(cosines: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cosines from `floor` on and their columns: (N, m) each, filled up with −inf."""
    width = cosines.shape[1]
    rows, columns = np.divmod(np.flatnonzero(cosines >= floor), width)
    counts = np.bincount(rows, minlength=len(cosines))
    place = np.arange(len(rows)) - (counts.cumsum() - counts)[rows]
    shape = (len(cosines), int(counts.max()))
    above, where = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int64)
    above[rows, place], where[rows, place] = cosines[rows, columns], columns
    return above, where
