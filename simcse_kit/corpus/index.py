"""An index in a folder: what it is of, how well it finds, what was added and taken out since."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simcse_kit.corpus import approximate
from simcse_kit.corpus.exact import Barred, Rows, cosines_at, in_order, nearest
from simcse_kit.corpus.index_manifest import (
    MANIFEST,
    Manifest,
    again,
    keep,
    labels,
    mapped,
    next_name,
    read_manifest,
    removed_rows,
    sealed,
)
from simcse_kit.corpus.joined import Joined
from simcse_kit.corpus.run_lock import alone
from simcse_kit.data import check_can_make, disk_errors, replacing, write_json
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

_SAMPLE = 256  # rows that are asked for their neighbours, to tell how many the index finds
_AT = 10  # the first so many of these
_SEARCHED_EXACTLY = 20_000  # rows, where so few are searched


class VectorIndex:
    """Most of the nearest of many vectors, by an index of faiss's that lies in a folder.

    What it finds is put in order by exact cosines. Rows are numbered as the vectors are; added ones
    follow. Every change is written aside, and the manifest, which is replaced last, tells what
    counts: a change that is interrupted has not been.

    Attributes:
        folder: of the index alone.
        vectors: unit rows (M, D), those of the corpus and those added.
        manifest: what it is.
        removed: bool (M,), None where no row was taken out.
    """

    def __init__(self, folder: Path, vectors: Rows, manifest: Manifest) -> None:
        self.folder, self._own = folder, vectors
        self._become(manifest)

    def _become(self, manifest: Manifest) -> None:
        """Be what a manifest in the folder says."""
        folder = self.folder
        added = [mapped(folder / name, rows, manifest.dimension) for name, rows in manifest.added]
        self.vectors: Rows = Joined([self._own, *added]) if added else self._own
        self.removed = removed_rows(folder, manifest, len(self.vectors))
        self._index = approximate.read(folder / manifest.file)
        if self._index.ntotal != len(self.vectors) or self._index.d != manifest.dimension:
            raise InputError(f"{folder / manifest.file} is of other vectors; {again(folder)}")
        self.manifest = manifest
        self._labels: dict[str, list[str | None]] = {}  # what was asked of `added`

    def __len__(self) -> int:
        """Rows that can be found."""
        return len(self.vectors) - self.manifest.removed_rows

    # ---- to make and to open ---------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        vectors: Rows,
        folder: Path | str,
        *,
        factory: str = "auto",
        recall: float = 0.97,
        model: str = "",
        state: str = "",
        overwrite: bool = False,
        show_progress: bool = False,
    ) -> VectorIndex:
        """Build an index of unit vectors (M, D) into a folder.

        How many of the 10 nearest it finds is measured against exact search, by 256 of the rows
        before they are in it themselves; where the kind of index has a choice, the effort is the
        least that reaches `recall`. A row as near as the tenth counts for it. Memory is that of
        the index and of a sample to learn from, a million vectors at most.

        Args:
            vectors: an array, a map or a reader: 65,536 rows are read at a time.
            factory: a factory string of faiss's, or "auto": by the number of vectors
                (`approximate.factory_for`).
            model, state: what the vectors are of (`Manifest`).
            overwrite: an index that is there is replaced.
            show_progress: a bar on stderr, when that is a terminal.

        Raises:
            InputError: no vectors, an unknown factory string, a folder that cannot be made or holds
                an index, no faiss.
        """
        approximate.check_faiss()
        folder = Path(folder)
        count, width = vectors.shape
        if not count:
            raise InputError("there are no vectors to index; embed some texts first")
        check_can_make(folder)
        old = None
        if (folder / MANIFEST).is_file():
            if not overwrite:
                raise InputError(f"{folder} holds an index; build it anew with overwrite")
            old = folder / MANIFEST
        factory = approximate.factory_for(count, width) if factory == "auto" else factory
        logger.info("%s: an index %s of %d vectors", folder, factory, count)
        index, order = approximate.learnt(vectors, factory), _Order.of(count)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with alone(folder):
                approximate.add(index, vectors, without=order.asked, show_progress=show_progress)
                fetched = 1 if factory == "Flat" else 16 if "PQ" in factory else 4
                effort, found, measured = _measured(index, vectors, order, fetched, recall)
                approximate.add(index, vectors[order.asked])
                name = next_name(folder, "vectors", ".faiss")
                approximate.write(index, folder / name)
                manifest = Manifest(
                    *(name, *sealed(folder / name), factory, width, count, model, state),
                    *(effort, fetched, found, measured),
                )
                keep(folder, manifest)
        if old is not None:
            logger.info("%s: the index that was there is replaced", folder)
        return cls(folder, vectors, manifest)

    @classmethod
    def open(
        cls, folder: Path | str, vectors: Rows, *, model: str = "", state: str = ""
    ) -> VectorIndex:
        """The index in a folder, of these vectors; it stays in its file, and is there at once.

        Args:
            model, state: as they were given to `build`; "" asks for nothing.

        Raises:
            InputError: no index, a damaged one, one of other vectors or another model, no faiss.
        """
        approximate.check_faiss()
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest.dimension != vectors.shape[1]:
            raise InputError(
                f"{folder} is an index of {manifest.dimension} dimensions, and these vectors have"
                f" {vectors.shape[1]}; {again(folder)}"
            )
        if model and manifest.model and model != manifest.model:
            raise InputError(f"{folder} is an index of another model's vectors; {again(folder)}")
        other = state and manifest.state and state != manifest.state
        if other or manifest.rows != len(vectors):
            raise InputError(
                f"{folder} is an index of other vectors than these {len(vectors):,}: it was built"
                f" of {manifest.rows:,}; {again(folder)}"
            )
        path = folder / manifest.file
        if not path.is_file() or sealed(path) != (manifest.bytes, manifest.ends):
            raise InputError(f"{path} is damaged or missing; {again(folder)}")
        return cls(folder, vectors, manifest)

    # ---- to search -------------------------------------------------------------------------------

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        among: np.ndarray | None = None,
        effort: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `nearest`: rows, int64 (N, K), and exact cosines, float64 (N, K).

        Args:
            queries: float32 (N, D), unit rows.
            among: the rows that are searched, int64, ascending; by default all. Where they are few
                they are compared one by one.
            effort: more finds more; by default what was measured (`Manifest.effort`).

        Raises:
            InputError: queries of another dimension.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.manifest.dimension:
            raise InputError(
                f"the queries are {queries.shape}, and the index has {self.manifest.dimension}"
                " dimensions; embed them with the model that it is of"
            )
        depth = min(k, len(self.vectors))
        allowed = self._allowed(among)
        if among is not None and len(among) <= _SEARCHED_EXACTLY:
            left = among if allowed is None else among[allowed[among]]
            return nearest(queries, self.vectors, depth, among=left)
        order = _Order.of(self.manifest.rows)
        found = approximate.search(
            self._index,
            queries,
            depth * self.manifest.fetched,
            effort=self.manifest.effort if effort is None else effort,
            allowed=None if allowed is None else order.numbers(allowed),
        )
        found = order.rows(found)
        return in_order(queries, self.vectors, found, depth)

    def _allowed(self, among: np.ndarray | None) -> np.ndarray | None:
        if among is None:
            return None if self.removed is None else ~self.removed
        allowed = np.zeros(len(self.vectors), bool)
        allowed[among] = True
        return allowed if self.removed is None else allowed & ~self.removed

    # ---- to change -------------------------------------------------------------------------------

    def add(
        self,
        vectors: np.ndarray,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        show_progress: bool = False,
    ) -> range:
        """Put unit vectors (A, D) behind those that are there; their rows are returned.

        The whole index is read into memory and written anew.

        Args:
            ids, texts: of the vectors (A,), for `added`.

        Raises:
            InputError: vectors of another dimension, or not finite; not as many ids or texts.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.manifest.dimension:
            raise InputError(
                f"the vectors to add are {vectors.shape}, and the index has"
                f" {self.manifest.dimension} dimensions; embed them with the model that it is of"
            )
        if not np.isfinite(vectors).all():
            raise InputError("a vector to add is not finite; the model is broken")
        told = {
            "ids": _labels_of(vectors, ids, "ids"),
            "texts": _labels_of(vectors, texts, "texts"),
        }
        with disk_errors(self.folder), alone(self.folder):
            self._catch_up()
            start = len(self.vectors)
            if not len(vectors):
                return range(start, start)
            index = approximate.read(self.folder / self.manifest.file, mapped=False)
            approximate.add(index, vectors, show_progress=show_progress)
            added = next_name(self.folder, "added", ".npy")
            with replacing(self.folder / added) as aside, aside.open("wb") as file:
                np.save(file, vectors, allow_pickle=False)
            write_json((self.folder / added).with_suffix(".json"), told)
            name = next_name(self.folder, "vectors", ".faiss")
            approximate.write(index, self.folder / name)
            size, ends = sealed(self.folder / name)
            parts = [*self.manifest.added, (added, len(vectors))]
            manifest = replace(self.manifest, file=name, bytes=size, ends=ends, added=parts)
            keep(self.folder, manifest)
        self._become(manifest)
        return range(start, start + len(vectors))

    def added(self, what: Literal["ids", "texts"]) -> list[str | None]:
        """The id or the text of each row that was added, None where none was given."""
        if what not in self._labels:
            self._labels[what] = [
                label
                for name, rows in self.manifest.added
                for label in labels((self.folder / name).with_suffix(".json"), what, rows)
            ]
        return self._labels[what]

    def remove(self, rows: np.ndarray) -> int:
        """Take rows out: they are found no more. How many were there is returned.

        Nothing is written but their numbers; a new build forgets them.

        Raises:
            InputError: a row that is none, or that no row would be left.
        """
        rows = np.unique(np.asarray(rows, np.int64))
        with disk_errors(self.folder), alone(self.folder):
            self._catch_up()
            total = len(self.vectors)
            if len(rows) and (rows[0] < 0 or rows[-1] >= total):
                wrong = rows[0] if rows[0] < 0 else rows[-1]
                raise InputError(f"row {wrong} is not in the index, which has {total:,}")
            gone = np.zeros(total, bool) if self.removed is None else self.removed.copy()
            before = int(gone.sum())
            gone[rows] = True
            count = int(gone.sum())
            if count == total:
                raise InputError("no row would be left in the index; remove its folder instead")
            if count == before:
                return 0
            name = next_name(self.folder, "removed", ".npy")
            with replacing(self.folder / name) as aside, aside.open("wb") as file:
                np.save(file, np.flatnonzero(gone), allow_pickle=False)
            manifest = replace(self.manifest, removed=name, removed_rows=count)
            keep(self.folder, manifest)
        self._become(manifest)
        return count - before

    def _catch_up(self) -> None:
        """Know what another process has changed since this one opened the folder."""
        manifest = read_manifest(self.folder)
        if manifest != self.manifest:
            self._become(manifest)


