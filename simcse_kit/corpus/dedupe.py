"""Near-duplicates and paraphrases of a corpus: clusters by a threshold, and which row stays.

Two rows whose cosine is at least the threshold are linked; a cluster is what links hold together
(connected components), so that two of its rows may be further apart than the threshold. How near
each row that goes is to the one that stays is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.corpus.dedupe_pairs import BLOCK, PairFinder, cosines_of, read
from simcse_kit.corpus.dedupe_union import Union
from simcse_kit.corpus.exact import Rows
from simcse_kit.corpus.given import as_rows, check_rows, check_unit
from simcse_kit.corpus.index import VectorIndex
from simcse_kit.corpus.run_lock import alone
from simcse_kit.data import disk_errors, replacing
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

Keep = Literal["first", "longest", "central"]
_NEIGHBOURS = 32  # of each row that an index is asked for
_AT_A_TIME = 65_536  # rows read


@dataclass(frozen=True, eq=False)
class Duplicates:
    """What repeats what.

    Attributes:
        kept: int64 (M,), for each row the one that stays for it: itself, where it stays.
        cosine: float64 (M,), that of the row with the one that stays; 1 where it stays itself.
        threshold: the least cosine of two rows that are linked.
        pairs: linked pairs that were found.
        exact: whether these are all; else an index found most.
    """

    kept: np.ndarray
    cosine: np.ndarray
    threshold: float
    pairs: int
    exact: bool

    @property
    def stays(self) -> np.ndarray:
        """The rows that stay, int64, ascending."""
        return np.flatnonzero(self.kept == np.arange(len(self.kept)))

    @property
    def goes(self) -> np.ndarray:
        """The rows that go, int64, ascending."""
        return np.flatnonzero(self.kept != np.arange(len(self.kept)))

    def clusters(self) -> Iterator[tuple[int, np.ndarray]]:
        """The row that stays and those that go for it, the nearest first; largest cluster first."""
        goes = self.goes
        goes = goes[np.lexsort((goes, -self.cosine[goes], self.kept[goes]))]
        heads, starts, sizes = np.unique(self.kept[goes], return_index=True, return_counts=True)
        for place in np.argsort(-sizes, kind="stable").tolist():
            start = starts[place]
            yield int(heads[place]), goes[start : start + sizes[place]]


def near_duplicates(
    vectors: Rows,
    threshold: float = 0.9,
    *,
    keep: Keep = "first",
    lengths: Sequence[int] | np.ndarray | None = None,
    index: VectorIndex | None = None,
    state: Path | None = None,
    keep_state: bool = False,
    block: int = BLOCK,
    show_progress: bool = False,
) -> Duplicates:
    """The clusters of unit vectors (M, D), and which row of each stays.

    Every row is compared with every other in blocks; memory is O(block² + M). Equal rows are
    compared once.

    Args:
        keep: the first row of a cluster; the longest, by `lengths`; or the central one, whose
            cosine with the others of its cluster is the highest on the mean. Of several the first.
        lengths: of the rows' texts (M,).
        index: an index of these vectors, which is asked for 32 neighbours of each row, in place of
            the comparison of all.
        state: a folder that keeps what is done after each block: interrupted, the same call goes
            on. It is taken away at the end, unless `keep_state`: then `forget` takes it away, once
            what was found lies where it is to be.
        show_progress: a bar on stderr, when that is a terminal.

    Raises:
        InputError: no vectors or some that are not of length 1, a threshold that is none, "longest"
            without lengths.
    """
    vectors = as_rows(vectors)
    check_rows(vectors)
    count = len(vectors)
    if not count:
        raise InputError("there are no vectors to compare; embed some texts first")
    if not 0 < threshold <= 1:
        raise InputError(f"the threshold is {threshold}; give a cosine above 0, 1 at most")
    if keep not in ("first", "longest", "central"):
        raise InputError(f"keep {keep!r}: choose first, longest or central")
    if index is not None and (index.manifest.added or index.manifest.removed):
        raise InputError(
            f"{index.folder}: rows were added to the index or taken out of it; build it anew"
            " (overwrite) to ask it for the rows of the corpus"
        )
    if keep == "longest" and (lengths is None or len(lengths) != count):
        raise InputError("to keep the longest the lengths of all texts are needed; give them")
    same = _equal(vectors)
    distinct = np.flatnonzero(same == np.arange(count))
    union, times = Union(count), np.bincount(same, minlength=count)
    union.join(same, np.arange(count))
    pairs = int((times * (times - 1) // 2).sum())
    if index is not None:
        found = _by_index(vectors, threshold, distinct, union, times, index, show_progress)
    else:
        with contextlib.nullcontext() if state is None else _held(state):
            found = _by_comparison(
                vectors, threshold, distinct, union, times, block, state, show_progress
            )
    roots = union.roots()
    lengths = None if lengths is None else np.asarray(lengths)
    chosen = _chosen(vectors, roots, same, keep, lengths)
    cosine = np.ones(count)
    goes = np.flatnonzero(chosen != np.arange(count))
    cosine[goes] = cosines_of(vectors, goes, chosen[goes])
    if state is not None and not keep_state:
        forget(state)
    return Duplicates(chosen, cosine, threshold, pairs + found, index is None)


# ---- links ---------------------------------------------------------------------------------------


def _by_comparison(
    vectors: Rows,
    threshold: float,
    distinct: np.ndarray,
    union: Union,
    times: np.ndarray,
    block: int,
    state: Path | None,
    show_progress: bool,
) -> int:
    """Join what is near, of the distinct rows; pairs of all rows that these are."""
    finder = PairFinder(vectors, threshold, distinct, block=block)
    place = None if state is None else _State(state, vectors, threshold, distinct, block)
    done, pairs = (0, 0) if place is None else place.resume(union)
    total = len(distinct) * (len(distinct) + 1) // 2
    bar = tqdm(
        total=total,
        unit="pair",
        unit_scale=True,
        desc="compare",
        disable=None if show_progress else True,
    )
    with bar:
        for left in finder.starts:
            rest = len(distinct) - left
            ours = min(block, rest)
            if left >= done:
                for near in finder.block_pairs(left):
                    pairs += int((times[near.first] * times[near.second]).sum())
                    union.join(near.first, near.second)
                if place is not None:
                    place.keep(union, left + ours, pairs)
            bar.update(rest * ours - ours * (ours - 1) // 2)
    return pairs


def _by_index(
    vectors: Rows,
    threshold: float,
    distinct: np.ndarray,
    union: Union,
    times: np.ndarray,
    index: VectorIndex,
    show_progress: bool,
) -> int:
    """The same, by the neighbours that an index finds."""
    pairs = 0
    step = 4096
    # else the copies of a row would be all of its neighbours
    among = None if len(distinct) == len(vectors) else index.among(distinct)
    bar = tqdm(
        total=len(distinct), unit="row", desc="compare", disable=None if show_progress else True
    )
    with bar:
        for start in range(0, len(distinct), step):
            rows = distinct[start : start + step]
            found, cosines = index.search(
                read(vectors, rows), _NEIGHBOURS + 1, among=among, fill=False
            )
            own = rows[:, None].repeat(found.shape[1], 1)
            # both ends may find a pair, which counts where its lower row does
            near = (cosines >= threshold) & (found >= 0) & (found != own)
            low, high = np.minimum(own, found)[near], np.maximum(own, found)[near]
            union.join(low, high)
            there = low == own[near]
            pairs += int((times[low[there]] * times[high[there]]).sum())
            bar.update(len(rows))
    return pairs


def _equal(vectors: Rows) -> np.ndarray:
    """For each row the first that equals it bit by bit, int64 (M,)."""
    count, width = vectors.shape
    odd = np.random.default_rng(0).integers(0, 1 << 63, width, dtype=np.uint64) * 2 + 1
    hashes = np.empty(count, np.uint64)
    for start in range(0, count, _AT_A_TIME):
        rows = np.ascontiguousarray(vectors[start : start + _AT_A_TIME], np.float32)
        check_unit(rows)
        mixed = rows.view(np.uint32).astype(np.uint64) * odd
        mixed ^= mixed >> np.uint64(29)
        hashes[start : start + len(rows)] = (mixed * odd).sum(axis=1, dtype=np.uint64)
    _, first, whose = np.unique(hashes, return_index=True, return_inverse=True)
    same = first[whose]
    again = np.flatnonzero(same != np.arange(count))
    for start in range(0, len(again), _AT_A_TIME):
        some = again[start : start + _AT_A_TIME]
        other = (vectors[some] != vectors[same[some]]).any(axis=1)
        same[some[other]] = some[other]  # another row of the same hash
    return same


# ---- what stays ----------------------------------------------------------------------------------


def _chosen(
    vectors: Rows, roots: np.ndarray, same: np.ndarray, keep: Keep, lengths: np.ndarray | None
) -> np.ndarray:
    """For each row the one of its cluster that stays, int64 (M,); `same` as `_equal` tells."""
    if keep == "first":
        return roots  # a root is its cluster's first row
    order = np.argsort(roots, kind="stable")
    _, starts, sizes = np.unique(roots[order], return_index=True, return_counts=True)
    if keep == "longest":
        assert lengths is not None
        worth = lengths[order].astype(np.float64)
    else:
        worth = np.zeros(len(order))
        for start, size in zip(starts[sizes > 2], sizes[sizes > 2], strict=True):
            some = slice(start, start + size)  # of two each is as central as the other
            worth[some] = _centrality(vectors, order[some])
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        worth = worth[place[same[order]]]  # products of equal rows may round otherwise
    best = np.lexsort((order, -worth, np.repeat(np.arange(len(starts)), sizes)))
    chosen = np.empty(len(order), np.int64)
    chosen[order] = np.repeat(order[best[starts]], sizes)
    return chosen


def _centrality(vectors: Rows, rows: np.ndarray) -> np.ndarray:
    """The sum of each row's cosines with all of them, float64 (n,)."""
    parts = [rows[start : start + _AT_A_TIME] for start in range(0, len(rows), _AT_A_TIME)]
    total = np.zeros(vectors.shape[1])
    for part in parts:
        total += np.asarray(vectors[part], np.float64).sum(axis=0)
    found = [np.asarray(vectors[part], np.float64) @ total for part in parts]
    return np.concatenate(found)


