"""A Parquet file, column by column, whole or some rows after others."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from simcse_kit.data.lines import File, at_rest, brief, byte_pieces, packing
from simcse_kit.errors import InputError

#: Gives the cells of a column, by its place.
Cells = Callable[[int], list[Any]]


def parquet_parts(
    path: File, size: int | None, start: int
) -> Iterator[tuple[int, list[str], Cells]]:
    """Parts of a file: rows above, the columns' names, and what reads a column of the part.

    There is always a first. A column is read when it is asked for, and of a part that part alone.

    Args:
        size: rows of a part, at most; None: the file is one.
        start: the first row that is read, from 0.

    Raises:
        InputError: the file is none, is cut short, or a column cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = _unpacked(path)
    try:
        # a buffer: pages one by one, not a row group's column at once
        file = pq.ParquetFile(content, buffer_size=0 if size is None else 1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: is not a readable parquet file ({brief(error)})") from error
    names: list[str] = file.schema_arrow.names
    if size is None:
        yield 0, names, lambda index: _read(path, names[index], lambda: _whole(file, names[index]))
        return
    above, some = 0, False
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        skipped = min(max(start - above, 0), rows) // size  # whole parts of this group
        columns = _Columns(path, file, names, group, size)
        for part in range(skipped, -(-rows // size)):
            first = part * size
            lost = max(start - above - first, 0)
            if lost < min(size, rows - first):
                yield above + first + lost, names, columns.part(part, lost)
                some = True
        above += rows
    if not some:
        yield 0, names, lambda _: []


class _Columns:
    """The columns of a row group, each with a reader of its own that goes on part by part."""

    def __init__(self, path: File, file: Any, names: list[str], group: int, size: int) -> None:
        self.path, self.file, self.names = path, file, names
        self.group, self.size = group, size
        self.readers: dict[int, tuple[Iterator[list[Any]], int]] = {}
        self.kept: dict[int, tuple[int, list[Any]]] = {}

    def part(self, number: int, lost: int) -> Cells:
        """Reads a column of one part, without its first `lost` rows."""

        def cells(index: int) -> list[Any]:
            if self.kept.get(index, (-1, []))[0] != number:
                name = self.names[index]
                found = _read(self.path, name, lambda: self._next(index, number))
                self.kept[index] = number, found[lost:]
            return self.kept[index][1]

        return cells

    def _next(self, index: int, number: int) -> list[Any]:
        reader, at = self.readers.get(index, (None, 0))
        if reader is None or at > number:
            reader, at = self._reader(index), 0
        while at < number:
            next(reader)
            at += 1
        self.readers[index] = reader, number + 1
        return next(reader)

    def _reader(self, index: int) -> Iterator[list[Any]]:
        """The column, so many cells at a time; a batch of more than 2 GiB comes in pieces."""
        found: list[Any] = []
        columns = [self.names[index]]
        for batch in self.file.iter_batches(self.size, row_groups=[self.group], columns=columns):
            found += batch.column(0).to_pylist()
            while len(found) >= self.size:
                yield found[: self.size]
                found = found[self.size :]
        if found:
            yield found


def _whole(file: Any, name: str) -> list[Any]:
    return file.read(columns=[name]).column(0).to_pylist()


def _read(path: File, name: str, read: Callable[[], list[Any]]) -> list[Any]:
    import pyarrow as pa

    try:
        return read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        message = f"{path}: column '{name}' cannot be read ({brief(error)})"
        raise InputError(message) from error


def _unpacked(path: File) -> Any:
    """What pyarrow opens: the file, or a copy of what is packed in it."""
    if packing(path):
        aside: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as its reader
        shutil.copyfileobj(_Pieces(byte_pieces(path)), aside)
        aside.seek(0)
        return aside
    place = at_rest(path)
    return place.open("rb") if not hasattr(place, "is_file") else place


class _Pieces:
    """Pieces of bytes as a file that is read to its end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def read(self, _: int = -1) -> bytes:
        return next(self.pieces, b"")
