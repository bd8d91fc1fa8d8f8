"""Texts of inputs that no memory holds, block by block: files of any format, many of them, URLs.

The rows are those that `read_rows` gives of the same files, in their order and with their numbers,
for the same readers cut what they read into parts. What is in doubt about a file's columns is
settled on its first part; what a later one puts in doubt is asked about when it is met.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.cells import Blank, usable
from simcse_kit.data.column_names import ID
from simcse_kit.data.dataset_tables import saved_files
from simcse_kit.data.home import at_home
from simcse_kit.data.layout import Layout
from simcse_kit.data.lines import File, at_rest, byte_pieces, forget_stream, is_stream, packing
from simcse_kit.data.readers import Cut, data_suffix, read_tables
from simcse_kit.data.remote import RemoteFile, is_url
from simcse_kit.data.rows import (
    Reading,
    check_reading,
    data_file,
    no_rows,
    read_rows,
)
from simcse_kit.errors import InputError

_WANTED = ("text",)
_BLOCK = 8192  # rows; more than are looked at to know what columns mean
_COUNTED = 1 << 29  # bytes of a file whose lines are counted; of a larger one an eighth of these

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a row stands among the sources of a stream.

    Attributes:
        source: which of the sources, from 0.
        row: which of its rows, from 0; those that are left out are counted.
        line: where it starts, in a format that has lines; 1 in others.
        before: rows of the sources above.
    """

    source: int = 0
    row: int = 0
    line: int = 1
    before: int = 0


@dataclass(frozen=True)
class Block:
    """Rows of one source that follow each other.

    Attributes:
        source: which of the sources, from 0.
        before: rows of the sources above.
        numbers: int64 ``(n,)``, which rows of the source they are, from 0.
        texts: the n texts.
        ids: the n ids, "" for none; None where the source has no column of them.
        lines: int64 ``(n,)``, the line each starts on, where there are lines.
    """

    source: int
    before: int
    numbers: np.ndarray
    texts: list[str]
    ids: list[str] | None = None
    lines: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def place(self, row: int) -> Place:
        """Where a row of the block (from 0) stands, for a stream to begin there."""
        line = 1 if self.lines is None else int(self.lines[row])
        return Place(self.source, int(self.numbers[row]), line, self.before)

    def part(self, start: int, end: int) -> Block:
        """The rows from one to before another."""
        rows = slice(start, end)
        return replace(
            self,
            numbers=self.numbers[rows],
            texts=self.texts[rows],
            ids=None if self.ids is None else self.ids[rows],
            lines=None if self.lines is None else self.lines[rows],
        )


