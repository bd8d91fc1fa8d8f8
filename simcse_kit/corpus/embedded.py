"""A corpus of embeddings that lies in a folder: its vectors, ids and texts, by the row."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.corpus.manifest import NAME, Manifest
from simcse_kit.corpus.numbers import Kept, as_floats, width_of
from simcse_kit.corpus.shard_files import (
    ROW_GROUP,
    VECTORS,
    read_group,
    shard_file,
)
from simcse_kit.corpus.shards import damaged
from simcse_kit.data import at_home
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

_AT_HAND = 8  # parts of columns that are kept in memory
_NO_VECTORS = (
    "is no .npy file that can be read; give a folder that `simcse-kit embed` wrote, or a .npy"
)

RowNumbers = Sequence[int] | np.ndarray


class EmbeddedCorpus:
    """What `embed_corpus` and ``simcse-kit embed`` wrote, or a bare ``.npy`` of vectors.

    Rows are counted from 0 without gaps, in the inputs' order; `numbers` says which row of the
    inputs each is, where some were left out.

    Args:
        path: the folder, or a ``.npy`` file.

    Attributes:
        path: the same.
        manifest: what it says of itself; None for a bare ``.npy``.
        dimension: numbers of a vector.
        vectors: float32 ``(N, D)``, read from the disk as it is sliced or given row numbers; a
            memory map where they lie there as float32 in one file. Of a ``.npy`` of float16 or
            float64 they are made float32 as they are read.

    Raises:
        InputError: there is none, it is not whole, or it is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = at_home(path)
        self.manifest: Manifest | None = None
        self.vectors: Vectors | Floats | np.ndarray
        self._columns: _Columns | None = None
        if self.path.is_file():
            self.vectors = _bare(self.path)
            self.dimension = int(self.vectors.shape[1])
            return
        self.manifest = _whole(self.path)
        self.dimension = self.manifest.layout.dimension
        self._columns = _Columns(self.path, self.manifest)
        self.vectors = _opened(self.path, self.manifest, self._columns)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens it anew."""
        return EmbeddedCorpus, (self.path,)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def normalized(self) -> bool:
        """Whether the vectors were made of length 1; of a bare ``.npy`` False, for who knows."""
        return self.manifest is not None and self.manifest.model.normalized

    def blocks(self, size: int = ROW_GROUP) -> Iterator[tuple[int, np.ndarray]]:
        """All vectors, in order: the first row of each block, and float32 ``(n, D)``."""
        for start in range(0, len(self), size):
            yield start, np.asarray(self.vectors[start : start + size])

    def ids(self, rows: RowNumbers | None = None) -> list[str] | None:
        """The ids of these rows, or of all, "" for none; None where none of them has one."""
        found = self._column("id", rows)
        if found is None or not any(each is not None for each in found):
            return None
        return [each or "" for each in found]

    def texts(self, rows: RowNumbers | None = None) -> list[str] | None:
        """The texts of these rows, or of all; None where they were not kept."""
        return self._column("text", rows)

    def numbers(self, rows: RowNumbers | None = None) -> np.ndarray:
        """int64: which row of the inputs, one after the other, each of these rows is."""
        found = self._column("row", rows)
        if found is None:
            return np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        return np.asarray(found, dtype=np.int64)

    def column_blocks(self, name: str) -> Iterator[tuple[int, list[Any]]]:
        """``row``, ``id`` or ``text`` of all rows: the first row of each block, and its cells.

        Nothing where there is no such column.
        """
        if self._columns is not None and self._columns.has(name):
            for start, shard, group in self._columns.groups():
                yield start, list(self._columns.part(shard, group, name))

    def check(self) -> None:
        """Read everything, and raise InputError for the first shard that is not as written."""
        if self.manifest is None:
            return
        shards = {shard.number: shard for shard in self.manifest.shards}
        for number in damaged(self.path, self.manifest, shards):
            raise InputError(_damaged(shard_file(self.path, number)))

    def check_model(self, encoder: SentenceEncoder) -> None:
        """Raise InputError where the vectors are of another encoder than this.

        Its prompts do not matter: queries have others than what is searched.
        """
        from simcse_kit.encoder import embeddings_of

        if self.manifest is None:
            if encoder.dimension != self.dimension:
                raise InputError(
                    f"{self.path} has vectors of {self.dimension} numbers, {encoder.name} makes "
                    f"{encoder.dimension}"
                )
            return
        model = self.manifest.model
        if embeddings_of(encoder, model.prompt, model.normalized) != model.fingerprint:
            backend = "torch" if encoder.runtime is None else encoder.runtime.backend
            by = f"backend {model.backend} and not {backend}, " if model.backend != backend else ""
            raise InputError(
                f"{self.path} was embedded by {model.name} ({by}precision {model.precision}, at "
                f"most {model.max_length} tokens, pooling {model.pooling}), which {encoder.name} as"
                " it is loaded is not; embed again, or load that model"
            )

    def _column(self, name: str, rows: RowNumbers | None) -> list[Any] | None:
        columns = self._columns
        if columns is None or not columns.has(name):
            return None
        if rows is None:
            return [cell for _, part in self.column_blocks(name) for cell in part]
        found: dict[int, Any] = {}
        for shard, group, rows_here, places in columns.located(np.asarray(rows, np.int64)):
            part = columns.part(shard, group, name)
            for row, place in zip(rows_here.tolist(), places.tolist(), strict=True):
                found[row] = part[place]
        return [found[row] for row in np.asarray(rows, np.int64).tolist()]


class Vectors:
    """Vectors float32 ``(N, D)`` that are read, and made floats, as they are asked for."""

    def __init__(self, columns: _Columns, manifest: Manifest, one_file: np.ndarray | None) -> None:
        self._columns, self._layout, self._one_file = columns, manifest.layout, one_file
        self.shape = (columns.rows, manifest.layout.dimension)
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Float32 ``(n, D)`` of a slice or an array of row numbers, ``(D,)`` of one number."""
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])][0]
        if isinstance(rows, slice):
            wanted = np.arange(len(self))[rows]
        else:
            wanted = np.asarray(rows)
            wanted = np.flatnonzero(wanted) if wanted.dtype == bool else wanted.astype(np.int64)
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        out = np.empty((len(wanted), self.shape[1]), np.float32)
        where = np.argsort(wanted, kind="stable")
        done = 0
        for shard, group, rows_here, places in self._columns.located(wanted[where]):
            into = where[done : done + len(rows_here)]
            out[into] = self._floats(shard, group, rows_here, places)
            done += len(rows_here)
        return out

    def _floats(self, shard: int, group: int, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        if self._one_file is not None:
            numbers = self._one_file[rows]
        else:
            numbers = self._columns.part(shard, group, "vector")[places]
        scales = None
        if self._layout.type == "int8":
            scales = self._columns.part(shard, group, "scale")[places]
        return as_floats(Kept(numbers, scales), self._layout.type, self._layout.dimension)


class Floats:
    """Float numbers of any kind ``(N, D)``, made float32 as they are sliced or given row numbers.

    Args:
        numbers: for instance a memory map, which is never copied as a whole.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers, self.shape = numbers, numbers.shape
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Float32 ``(n, D)`` of a slice or an array of row numbers, ``(D,)`` of one number."""
        with np.errstate(over="ignore"):  # what becomes infinite is refused by who reads it
            return np.asarray(self._numbers[rows], np.float32)


class _Columns:
    """The columns of all shards, read a row group at a time; the last few stay at hand.

    Threads may ask at a time.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.shards, self._texts = folder, manifest.shards, manifest.layout.texts
        self.starts = np.cumsum([0, *(shard.rows for shard in self.shards)])
        self.rows = int(self.starts[-1])
        self._parts: OrderedDict[tuple[int, int, str], Any] = OrderedDict()
        self._turn = threading.Lock()

    def has(self, name: str) -> bool:
        """Whether shards have such a column; all have the same."""
        return bool(self.shards) and (name in ("row", "id") or (name == "text" and self._texts))

    def groups(self) -> Iterator[tuple[int, int, int]]:
        """Of each row group its first row, its shard, and which of the shard's it is."""
        for shard in self.shards:
            for group, first in enumerate(range(0, shard.rows, ROW_GROUP)):
                yield int(self.starts[shard.number]) + first, shard.number, group

    def located(self, rows: np.ndarray) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """Rows by the row group they lie in: shard, group, the rows there, their places in it.

        Raises IndexError for a row that is none.
        """
        rows = np.sort(rows, kind="stable")
        if len(rows) and (rows[0] < 0 or rows[-1] >= self.rows):
            raise IndexError(f"row {rows[0] if rows[0] < 0 else rows[-1]} of {self.rows}")
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        inside = rows - self.starts[shards]
        groups = inside // ROW_GROUP
        changes = np.flatnonzero((np.diff(shards) != 0) | (np.diff(groups) != 0)) + 1
        for start, end in zip([0, *changes], [*changes, len(rows)], strict=True):
            if end > start:
                here = slice(start, end)
                yield (
                    *(int(shards[start]), int(groups[start]), rows[here]),
                    inside[here] - groups[start] * ROW_GROUP,
                )

    def part(self, shard: int, group: int, name: str) -> Any:
        """A column of one row group."""
        key = (shard, group, name)
        with self._turn:
            found = self._parts.pop(key, None)
        if found is None:
            found = self._read(shard, lambda file: read_group(file, group, name))
        with self._turn:
            self._parts[key] = found  # the last that was asked for goes last
            if len(self._parts) > _AT_HAND:
                self._parts.popitem(last=False)
        return found

    def _read(self, shard: int, read: Any) -> Any:
        import pyarrow as pa

        file = shard_file(self.folder, shard)
        try:
            return read(file)
        except FileNotFoundError as error:
            raise InputError(f"{file}: is not there; the same `embed` again makes it") from error
        except (OSError, pa.ArrowException) as error:
            raise InputError(_damaged(file)) from error


def _opened(folder: Path, manifest: Manifest, columns: _Columns) -> Vectors | np.ndarray:
    layout = manifest.layout
    if layout.store == "parquet":
        return Vectors(columns, manifest, None)
    numbers = _mapped(folder / VECTORS, "is damaged; the same `embed` again repairs it")
    expected = (manifest.rows, width_of(layout.type, layout.dimension))
    if numbers.shape != expected:
        raise InputError(f"{folder / VECTORS}: has shape {numbers.shape}, not {expected}")
    return numbers if layout.type == "fp32" else Vectors(columns, manifest, numbers)


def _whole(folder: Path) -> Manifest:
    manifest = Manifest.read(folder) if folder.is_dir() else None
    if manifest is None:
        what = f"has no {NAME}" if folder.is_dir() else "there is no such file or folder"
        raise InputError(
            f"{folder}: {what}; give a folder that `simcse-kit embed` wrote, or a .npy"
        )
    if manifest.rows is None:
        raise InputError(f"{folder}: is not whole; the same `embed` again finishes it")
    return manifest


def _bare(path: Path) -> Floats | np.ndarray:
    found = _mapped(path)
    if found.ndim != 2 or not found.shape[1] or found.dtype.kind != "f":
        raise InputError(
            f"{path}: holds {found.dtype} of shape {found.shape}; embeddings are float16, float32"
            " or float64 (N, D)"
        )
    return found if found.dtype == np.float32 else Floats(found)


def _mapped(path: Path, damaged: str = _NO_VECTORS) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):  # an archive of several, whatever it is called
            raise ValueError
    except FileNotFoundError as error:
        raise InputError(f"{path}: is not there; the same `embed` again makes it") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: {damaged}") from error
    return found


def _damaged(file: Path) -> str:
    return f"{file}: is damaged; the same `embed` again repairs it"