def _labels_of(
    vectors: np.ndarray, given: Sequence[str] | None, what: str
) -> list[str | None] | None:
    """One for each vector to add, as they are written; None where none are given."""
    if given is None:
        return None
    if len(given) != len(vectors):
        raise InputError(
            f"there are {len(given):,} {what} for {len(vectors):,} vectors to add; give one each"
        )
    return [None if each is None else str(each) for each in given]


# ---- how many it finds ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Order:
    """In which order the index has its rows: those that were asked stand behind the others.

    A query that is itself a node of a graph finds its neighbours by its own links, far more often
    than a stranger does. So the rows that tell how many the index finds come into it afterwards.

    Attributes:
        count: rows that the index was built of; added ones follow in their order.
        asked: int64 (S,), ascending.
    """

    count: int
    asked: np.ndarray

    @classmethod
    def of(cls, count: int) -> _Order:
        size = min(_SAMPLE, count // 4)
        return cls(count, np.unique(np.linspace(0, count - 1, size).round().astype(np.int64)))

    def rows(self, found: np.ndarray) -> np.ndarray:
        """The rows under numbers of the index; −1 stays."""
        others = self.count - len(self.asked)
        if not len(self.asked):
            return found
        skipped = np.searchsorted(self.asked - np.arange(len(self.asked)), found, side="right")
        late = self.asked[np.clip(found - others, 0, len(self.asked) - 1)]
        rows = np.where(found < others, found + skipped, np.where(found < self.count, late, found))
        return np.where(found < 0, -1, rows)

    def numbers(self, allowed: np.ndarray) -> np.ndarray:
        """What is said of each row, bool (M,), in the order of the index."""
        first, added = allowed[: self.count], allowed[self.count :]
        return np.concatenate([np.delete(first, self.asked), first[self.asked], added])


def _measured(
    index: Any, vectors: Rows, order: _Order, fetched: int, wanted: float
) -> tuple[int | None, float | None, int]:
    """The least effort that reaches the recall, the recall, and how many rows were asked."""
    asked = order.asked
    at = min(_AT, len(vectors) - len(asked))
    if not len(asked):
        return None, None, 0
    queries = np.array(vectors[asked], np.float32)
    # those that were asked are not in the index yet
    everyone = np.arange(len(asked)).repeat(len(asked))
    _, exact = nearest(queries, vectors, at, Barred(everyone, np.tile(asked, len(asked))))
    share, effort = 0.0, None
    choices = approximate.EFFORTS if approximate.has_effort(index) else (None,)
    for effort in choices:
        found = order.rows(approximate.search(index, queries, at * fetched, effort=effort))
        cosines = -np.sort(-cosines_at(queries, vectors, found), axis=1)[:, :at]
        share = float((cosines >= exact[:, -1:]).sum() / exact.size)
        if share >= wanted or (effort or 0) >= approximate.most_effort(index):
            break
    if share < wanted:
        logger.warning(
            "the index finds %.1f %% of the %d nearest, and %.1f %% were wanted; another factory"
            " string may find more",
            *(100 * share, at, 100 * wanted),
        )
    return effort, share, len(asked)