class TextStream:
    """The texts of one or several inputs, which can be read again from any row.

    Args:
        sources: a name or several: a file of any format that `read_rows` takes, packed or not; a
            pattern (``wiki-*.txt``); ``-``; a URL that fsspec knows (``s3://bucket/a.parquet``,
            a pattern too). A folder of ``datasets`` and a name on the hub are read whole.
        columns, blank, reading: as of `read_rows`; `columns` may say which column ``id`` is.

    Attributes:
        sources: the same, for each pattern its files, sorted.

    Raises:
        InputError: a file is not there, or a pattern matches none.
    """

    def __init__(
        self,
        sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        columns: Mapping[str, str] | None = None,
        blank: Blank | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        check_reading(reading)
        named = [sources] if isinstance(sources, str | os.PathLike) else sources
        self.sources = [each for one in named for each in _expanded(os.fspath(one))]
        if not self.sources:
            raise InputError("there is no input; give a file, or several")
        self.columns = columns
        self.blank: Blank | None = blank
        self.reading = reading
        for source in self.sources:
            if not is_url(source):
                forget_stream(at_home(source))

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which stand elsewhere and have no part in this one's streams."""
        for source in self.sources:
            if not is_url(source) and is_stream(at_home(source)):
                raise InputError(
                    f"{source}: is a stream, which one process can read; write it to a file for "
                    "several workers"
                )
        return {**self.__dict__, "sources": [_absolute(source) for source in self.sources]}

    def told(self) -> dict[str, Any]:
        """How the sources are read, as JSON has it; ``error`` where blank rows are none anyway."""
        plain = [source for source in self.sources if self._is_plain(source)]
        return {
            "columns": None if self.columns is None else dict(self.columns),
            "blank": self.blank or (None if plain else "error"),
            "header": self.reading.get("header"),
            "skip_bad_rows": self.reading.get("skip_bad_rows", 0),
            "file_format": self.reading.get("file_format"),
        }

    def blocks(self, start: Place | None = None) -> Iterator[Block]:
        """All rows, or those from a place on, without those that are left out.

        Args:
            start: `Block.place` of the first row. The lines above it are counted, not parsed.

        Raises:
            InputError: as `read_rows`, when what is wrong is met; the message names file and line.
        """
        begin = start or Place()
        before, found = begin.before, 0
        for number in range(begin.source, len(self.sources)):
            first = begin if number == begin.source else Place(number, before=before)
            for block, above in self._source(first):
                before = first.before + above
                found += len(block)
                for row in range(0, len(block), _BLOCK):  # of a list, which comes as one
                    yield block.part(row, row + _BLOCK)
        if start is None and not found:
            raise no_rows(", ".join(self.sources), 0)

    def states(self) -> list[dict[str, Any]]:
        """What shows that a source is not what it was: its size, and its date or a digest.

        Raises InputError where one is not there.
        """
        return [_state(source) for source in self.sources]

    def changed(self, states: Sequence[Mapping[str, Any]]) -> list[str]:
        """The sources that are not, or not any more, what `states` said of them.

        A pipe is not asked: it is read into a copy, once.
        """
        found = []
        for source, before in zip(self.sources, states, strict=True):
            if not is_url(source) and is_stream(at_home(source)):
                continue
            try:
                same = _state(source) == before
            except InputError:  # gone; of a place that does not answer, nobody knows
                same = is_url(source)
            if not same:
                found.append(source)
        return found

    def check_apart(self, output: Path) -> None:
        """Raise InputError where the output is a source, or one of the two lies in the other.

        A pattern may match what an earlier run wrote, and a folder of `datasets` is one input.
        """
        place = output.resolve()
        for source in self.sources:
            file = at_home(source)
            if is_url(source) or is_stream(file) or not file.exists():
                continue
            if place == file.resolve():
                raise InputError(
                    f"cannot write {output}: it is a file that is read too; give another name, or "
                    "inputs without it"
                )
            if place in file.resolve().parents:
                raise InputError(
                    f"cannot write into {output}: {source}, which is read, lies there; give "
                    "another folder, or inputs without it"
                )
            if file.is_dir() and file.resolve() in place.parents:
                raise InputError(
                    f"cannot write {output}: it lies in {source}, a folder that is read; give "
                    "another place"
                )

    def count(self) -> int | None:
        """About how many rows all sources have, blank ones too; None where to know takes long."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        total = 0
        for source in self.sources:
            path = at_home(source)
            if is_url(source) or not path.is_file():
                return None
            if path.suffix == ".parquet":
                try:
                    total += pq.read_metadata(path).num_rows
                except (pa.ArrowException, OSError):  # the reader says what is wrong, or unpacks it
                    return None
            elif self._format(source) in (".txt", ".jsonl", ".tsv", ".csv"):
                lines = _lines(path)
                if lines is None:
                    return None
                total += lines  # but for a last one that does not end, and breaks in quotes
            else:
                return None
        return total

    def _format(self, source: str) -> str:
        form = self.reading.get("file_format")
        name = RemoteFile(source) if is_url(source) else at_home(source)
        return f".{form.lstrip('.')}" if form else data_suffix(name)

    def _is_plain(self, source: str) -> bool:
        return self._format(source) == ".txt"

    # Each part of a source, and how many rows of it lie above its end.

    def _source(self, start: Place) -> Iterator[tuple[Block, int]]:
        source = self.sources[start.source]
        file = data_file(source)
        if file is None or (isinstance(file, Path) and file.is_dir()):
            return self._whole(source, start)
        return self._file(file, start)

    def _file(self, file: File, start: Place) -> Iterator[tuple[Block, int]]:
        allowed, form = self.reading.get("skip_bad_rows", 0), self.reading.get("file_format")
        bad = BadRows(allowed)
        if start.row:  # the first rows say what the columns are
            head = next(read_tables(file, BadRows(allowed), form, Cut(_BLOCK)))
            cut = Cut(_BLOCK, start.row, start.line, tuple(head.names or ()))
            tables = read_tables(file, bad, form, cut)
        else:
            tables = read_tables(file, bad, form, Cut(_BLOCK))
            head = next(tables)
            tables = chain([head], tables)
        if not head.width:
            yield self._none(str(file), head.blank, start), 0
            return
        layout = Layout(head, self.columns, self.reading.get("header"), _WANTED, (ID,))
        row, kept, blank = start.row, 0, 0
        for table in tables:
            table, places = layout.of(table)
            count = len(table.cells(places["text"]))
            cells = usable(table, layout.kind, places, self.blank, bad)
            texts = cells.columns["text"]
            if row == 0 and not table.is_plain and (doubted := layout.doubt("text", texts)):
                logger.warning("%s", doubted)
            numbers = np.arange(count) if cells.numbers is None else cells.numbers
            ids = cells.columns.get(ID)
            block = Block(start.source, start.before, numbers + row, texts, ids, cells.lines)
            row, kept, blank = row + count, kept + len(block), blank + cells.blank
            yield block, row
        bad.tell(str(file))
        if not start.row:
            if not kept:
                self._none(str(file), blank, start)
            logger.info("%s: %d rows, %d blank skipped", file, kept, blank)

    def _whole(self, source: str, start: Place) -> Iterator[tuple[Block, int]]:
        rows = read_rows(
            *(source,),
            columns=self.columns,
            wanted=_WANTED,
            beside=(ID,),
            blank=self.blank,
            **self.reading,
        )
        numbers = np.arange(len(rows)) if rows.numbers is None else rows.numbers
        ids = [*rows.columns[ID]] if ID in rows.columns else None
        texts = [*rows.columns["text"]]
        whole = Block(start.source, start.before, numbers, texts, ids, rows.lines)
        for first in range(int(np.searchsorted(numbers, start.row)), len(rows), _BLOCK):
            block = whole.part(first, first + _BLOCK)
            yield block, int(block.numbers[-1]) + 1

    def _none(self, source: str, blank: int, start: Place) -> Block:
        """An empty block, where a source without rows is one of several; else InputError."""
        if len(self.sources) == 1:
            raise no_rows(source, blank)
        logger.warning("%s: holds no rows", source)
        return Block(start.source, start.before, np.empty(0, np.int64), [])


def _lines(path: Path) -> int | None:
    """Line breaks of a file, of a large one about, by its beginning; None of a large packed one.

    To read a corpus twice takes longer than anybody waits for a bar.
    """
    size, read, lines = path.stat().st_size, 0, 0
    for piece in byte_pieces(path):
        read, lines = read + len(piece), lines + piece.count(b"\n")
        if size > _COUNTED and read > _COUNTED // 8:
            return None if packing(path) else round(lines * size / read)
    return lines


def _expanded(name: str) -> list[str]:
    """The files that a pattern stands for, sorted; a name that is none as it is."""
    has_pattern = any(each in name for each in "*?[")
    if is_url(name):
        found = RemoteFile(name).matches() if has_pattern else [name]
    elif not has_pattern or os.path.lexists(at_home(name)):
        data_file(name)
        return [name]
    else:
        found = sorted(glob.glob(str(at_home(name)), recursive=True))
        found = [each for each in found if not os.path.isdir(each)]
    if not found:
        raise InputError(f"{name}: no file matches this pattern; check it")
    return found


def _absolute(source: str) -> str:
    path = at_home(source)
    return source if is_url(source) or not path.exists() else str(path.absolute())


def _state(source: str) -> dict[str, Any]:
    file = data_file(source)
    if isinstance(file, RemoteFile):
        return {"name": str(file), **file.state()}
    if file is None:
        return {"name": source}  # `datasets` keeps what it loads by its version
    if file.is_dir():
        return {"name": _absolute(source), **_state_of_folder(file)}
    if not is_stream(file):
        found = file.stat()
        return {"name": _absolute(source), "size": found.st_size, "changed": str(found.st_mtime_ns)}
    with at_rest(file).open("rb") as stream:
        digest = hashlib.sha256()
        while piece := stream.read(1 << 20):
            digest.update(piece)
        return {"name": source, "size": stream.tell(), "changed": digest.hexdigest()}


def _state_of_folder(folder: Path) -> dict[str, Any]:
    """The size of what `datasets` reads of its folder, and a digest of names, sizes and dates."""
    found = [(str(path.relative_to(folder)), path.stat()) for path in saved_files(folder)]
    told = [[name, each.st_size, each.st_mtime_ns] for name, each in found]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return {"size": sum(each.st_size for _, each in found), "changed": digest}
