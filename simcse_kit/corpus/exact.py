"""Exact search: the vectors nearest to each query, block by block, never the whole matrix.

The one mechanism for what is nearest to a query: corpora are searched and negatives mined by
`nearest`, and retrieval counts over the same blocks of products (`product_blocks`). All pairs of a
corpus are the affair of `dedupe_pairs`. Arrays only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from simcse_kit.corpus.given import as_rows, row_numbers
from simcse_kit.errors import InputError

#: Vectors compared at a time: with as many queries 64 MiB of cosines.
BLOCK = 4096

#: Found beyond those asked for: float32 may order the last ones otherwise than float64.
_SPARE = 8

#: Numbers in float64 gathered at a time for exact cosines: 64 MiB.
_AT_A_TIME = 1 << 23

#: Blocks that go to a device at once: it waits for small ones.
_ON_DEVICE = 16


class Rows(Protocol):
    """Vectors (M, D) that are read a slice or some rows at a time: an array, a map, or a reader."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Barred:
    """Candidates that are none for a query: `candidate[e]` for `query[e]`, int64 (E,) each.

    Sorted by query, then by candidate; each pair once.
    """

    query: np.ndarray
    candidate: np.ndarray

    @classmethod
    def none(cls) -> Barred:
        """Every candidate is one."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def of(cls, query: np.ndarray, candidate: np.ndarray) -> Barred:
        """Pairs in any order, some perhaps twice; a candidate below 0 is none."""
        pairs = np.stack([query, candidate])[:, candidate >= 0].astype(np.int64)
        return cls(*np.unique(pairs, axis=1))

    def between(self, start: int, stop: int) -> Barred:
        """Those of the queries from `start` up to `stop`, whose numbers begin from 0 there."""
        some = slice(*np.searchsorted(self.query, [start, stop]))
        return Barred(self.query[some] - start, self.candidate[some])


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Rows at length 1, made so as they are read; what has no direction stays zero.

    InputError where one that is read is not finite; it names the `source` of the rows.
    """

    rows: Rows
    dtype: Any = np.float32
    source: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and dimensions."""
        return self.rows.shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: Any, /) -> np.ndarray:
        return unit(self.rows[some], self.dtype, source=self.source)


def unit(rows: np.ndarray, dtype: Any = np.float32, *, source: str = "") -> np.ndarray:
    """Rows (N, D) at length 1, in this type; what has no direction stays zero.

    Raises:
        InputError: a row whose length is not finite, for it would hide others in a search.
    """
    exact = np.array(as_rows(rows), dtype)
    length = np.linalg.norm(exact, axis=-1, keepdims=True)
    if not np.isfinite(length).all():
        where = f"{source}: " if source else ""
        raise InputError(f"{where}a vector is not finite; embed it again")
    exact /= np.where(length == 0, 1, length)
    return exact


def nearest(
    queries: np.ndarray,
    corpus: Rows,
    depth: int,
    barred: Barred | None = None,
    *,
    among: np.ndarray | None = None,
    block: int = BLOCK,
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The `depth` rows of highest cosine for each query, the highest first.

    Found in float32, ordered by the cosine in float64 of the same vectors (`cosines_at`), equal
    ones by their place in the corpus: the order does not depend on `block`. (On a device, of more
    than eight equal ones at the end of the list it is any.)

    Args:
        queries: float32 (N, D), unit rows. corpus: float32 (M, D), unit rows, for instance a memory
            map, of which `block` rows are read at a time.
        barred: no candidates of their query.
        among: the rows that are searched, numbers or a mask; by default all.
        device: of the products; by default CUDA where there is one, else the CPU.

    Returns:
        Rows of the corpus, int64 (N, K), −1 where a query has fewer candidates, and their cosines,
        float64 (N, K), −inf there; K is `depth`, or M where that is less. Memory is
        O(N · (block + depth)).
    """
    queries, corpus = as_rows(queries), as_rows(corpus)
    if among is not None:
        among = row_numbers(among, len(corpus), "the corpus")
    barred = barred or Barred.none()
    device = device or _best_device()
    deeper = min(len(corpus), depth + _SPARE)
    if device == "cpu":
        found = _found(queries, corpus, deeper, barred, among, block)
    else:
        found = _found_on(device, queries, corpus, deeper, barred, among, block)
    return in_order(queries, corpus, found, min(len(corpus), depth))


