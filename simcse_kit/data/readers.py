"""File formats: a file becomes a `Table` of raw cells, or several, one after another.

What the columns mean is `columns`' affair. Here: compression, encodings, separators, quoting, and
the line on which every row stands, so that a complaint can name it.

Conventions, format by format (each also packed by gzip or zstd, known by content, not by name):

- text: UTF-8 with or without a byte-order mark (UTF-16 when its mark says so); lines end with
  ``\\n``, ``\\r\\n`` or, in a file without any ``\\n``, ``\\r``.
- ``.txt``: a text a line, a blank line too.
- ``.csv``: commas, cells in double quotes where needed, inner quotes doubled (RFC 4180); anything
  else is refused, for a stray quote would swallow the lines after it.
- ``.tsv``: unquoted by default, as SentEval, STS-B and GLUE write it, so ``"`` is a plain
  character, unless the whole file shows that it is quoted (`quoting`).
  A blank line is a row of a table of one column, but not at its end, and none of a wider one.
- ``.jsonl``: one JSON object a line, or one array (then cells have a place and no name); blank
  lines are none.
- ``.json``: a list of these, or the same lines. ``.parquet``: any flat columns, read one by one.

What is no row is counted as `Table.blank`; a row that could not be read and was let pass is
BROKEN in every column, so that the rows keep their numbers.
"""

from __future__ import annotations

import csv
import logging
import re
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.json_rows import BROKEN as BROKEN
from simcse_kit.data.json_rows import MISSING as MISSING
from simcse_kit.data.json_rows import JsonColumns, read_json, read_json_lines
from simcse_kit.data.lines import (
    File,
    forget_stream,
    is_stream,
    text_blocks,
    text_lines,
    unpacked_name,
)
from simcse_kit.data.odd_texts import doubt
from simcse_kit.data.parquet import parquet_parts
from simcse_kit.data.quoting import tsv_is_quoted
from simcse_kit.errors import InputError

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet")

_TURN = 4096  # rows
_CELL = (1 << 31) - 1  # characters; what C's long holds everywhere
_OTHERS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars"}  # that separate, but not in .csv
_LONE_RETURN = re.compile(r"\r(?!\r*\n|\r*\Z)")

logger = logging.getLogger(__name__)


@dataclass
class Table:
    """Raw cells, column by column; nothing is known yet about what they mean."""

    source: str
    width: int
    cells: Callable[[int], list[Any]]  # the cells of column i; formats with types read lazily
    names: list[str] | None = None  # None: the first row may be a header
    lines: array[int] | None = None  # the line each row starts on, where the format has lines
    blank: int = 0
    may_have_header: bool = True  # without names: whether the first row could hold them
    is_plain: bool = False  # a text a line: a blank line is a row like others
    before: int = 0  # rows of the source above these, where a table is a part of it

    def where(self, row: int) -> str:
        """Where row ``row`` (from 0) stands: ``file:line``, or ``file, row n`` (from 1)."""
        if self.lines is None:
            return f"{self.source}, row {self.before + row + 1}"
        return f"{self.source}:{self.lines[row]}"

    def first(self) -> tuple[int, list[str]]:
        """The first row that is not blank: its number, and its cells, stripped."""
        columns = [self.cells(index) for index in range(self.width)]
        rows = enumerate(zip(*columns, strict=True))
        row = next((row for row, cells in rows if not all(map(_is_blank, cells))), 0)
        return row, [str(cells[row]).strip() for cells in columns]

    def take_header(self) -> None:
        """The first row that is not blank becomes the names; what stands above it is no row."""
        row, self.names = self.first()
        self.blank += row
        for index in range(self.width):
            del self.cells(index)[: row + 1]
        if self.lines is not None:
            del self.lines[: row + 1]

    def drop_empty(self) -> None:
        """Take out the rows that could not be read, and of a text format the blank ones."""
        columns = [self.cells(index) for index in range(self.width)]
        out = {row for row, cell in enumerate(columns[0] if columns else []) if cell is BROKEN}
        if self.lines is not None:
            blank = self.blank_among(range(len(self.lines)))
            self.blank += len(blank)
            out |= blank
            self.lines = array("q", (line for n, line in enumerate(self.lines) if n not in out))
        for cells in columns if out else ():
            cells[:] = [cell for row, cell in enumerate(cells) if row not in out]

    def blank_among(self, rows: Collection[int]) -> set[int]:
        """Those of the rows that hold nothing in any column; each column is read once."""
        found = rows
        for index in range(self.width):
            cells = self.cells(index) if found else []
            found = {row for row in found if _is_blank(cells[row])}
        return set(found)


def _is_blank(cell: object) -> bool:
    return cell is None or cell is MISSING or not str(cell).strip()


def data_suffix(path: File) -> str:
    """``.txt`` of ``wiki.TXT.gz``, and of a stream; not necessarily one of `SUFFIXES`."""
    return Path(unpacked_name(path.name)).suffix or (".txt" if is_stream(path) else "")


