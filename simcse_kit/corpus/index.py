"""An index in a folder: what it is of, how well it finds, what was added and taken out since."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simcse_kit.corpus import approximate
from simcse_kit.corpus.among import Among
from simcse_kit.corpus.exact import Rows, in_order, nearest
from simcse_kit.corpus.given import (
    as_array,
    as_rows,
    check_asked,
    check_rows,
    check_unit,
    query_rows,
    row_numbers,
)
from simcse_kit.corpus.index_manifest import (
    MANIFEST,
    Manifest,
    again,
    keep,
    labels,
    labels_of,
    mapped,
    next_name,
    read_manifest,
    removed_rows,
    sealed,
)
from simcse_kit.corpus.joined import Joined
from simcse_kit.corpus.recall import Order, measured
from simcse_kit.corpus.run_lock import alone
from simcse_kit.data import check_can_make, disk_errors, replacing, write_json
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

_SEARCHED_EXACTLY = 20_000  # rows, where so few are searched
_LOOKED_AT = 1024  # rows, before the work


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
        self._left = None if self.removed is None else Among.of(~self.removed, manifest)
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
            InputError: no vectors or some that are not of length 1, an unknown factory string, a
                folder that cannot be made or holds an index, no faiss.
        """
        approximate.check_faiss()
        folder = Path(folder)
        if not 0 <= recall <= 1:
            raise InputError(f"recall is {recall}; give a share of the nearest, from 0 to 1")
        vectors = as_rows(vectors)
        check_rows(vectors)
        count, width = vectors.shape
        if not count:
            raise InputError("there are no vectors to index; embed some texts first")
        check_can_make(folder)
        _replaces(folder, overwrite)
        factory = approximate.factory_for(count, width) if factory == "auto" else factory
        logger.info("%s: an index %s of %d vectors", folder, factory, count)
        check_unit(np.asarray(vectors[:_LOOKED_AT]))  # the others are looked at as they are added
        index, order = approximate.learnt(vectors, factory), Order.of(count)
        with disk_errors(folder), _for_building(folder, overwrite) as replaced:
            how: Any = {"factory": factory, "show_progress": show_progress}
            approximate.add(index, vectors, without=order.asked, **how)
            fetched = 1 if factory == "Flat" else 16 if "PQ" in factory else 4
            effort, found, asked = measured(index, vectors, order, factory, fetched, recall)
            approximate.add(index, vectors[order.asked], factory=factory)
            name = next_name(folder, "vectors", ".faiss")
            approximate.write(index, folder / name)
            manifest = Manifest(
                *(name, *sealed(folder / name), factory, width, count, model, state),
                *(effort, fetched, found, asked),
            )
            keep(folder, manifest)
        if replaced:
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
        folder, vectors = Path(folder), as_rows(vectors)
        check_rows(vectors)
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
        among: np.ndarray | Among | None = None,
        effort: int | None = None,
        fill: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `nearest`: rows, int64 (N, K), and exact cosines, float64 (N, K).

        Args:
            queries: float32 (N, D), unit rows.
            among: the rows that are searched, numbers or a mask, or made ready by `among`; by
                default all. Where they are few they are compared one by one.
            effort: more finds more; by default what was measured (`Manifest.effort`).
            fill: where the index comes to fewer than `k` rows, though there are as many (cells
                hold few, a graph does not hold together, what is searched lies far off), more
                effort is spent on these queries, and at last all rows are compared.

        Raises:
            InputError: queries of another dimension or length, `k` or `effort` below 1, rows that
                were made ready before the index was changed.
        """
        check_asked(k, None)
        if effort is not None and effort < 1:
            raise InputError(f"effort is {effort}; give 1 or more")
        queries = query_rows(queries, self.manifest.dimension, "the index")
        check_unit(queries, "queries")
        depth = min(k, len(self.vectors))
        some = among if among is None or isinstance(among, Among) else self.among(among)
        if some is not None and some.manifest is not self.manifest:
            raise InputError("the index has changed since its rows were made ready; do it again")
        if some is not None and some.count <= _SEARCHED_EXACTLY:
            return nearest(queries, self.vectors, depth, among=some.rows)
        some = self._left if some is None else some
        effort = self.manifest.effort if effort is None else effort
        found = self._found(queries, depth, effort, some)
        there = min(depth, len(self.vectors) if some is None else some.count)
        lacking = np.flatnonzero((found >= 0).sum(1) < there) if fill else np.arange(0)
        for more in approximate.EFFORTS if approximate.has_effort(self._index) else ():
            if len(lacking) and more > (effort or 0):
                found[lacking] = self._found(queries[lacking], depth, more, some)
                lacking = lacking[(found[lacking] >= 0).sum(1) < there]
        rows, cosines = in_order(queries, self.vectors, found, depth)
        if len(lacking):
            left = None if some is None else some.rows
            whole = nearest(queries[lacking], self.vectors, depth, among=left)
            rows[lacking], cosines[lacking] = whole
        return rows, cosines

    def among(self, rows: np.ndarray) -> Among:
        """Rows, numbers or a mask, made ready for many searches of the index as it is now."""
        mask = np.zeros(len(self.vectors), bool)
        mask[row_numbers(rows, len(self.vectors), "the index")] = True
        return Among.of(mask if self.removed is None else mask & ~self.removed, self.manifest)

    def _found(
        self, queries: np.ndarray, depth: int, effort: int | None, some: Among | None
    ) -> np.ndarray:
        """What the index comes to, in no order: int64 (N, F), −1 where it is less."""
        found = approximate.search(
            self._index,
            queries,
            depth * self.manifest.fetched,
            effort=effort,
            allowed=None if some is None else some.allowed,
            factory=self.manifest.factory,
        )
        return Order.of(self.manifest.rows).rows(found)

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
            InputError: vectors of another dimension, not of length 1, or not finite; not as many
                ids or texts.
        """
        vectors = np.ascontiguousarray(as_array(vectors))
        if vectors.ndim != 2 or vectors.shape[1] != self.manifest.dimension:
            raise InputError(
                f"the vectors to add are {vectors.shape}, and the index has"
                f" {self.manifest.dimension} dimensions; embed them with the model that it is of"
            )
        if not np.isfinite(vectors).all():
            raise InputError("a vector to add is not finite; the model is broken")
        told = {
            "ids": labels_of(vectors, ids, "ids"),
            "texts": labels_of(vectors, texts, "texts"),
        }
        with disk_errors(self.folder), alone(self.folder):
            self._catch_up()
            start = len(self.vectors)
            if not len(vectors):
                return range(start, start)
            index = approximate.read(self.folder / self.manifest.file, mapped=False)
            how: Any = {"factory": self.manifest.factory, "show_progress": show_progress}
            approximate.add(index, vectors, **how)
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

        Args:
            rows: their numbers, or a mask of all.

        Raises:
            InputError: a row that is none, or that no row would be left.
        """
        with disk_errors(self.folder), alone(self.folder):
            self._catch_up()
            total = len(self.vectors)
            rows = row_numbers(rows, total, "the index")
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


@contextlib.contextmanager
def _for_building(folder: Path, overwrite: bool) -> Iterator[bool]:
    """Have the folder for one build alone; whether an index is there, which is replaced.

    A folder that is made for it goes again where it fails: by who has it alone, for else another
    may be building there.
    """
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        replaces = _replaces(folder, overwrite)  # another may have built one meanwhile
        try:
            yield replaces
        except BaseException:
            if not (was_there or replaces):
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _replaces(folder: Path, overwrite: bool) -> bool:
    """Whether an index is there already; InputError unless it may be replaced."""
    there = (folder / MANIFEST).is_file()
    if there and not overwrite:
        raise InputError(f"{folder} holds an index; build it anew with overwrite")
    return there