# ---- interrupted ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Have a folder for this comparison alone."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        yield


def forget(state: Path) -> None:
    """Take away what a comparison kept, unless another run has begun to work there."""
    with contextlib.suppress(InputError, OSError), alone(state):
        shutil.rmtree(state, ignore_errors=True)


class _State:
    """What is done, in a folder: the links so far, and the row from which to go on."""

    def __init__(
        self, folder: Path, vectors: Rows, threshold: float, distinct: np.ndarray, block: int
    ) -> None:
        self.path = folder / "links.npz"
        digest = hashlib.sha256(repr((vectors.shape, threshold, block)).encode())
        digest.update(distinct.tobytes())
        some = np.unique(np.linspace(0, len(vectors) - 1, 64).round().astype(np.int64))
        digest.update(np.ascontiguousarray(vectors[some]).tobytes())
        self.key = digest.hexdigest()

    def resume(self, union: Union) -> tuple[int, int]:
        """Rows whose block is done, and pairs found; (0, 0) where nothing fits."""
        try:
            with np.load(self.path, allow_pickle=False) as kept:
                if str(kept["key"]) != self.key:
                    return 0, 0
                done, pairs, parent = int(kept["done"]), int(kept["pairs"]), kept["parent"]
            union.parent[:] = parent
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return 0, 0
        logger.info("%s: goes on after %d rows", self.path.parent, done)
        return done, pairs

    def keep(self, union: Union, done: int, pairs: int) -> None:
        with replacing(self.path) as aside, aside.open("wb") as file:
            np.savez(file, key=self.key, done=done, pairs=pairs, parent=union.parent)
