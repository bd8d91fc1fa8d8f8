"""Rows of text with known columns, from files or hub datasets.

What the columns mean, and so what the rows are for: `columns`. Formats, encodings and quoting:
`readers`.

Cells lose white space at both ends. A row that holds nothing at all, and an empty text where rows
are plain text, is blank: skipped and counted, kept, or an error, as asked. Anywhere else an empty
cell is an error, for dropping a row in silence would hide it. What is left out leaves its number
free (`Rows.numbers`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np

from simcse_kit.data.advice import is_number
from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.column_names import DOCUMENT, ID
from simcse_kit.data.columns import Kind, meaning
from simcse_kit.data.dataset_tables import (
    is_saved_dataset,
    read_hub_dataset,
    read_saved_dataset,
)
from simcse_kit.data.documents import by_blank_lines, by_ids, document_id
from simcse_kit.data.home import at_home
from simcse_kit.data.lines import File, is_stream
from simcse_kit.data.list_columns import ABSENT, Unrolled, known_names, unrolled
from simcse_kit.data.nearby import nearby
from simcse_kit.data.odd_texts import doubt_lists
from simcse_kit.data.python_rows import given_table
from simcse_kit.data.readers import (
    BROKEN,
    MISSING,
    SUFFIXES,
    Table,
    data_suffix,
    read_table,
)
from simcse_kit.data.remote import RemoteFile, is_url
from simcse_kit.errors import InputError

Blank = Literal["error", "keep", "skip"]
Source = str | os.PathLike[str] | Iterable[Any]  # a Dataset and a DataFrame are iterables, too

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """N rows of one kind; every column has N texts."""

    kind: Kind
    # text | anchor, positive[, negative, negative_2…] | sentence1, sentence2; of lists of negatives
    # "" in those columns for one that a row lacks
    columns: dict[str, list[str]]
    labels: list[str] | None  # "labelled" only
    scores: np.ndarray | None  # "scored" only: float64 (N,)
    source: str  # the file or dataset, for messages and model cards
    duplicates: int  # rows equal to an earlier row: kept, counted
    blank: int  # blank lines and rows: skipped, counted
    names: dict[str, str] = field(default_factory=dict)  # what the file calls each; {}: no header
    numbers: np.ndarray | None = None  # int64 (N,): which row of the source, from 0; None: all
    lines: np.ndarray | None = None  # int64 (N,): the line each starts on, where there are lines
    # int64 (N,), "text" only: which document each is of, from 0; None where nothing tells
    documents: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def texts(self) -> list[str]:
        """Every column end to end: text ``i`` of column ``c`` is item ``c * N + i``."""
        return [text for column in self.columns.values() for text in column]

    def where(self, row: int) -> str:
        """Where row ``row`` (from 0) stands: ``file:line``, or ``file, row n`` (from 1)."""
        if self.lines is not None:
            return f"{self.source}:{self.lines[row]}"
        return f"{self.source}, row {(row if self.numbers is None else self.numbers[row]) + 1}"


class Reading(TypedDict, total=False):
    """How a file is read, beside what its columns mean: keywords of all that read files.

    Attributes:
        header: whether the first row of a ``.csv`` or ``.tsv`` holds names. None: it does if it
            names columns that we know and that make rows; what is in doubt is asked about.
        skip_bad_rows: so many rows that are broken, or that lack a cell, may be left out; they are
            listed in the log.
        file_format: ``txt``, ``csv``, ``tsv``, ``jsonl``, ``json`` or ``parquet``, whatever the
            name ends in. None: by the name; the standard input is text.
    """

    header: bool | None
    skip_bad_rows: int
    file_format: str | None


def check_reading(reading: Reading) -> None:
    """Raise TypeError, as Python does, for a keyword that is none of `Reading`."""
    known = Reading.__annotations__
    if unknown := [name for name in reading if name not in known]:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}; there are {', '.join(known)}")


def read_rows(
    source: Source,
    *,
    columns: Mapping[str, str] | None = None,
    wanted: Sequence[str] = (),
    beside: Sequence[str] = (),
    blank: Blank | None = "skip",
    split: str = "train",
    revision: str | None = None,
    **reading: Unpack[Reading],
) -> Rows:
    """Read rows from a file, a folder saved by ``datasets``, a dataset on the hub, or an object.

    Args:
        source: a path ending in ``.txt .csv .tsv .jsonl .json .parquet``, each also ``.gz`` or
            ``.zst``, or a URL of such (``s3://…``, by fsspec); ``-`` for the standard input;
            ``owner/name`` or ``owner/name:config`` on the Hugging Face hub; or a ``Dataset``, a
            ``DataFrame``, columns by name, or an iterable of records (mappings, or sequences by
            position) or of texts.
        columns: our names to the file's, ``{"anchor": "title", "positive": "abstract"}``; then
            only these are read, and what they lack to make rows by its own name
            (``{"label": "topic"}`` beside a column text). A file's ``sent0`` is also found as
            what it means, ``anchor``. Where there is no header, ``"2"`` is the second column.
        wanted: our names of the columns that there must be, where any kind of rows will not do:
            ``("text", "label")``. What is missing is complained of by these names.
        beside: our names of columns to take too where there are such.
        blank: what becomes of blank rows of plain text: an error, an empty text, or none. None is
            to keep them where the file is ``.txt``, and an error otherwise.
        split: for hub datasets and saved ones.
        revision: branch, tag or commit of a hub dataset.
        reading: as of `Reading`.

    Raises:
        InputError: the source cannot be found or read, its columns make no kind of row, or a row
            is malformed; the message names file and line (or row).
    """
    check_reading(reading)
    bad = BadRows(reading.get("skip_bad_rows", 0))
    table = _table(source, split, revision, bad, reading.get("file_format"))
    theirs = table.names
    if not wanted:
        table.names = known_names(table, columns)
    kind, places = meaning(table, columns, reading.get("header"), wanted, beside)
    table.names = theirs or table.names
    if kind == "pairs":
        table, places = unrolled(table, places)
    rows = _rows(table, kind, places, blank, bad)
    if isinstance(table, Unrolled):
        kept = slice(None) if rows.numbers is None else rows.numbers
        rows = replace(rows, numbers=table.records[kept])
    bad.tell(table.source)
    for name, texts in rows.columns.items() if not table.is_plain else ():
        if doubted := doubt_lists(rows.source, rows.names.get(name, name), texts):
            logger.warning("%s", doubted)
    return rows


# ---- where the rows come from -------------------------------------------------------------------


def _table(
    source: Source, split: str, revision: str | None, bad: BadRows, file_format: str | None
) -> Table:
    if not isinstance(source, str | os.PathLike):
        table = given_table(source, split, bad)
        if not table.width:
            raise InputError(f"{table.source}: holds no rows; give it at least one")
        return table
    file = data_file(os.fspath(source))
    if isinstance(file, Path) and file.is_dir():
        return read_saved_dataset(file, split)
    if file is None:
        return read_hub_dataset(str(source), split, revision)
    table = read_table(file, bad, file_format)
    if not table.width:
        raise no_rows(table.source, table.blank)
    return table


def data_file(source: str) -> File | None:
    """What a name stands for: a file, here or by its URL, a stream, or a folder of ``datasets``.

    Returns:
        None where it can only be the name of a dataset on the hub.

    Raises:
        InputError: there is nothing by this name, or a folder of other things.
    """
    if is_url(source):
        return RemoteFile(source)
    path = at_home(source)
    if path.is_dir() and not is_saved_dataset(path):
        files = sorted(p.name for p in path.iterdir() if data_suffix(p) in SUFFIXES)
        hint = f"for instance {path / files[0]}" if files else f"ending in {', '.join(SUFFIXES)}"
        raise InputError(f"{source}: is a folder; give a file, {hint}")
    if path.exists() or is_stream(path):
        return path
    if _HUB_NAME.fullmatch(source) and data_suffix(path) not in SUFFIXES:
        return None
    raise _no_such_file(path)


def no_rows(source: str, blank: int) -> InputError:
    """The complaint about a source without rows, but for so many blank ones."""
    lines = f"only {blank} blank line{'s' if blank > 1 else ''}"
    found = lines if blank else "it is empty or a header alone"
    return InputError(f"{source}: holds no rows, {found}; give it at least one")


def _no_such_file(path: Path) -> InputError:
    if not path.parent.is_dir():
        return InputError(f"{path}: no such file; the folder {path.parent} does not exist")
    near = nearby(path, Path.exists, most=1)
    hint = f"; did you mean {near[0]}?" if near else "; check the path"
    return InputError(f"{path}: no such file{hint}")


# ---- cells to rows ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cells:
    """What of a table's rows can be used, column by column.

    Attributes:
        columns: by our names.
        numbers: int64, which of the table's rows they are; None: all.
        lines: int64, the line each starts on, where there are lines.
        blank: rows, and lines, that hold nothing and are left out.
    """

    columns: dict[str, list[Any]]
    numbers: np.ndarray | None
    lines: np.ndarray | None
    blank: int


def usable(
    table: Table, kind: Kind, places: Mapping[str, int], policy: Blank | None, bad: BadRows
) -> Cells:
    """The cells of these columns, without the rows that are bad or, by the policy, blank."""
    found: dict[str, list[Any]] = {}
    wrong: dict[int, InputError | None] = {}  # by row; None: complained of already
    for name, place in places.items():
        found[name], complaints = _column(table, name, place, kind)
        wrong = complaints | wrong
    read = len(next(iter(found.values())))
    empty = table.blank_among(wrong)
    if kind == "text":
        for row in empty:  # one without the key, too
            found["text"][row] = ""
        empty |= {row for row, text in enumerate(found["text"]) if not text and row not in wrong}
    for row in sorted(wrong.keys() - empty):
        if complaint := wrong[row]:
            bad.met(complaint)
    keeps = kind == "text" and _keeps_blank(table, empty, policy)
    left_out = wrong.keys() - empty if keeps else wrong.keys() | empty
    lines = None if table.lines is None else np.frombuffer(table.lines, dtype=np.int64)
    numbers = None
    if left_out:
        kept = [row for row in range(read) if row not in left_out]
        found = {name: [cells[row] for row in kept] for name, cells in found.items()}
        numbers = np.array(kept, dtype=np.int64)
        lines = None if lines is None else lines[numbers]
    return Cells(found, numbers, lines, table.blank + (0 if keeps else len(empty)))


def _rows(
    table: Table, kind: Kind, places: dict[str, int], policy: Blank | None, bad: BadRows
) -> Rows:
    cells = usable(table, kind, places, policy, bad)
    found = cells.columns
    ids = found.pop(DOCUMENT, None)
    parts = [column for name, column in found.items() if name != ID]
    # hashes of rows, not rows: a million tuples would cost more memory than the answer is worth
    distinct = (
        len(set(map(hash, zip(*parts, strict=True)))) if len(parts) > 1 else len(set(parts[0]))
    )
    names = {ours: table.names[place] for ours, place in places.items()} if table.names else {}
    labels, scores = found.pop("label", None), found.pop("score", None)
    documents = None if ids is None else by_ids(ids)
    if ids is None and table.is_plain:
        documents = by_blank_lines(cells.numbers)
    rows = Rows(
        kind,
        found,
        labels,
        None if scores is None else np.array(scores, dtype=np.float64),
        source=table.source,
        duplicates=len(parts[0]) - distinct,
        blank=cells.blank,
        names=names,
        numbers=cells.numbers,
        lines=cells.lines,
        documents=documents,
    )
    if not len(rows):
        raise no_rows(table.source, cells.blank)
    logger.info(
        "%s: %d rows (%s), %d equal to an earlier one, %d blank skipped",
        *(table.source, len(rows), ", ".join(places), rows.duplicates, rows.blank),
    )
    return rows


def _keeps_blank(table: Table, empty: set[int], policy: Blank | None) -> bool:
    """Whether blank rows stay, as empty texts; raise InputError where they are an error."""
    if policy is None:
        policy = "keep" if table.is_plain else "error"
    if policy == "error" and empty:
        where = table.where(min(empty))
        more = f", and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise InputError(
            f"{where}: has no text{more}; blank='keep' makes it an empty text, and blank='skip' "
            "leaves it out",
            command_line=f"{where}: has no text{more}; --blank keep embeds an empty text in its "
            "place, and --blank skip leaves it out and writes the numbers of the rows that stay",
        )
    return policy == "keep"


def _column(
    table: Table, name: str, place: int, kind: Kind
) -> tuple[list[Any], dict[int, InputError | None]]:
    """The values of a column, and the complaints about the cells that hold none, by row."""
    cells = table.cells(place)
    value, wanted = _VALUES.get(name, (_text, "text"))
    may_be_empty = kind == "text"
    if value is _text:
        with contextlib.suppress(TypeError):  # some cell is no text
            texts = list(map(str.strip, cells))
            if may_be_empty or all(texts):
                return texts, {}
    values: list[Any] = []
    complaints: dict[int, InputError | None] = {}
    for row, cell in enumerate(cells):
        found = "" if cell is None and may_be_empty else value(cell)
        values.append(found)
        if found is None or (found == "" and not may_be_empty and cell is not ABSENT):
            complaints[row] = (
                None if cell is BROKEN else _bad_cell(table, row, place, name, cell, wanted)
            )
    return values, complaints


def _text(cell: object) -> str | None:
    return cell.strip() if isinstance(cell, str) else None


def _label(cell: object) -> str | None:
    if isinstance(cell, bool):
        return str(cell).lower()  # as JSON writes it
    good = isinstance(cell, str | int) or (isinstance(cell, float) and math.isfinite(cell))
    return str(cell).strip() if good else None


def _document(cell: object) -> str | None:
    return None if cell is BROKEN else document_id(cell)


def _score(cell: object) -> float | None:
    return float(cell) if is_number(cell) else None


#: What the cells of a column become (None: nothing) and what they must hold; others are texts.
_VALUES: dict[str, tuple[Callable[[object], Any], str]] = {
    "label": (_label, "a label, as text or a number"),
    "score": (_score, "a finite number; correct it or remove the row"),
    DOCUMENT: (_document, "an id"),
    ID: (_document, "an id"),
}


def _bad_cell(
    table: Table, row: int, place: int, name: str, cell: object, wanted: str
) -> InputError:
    theirs = table.names[place] if table.names else f"column {place + 1}"
    called = name if theirs.lower() == name else f"{name} ({theirs})"
    if cell is MISSING:
        return InputError(f"{table.where(row)}: has no key '{theirs}', which other lines have")
    if cell is None or not str(cell).strip():
        return InputError(f"{table.where(row)}: {called} is empty; it must hold {wanted}")
    return InputError(f"{table.where(row)}: {called} is {cell!r:.60}; it must hold {wanted}")