def in_order(
    queries: np.ndarray, corpus: Rows, found: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first `depth` of what was `found` (N, F), by exact cosine; as `nearest` returns them."""
    cosines = cosines_at(queries, corpus, found)
    order = np.lexsort((found, -cosines), axis=1)[:, :depth]
    return np.take_along_axis(found, order, 1), np.take_along_axis(cosines, order, 1)


def cosines_at(queries: np.ndarray, corpus: Rows, places: np.ndarray) -> np.ndarray:
    """The products of query i with the corpus's rows `places[i]`, in float64: (N, K).

    Args:
        queries: float32 (N, D). corpus: float32 (M, D), unit rows both.
        places: int64 (N, K); −1 gives −inf.
    """
    if isinstance(corpus, np.ndarray):
        corpus = np.asarray(corpus)  # a memory map is slow at picking rows
    cosines = np.full(places.shape, -np.inf)
    if not len(corpus):
        return cosines
    at_once = max(1, _AT_A_TIME // max(1, places.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), at_once):
        some = slice(start, start + at_once)
        asked, rows = np.asarray(queries[some], np.float64), _picked(corpus, places[some])
        cosines[some] = np.einsum("nd,nkd->nk", asked, rows.astype(np.float64))
    cosines[places < 0] = -np.inf
    return cosines


def _picked(corpus: Rows, places: np.ndarray) -> np.ndarray:
    """The rows at these places (N, K, D), each read once by what is no array; −1 is any."""
    if isinstance(corpus, np.ndarray):
        return corpus[places]
    some, where = np.unique(np.maximum(places, 0), return_inverse=True)
    rows: np.ndarray = corpus[some][where.reshape(places.shape)]
    return rows


def row_blocks(
    corpus: Rows, block: int, among: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of `block` rows at a time, int64 (b,), and these rows (b, D), in order."""
    count = len(corpus) if among is None else len(among)
    for left in range(0, count, block):
        right = min(left + block, count)
        if among is None:
            yield np.arange(left, right), corpus[left:right]
            continue
        some = among[left:right]
        first, last = int(some[0]), int(some[-1]) + 1
        if last - first <= 2 * len(some):  # read as one piece, which is quicker
            yield some, corpus[first:last][some - first]
        else:
            yield some, corpus[some]


class _Out:
    """What is barred, by the places it has in a block."""

    def __init__(self, barred: Barred) -> None:
        order = np.argsort(barred.candidate, kind="stable")
        self.query, self.candidate = barred.query[order], barred.candidate[order]

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the products with the rows `places`, ascending."""
        here = slice(*np.searchsorted(self.candidate, [places[0], places[-1] + 1]))
        column = np.searchsorted(places, self.candidate[here])
        there = places[column] == self.candidate[here]
        return self.query[here][there], column[there]


def product_blocks(
    queries: np.ndarray,
    corpus: Rows,
    barred: Barred,
    *,
    among: np.ndarray | None = None,
    block: int = BLOCK,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All products of the queries with the corpus, `block` rows at a time, in order.

    In the type that the two have. What is barred is −inf.

    Yields:
        The numbers of these rows, int64 (b,), ascending, and the products (N, b).
    """
    out = _Out(barred)
    for places, rows in row_blocks(corpus, block, among):
        products = queries @ np.asarray(rows, queries.dtype).T
        products[out.at(places)] = -np.inf
        yield places, products


def _found(
    queries: np.ndarray,
    corpus: Rows,
    depth: int,
    barred: Barred,
    among: np.ndarray | None,
    block: int,
) -> np.ndarray:
    """As `nearest`, in float32 alone: int64 (N, depth), −1 where there are fewer."""
    asked = np.ascontiguousarray(queries)
    best, at = np.empty((len(asked), 0), np.float32), np.empty((len(asked), 0), np.int64)
    for places, cosines in product_blocks(asked, corpus, barred, among=among, block=block):
        above, columns = _above(cosines, _floor(best, cosines, depth))
        if above.shape[1]:
            both = np.append(best, above, axis=1)
            at = np.append(at, places[columns], axis=1)
            order = np.argsort(-both, axis=1, kind="stable")[:, :depth]
            best, at = np.take_along_axis(both, order, 1), np.take_along_axis(at, order, 1)
    at[np.isneginf(best)] = -1
    missing = depth - at.shape[1]
    return np.pad(at, ((0, 0), (0, missing)), constant_values=-1) if missing > 0 else at


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


def _above(cosines: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cosines from `floor` on and their columns: (N, m) each, filled up with −inf."""
    width = cosines.shape[1]
    rows, columns = np.divmod(np.flatnonzero(cosines >= floor), width)
    counts = np.bincount(rows, minlength=len(cosines))
    place = np.arange(len(rows)) - (counts.cumsum() - counts)[rows]
    shape = (len(cosines), int(counts.max(initial=0)))
    above, where = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int64)
    above[rows, place], where[rows, place] = cosines[rows, columns], columns
    return above, where


# ---- on a device ---------------------------------------------------------------------------------


def _best_device() -> str:
    """CUDA where there is one. Torch is not loaded to ask: without it nothing lies there."""
    import sys

    torch = sys.modules.get("torch")
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"


def _found_on(
    device: str,
    queries: np.ndarray,
    corpus: Rows,
    depth: int,
    barred: Barred,
    among: np.ndarray | None,
    block: int,
) -> np.ndarray:
    """`_found`, by torch on a device: products and the choice of the best stay there."""
    import torch

    from simcse_kit.compute import whole_products

    asked = torch.from_numpy(np.array(queries)).to(device)
    out = _Out(barred)
    best = torch.empty((len(asked), 0), device=device)
    at = torch.empty((len(asked), 0), dtype=torch.int64, device=device)
    for places, rows in row_blocks(corpus, _ON_DEVICE * block, among):
        theirs = torch.from_numpy(np.array(rows, np.float32)).to(device)
        with whole_products():
            cosines = asked @ theirs.T
        cosines[out.at(places)] = -torch.inf
        above, columns = cosines.topk(min(depth, cosines.shape[1]), dim=1)
        both = torch.cat([best, above], 1)
        where = torch.cat([at, torch.from_numpy(places).to(device)[columns]], 1)
        best, kept = both.topk(min(depth, both.shape[1]), dim=1)
        at = where.gather(1, kept)
    at[best == -torch.inf] = -1
    found = at.cpu().numpy()
    return np.pad(found, ((0, 0), (0, depth - found.shape[1])), constant_values=-1)