@dataclass(frozen=True)
class Cut:
    """Which rows of a file are read, and how many at a time.

    Attributes:
        size: rows of a table; None: all in one.
        row: the first that is read, from 0 (a header not counted).
        line: where it starts, in a format that has lines.
        keys: of objects above it, in their order: the first columns, whatever key comes first now.
    """

    size: int | None = None
    row: int = 0
    line: int = 1
    keys: Sequence[str] = ()


def read_table(path: File, bad: BadRows | None = None, file_format: str | None = None) -> Table:
    """Read a file by its extension, or by its format where that is given (``csv``).

    Args:
        bad: takes the rows that cannot be read; None lets none pass.

    Raises:
        InputError: unknown extension, unreadable, damaged or binary file, undecodable bytes,
            broken quoting, a row with the wrong number of columns, a line that isn't an object.
    """
    forget_stream(path)
    return next(read_tables(path, bad, file_format, Cut()))


def read_tables(
    path: File, bad: BadRows | None, file_format: str | None, cut: Cut
) -> Iterator[Table]:
    """`read_table`, some rows after others, so that memory does not grow with the file.

    There is always a first table, of a file without rows one of no width. A table knows the names
    of a `.jsonl` that were met so far. Of a `.json` that is one list the whole is in memory.
    """
    readers: dict[str, Callable[[File, BadRows, Cut], Iterator[Table]]] = {
        ".txt": _read_txt,
        ".csv": _read_csv,
        ".tsv": _read_tsv,
        ".jsonl": partial(_json_tables, read_json_lines),
        ".json": partial(_json_tables, read_json),
        ".parquet": _read_parquet,
    }
    suffix = data_suffix(path) if file_format is None else f".{file_format.lstrip('.')}"
    if suffix not in readers:
        known = ", ".join(SUFFIXES)
        raise InputError(
            f"{path}: '{suffix}' is no known format; use {known}, each also .gz or .zst, or say "
            "which of them it is with file_format='csv'",
            command_line=f"{path}: '{suffix}' is no known format; use {known}, each also .gz or "
            ".zst, or say which of them it is with --format csv",
        )
    return readers[suffix](path, bad or BadRows(), cut)


# ---- text formats -------------------------------------------------------------------------------


def _read_txt(path: File, _: BadRows, cut: Cut) -> Iterator[Table]:
    start, texts = cut.line, list[str]()

    def table() -> Table:
        columns = [texts]
        lines = array("q", range(start, start + len(texts)))
        if start == 1 and (doubted := doubt(str(path), texts)):
            logger.warning("%s", doubted)
        return Table(
            *(str(path), min(1, len(texts)), columns.__getitem__, ["text"], lines), is_plain=True
        )

    for line, block in text_blocks(path, start):
        some = list(map(str.strip, block.removesuffix("\n").split("\n")))
        if "\r" in block and (lone := _LONE_RETURN.search(block)):
            at = line + block.count("\n", 0, lone.start())
            logger.warning("%s:%d: holds a carriage return inside, which ends no line", path, at)
        taken = 0
        while cut.size is not None and len(texts) + len(some) - taken >= cut.size:
            fits = cut.size - len(texts)
            texts += some[taken : taken + fits]
            taken += fits
            yield table()
            start, texts = start + cut.size, []
        texts += some[taken:] if taken else some
    if texts or start == cut.line:
        yield table()


def _read_csv(path: File, bad: BadRows, cut: Cut) -> Iterator[Table]:
    # Blanks after a comma are no part of the cell: `a, "b, c"` has two cells.
    options = {"delimiter": ",", "skipinitialspace": True}
    tables = _separated(path, _quoted_rows(path, options, bad, cut.line), bad, cut.size)
    first = next(tables)
    if first.width == 1:
        sample = [cell for cell in first.cells(0)[:20] if isinstance(cell, str) and cell]
        for separator, name in _OTHERS.items():
            counts = {cell.count(separator) for cell in sample}
            if len(sample) > 1 and len(counts) == 1 and counts != {0}:
                raise InputError(
                    f"{path}: its cells are separated by {name}, a .csv has commas; "
                    f"save it with commas, or with tabs as .tsv"
                )
    yield first
    yield from tables


def _read_tsv(path: File, bad: BadRows, cut: Cut) -> Iterator[Table]:
    if tsv_is_quoted(path):
        rows = _quoted_rows(path, {"delimiter": "\t"}, bad, cut.line)
        return _separated(path, rows, bad, cut.size)
    return _separated(path, _unquoted_rows(path, cut.line), bad, cut.size)


def _quoted_rows(
    path: File, options: dict[str, Any], bad: BadRows, start: int
) -> Iterator[tuple[int, list[str] | None]]:
    """Rows with the line each starts on; a row may go over several lines.

    None is a row whose quoting is broken: only its first line is given up, for what follows a
    quote that never closes are rows again.
    """
    csv.field_size_limit(_CELL)  # Python's own limit is 128 KiB, less than some documents have
    lines, again, taken = text_lines(path, start), deque[str](), list[str]()

    def feed() -> Iterator[str]:
        while line := again.popleft() if again else next(lines, ""):
            taken.append(line)
            yield line

    reader = csv.reader(feed(), strict=True, **options)
    while True:
        taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad.met(
                InputError(
                    f"{path}:{start}: the quoting of the row that starts here is broken "
                    f'({error}); quote a cell that holds a comma, line break or ", and double '
                    'each " inside it'
                )
            )
            yield start, None
            again.extendleft(reversed(taken[1:]))
            start += 1
            reader = csv.reader(feed(), strict=True, **options)
        else:
            yield start, row
            start += len(taken)


def _unquoted_rows(path: File, start: int) -> Iterator[tuple[int, list[str]]]:
    for first, block in text_blocks(path, start):
        for line, text in enumerate(block.removesuffix("\n").split("\n"), first):
            cells = text.removesuffix("\r")
            yield line, cells.split("\t") if cells else []


def _separated(
    path: File, rows: Iterable[tuple[int, list[str] | None]], bad: BadRows, size: int | None
) -> Iterator[Table]:
    """Columns of equal length from rows, which must all be as wide as the first."""
    columns: list[list[Any]] = []
    numbers: array[int] = array("q")
    first: list[str] = []
    first_line = 0
    waiting: list[Sequence[Any]] = []
    blank: list[tuple[int, int]] = []  # lines since the last row, and how many cells they have
    left_out = 0

    def table(more: int = 0) -> Table:
        return Table(str(path), len(columns), columns.__getitem__, None, numbers, left_out + more)

    for line, row in rows:
        if row is not None and (not row or len(row) != len(columns)):
            if not "".join(row).strip():
                blank.append((line, len(row)))
                continue
            if columns:
                bad.met(_wrong_width(path, line, row, first_line, first))
                row = None
            else:
                first, first_line = row, line
                columns = [[] for _ in row]
        if not columns:
            raise bad.complaints[-1]  # the first row of all is broken: how wide are the others?
        for empty, cells in blank:
            if len(columns) in (1, cells):
                numbers.append(empty)
                waiting.append(("",) * len(columns))
            else:
                left_out += 1
        blank.clear()
        if size is not None and len(numbers) >= size:
            _turn(waiting, columns)
            yield table()
            columns, numbers, left_out = [[] for _ in columns], array("q"), 0
        numbers.append(line)
        waiting.append(row if row is not None else (BROKEN,) * len(columns))
        if len(waiting) >= _TURN:
            _turn(waiting, columns)
    _turn(waiting, columns)
    yield table(len(blank))


def _turn(rows: list[Sequence[Any]], columns: list[list[Any]]) -> None:
    """Move rows to the columns; many at once, which is twice as fast as one by one."""
    for column, cells in zip(columns, zip(*rows, strict=True), strict=False):
        column.extend(cells)
    rows.clear()


def _wrong_width(
    path: File, line: int, row: list[str], first_line: int, first: list[str]
) -> InputError:
    hint = ""
    if data_suffix(path) == ".csv" and any("\t" in cell for cell in first):
        hint = f"; line {first_line} holds tabs: if they separate the cells, name the file .tsv"
    elif data_suffix(path) == ".csv" and len(first) == 1 and ";" in first[0]:
        hint = f"; line {first_line} holds semicolons: save the file with commas between the cells"
    elif data_suffix(path) == ".csv" and len(row) > len(first):
        hint = "; a cell that holds a comma needs double quotes around it"
    counts = f"{len(row)} column{'s' if len(row) != 1 else ''} where line {first_line} has"
    return InputError(f"{path}:{line}: has {counts} {len(first)}{hint}")


def _json_tables(
    read: Callable[[File, BadRows, int | None, int, Sequence[str]], Iterator[JsonColumns]],
    path: File,
    bad: BadRows,
    cut: Cut,
) -> Iterator[Table]:
    for found in read(path, bad, cut.size, cut.line, cut.keys):
        values = list(found.cells.values())
        if found.lines is None:  # one list, which is in memory
            values = [cells[cut.row :] for cells in values]
        names = list(found.cells) if found.named else None
        yield Table(
            *(str(path), len(values), values.__getitem__, names, found.lines, found.blank),
            may_have_header=False,
            before=0 if found.lines is not None else cut.row,
        )


# ---- typed formats ------------------------------------------------------------------------------


def _read_parquet(path: File, _: BadRows, cut: Cut) -> Iterator[Table]:
    for before, names, cells in parquet_parts(path, cut.size, cut.row):
        yield Table(str(path), len(names), cells, names, before=before)
