"""Rows of text with known columns, from files or hub datasets.

What the columns mean, and so what the rows are for: `columns`. Formats, encodings and quoting:
`readers`.

Cells lose white space at both ends. A row that holds nothing at all, and an empty text where rows
are plain text, is blank: skipped and counted, kept, or an error, as asked. Anywhere else an empty
cell is an error, for dropping a row in silence would hide it. What is left out leaves its number
free (`Rows.numbers`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.cells import Blank, usable
from simcse_kit.data.column_names import DOCUMENT, ID, TITLE
from simcse_kit.data.columns import Kind, meaning
from simcse_kit.data.dataset_tables import (
    is_saved_dataset,
    read_hub_dataset,
    read_saved_dataset,
)
from simcse_kit.data.digests import add_texts
from simcse_kit.data.documents import by_blank_lines, by_ids
from simcse_kit.data.home import at_home
from simcse_kit.data.kept_texts import KeptColumns
from simcse_kit.data.lines import File, is_stream
from simcse_kit.data.links import text_numbers
from simcse_kit.data.list_columns import Unrolled, known_names, unrolled
from simcse_kit.data.nearby import nearby
from simcse_kit.data.odd_texts import doubt_lists
from simcse_kit.data.python_rows import given_table
from simcse_kit.data.readers import (
    SUFFIXES,
    Table,
    data_suffix,
    read_table,
)
from simcse_kit.data.remote import RemoteFile, is_url
from simcse_kit.errors import InputError

Source = str | os.PathLike[str] | Iterable[Any]  # a Dataset and a DataFrame are iterables, too

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """N rows of one kind; every column has N texts."""

    kind: Kind
    # text | anchor, positive[, negative, negative_2…] | sentence1, sentence2; of lists of negatives
    # "" in those columns for one that a row lacks
    columns: Mapping[str, Sequence[str]]  # in memory, or on disk (`KeptColumns`)
    labels: Sequence[str] | None  # "labelled" only
    scores: np.ndarray | None  # "scored" only: float64 (N,)
    source: str  # the file or dataset, for messages and model cards
    duplicates: int  # rows equal to an earlier row: kept, counted
    blank: int  # blank lines and rows: skipped, counted
    names: dict[str, str] = field(default_factory=dict)  # what the file calls each; {}: no header
    numbers: np.ndarray | None = None  # int64 (N,): which row of the source, from 0; None: all
    lines: np.ndarray | None = None  # int64 (N,): the line each starts on, where there are lines
    # int64 (N,), of "text" and "pairs": the document each is of, from 0; None where nothing tells
    documents: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def texts(self) -> Sequence[str]:
        """Every column end to end: text ``i`` of column ``c`` is item ``c * N + i``."""
        if isinstance(self.columns, KeptColumns):
            return self.columns.joined()
        return [text for column in self.columns.values() for text in column]

    def text_numbers(self) -> np.ndarray:
        """Numbers of `texts`, from 0 by first appearance, equal for equal texts, int64; -1 for "".

        In a file that is mapped where the texts are on disk.
        """
        if isinstance(self.columns, KeptColumns):
            return self.columns.text_numbers
        return text_numbers(self.texts())

    def content(self) -> str:
        """Equal for equal rows in equal order, whatever file they came from: texts, and what is
        known of them; 32 hex digits of SHA-256.
        """
        beside = self.labels, self.scores, self.documents
        if isinstance(self.columns, KeptColumns) and self.columns.knows(beside):
            return self.columns.content
        digest = hashlib.sha256(json.dumps([self.kind, *self.columns]).encode())
        for column in self.columns.values():
            add_texts(digest, column)
        if self.labels is not None:
            add_texts(digest, self.labels)
        for numbers in (self.scores, self.documents):
            if numbers is not None:
                digest.update(numbers.tobytes())
        return digest.hexdigest()[:32]

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
    table = table_of(source, bad, reading.get("file_format"), split=split, revision=revision)
    header = reading.get("header")
    return rows_of(
        table, bad, columns=columns, wanted=wanted, beside=beside, blank=blank, header=header
    )


def rows_of(
    table: Table,
    bad: BadRows,
    *,
    columns: Mapping[str, str] | None = None,
    wanted: Sequence[str] = (),
    beside: Sequence[str] = (),
    blank: Blank | None = "skip",
    header: bool | None = None,
) -> Rows:
    """`read_rows` of a table that is read already, which may be asked for other rows then.

    Args:
        table: of `table_of`; it may lose its header. bad: what was let pass when it was read.
    """
    theirs = table.names
    if not wanted:
        table.names = known_names(table, columns)
    kind, places = meaning(table, columns, header, wanted, beside)
    table.names = theirs or table.names
    if kind == "pairs":
        table, places = unrolled(table, places)
    rows = _rows(table, kind, places, blank, bad)
    if isinstance(table, Unrolled):
        table.lists.tell(table.source)
        kept = slice(None) if rows.numbers is None else rows.numbers
        rows = replace(rows, numbers=table.records[kept])
    bad.tell(table.source)
    for name, texts in rows.columns.items() if not table.is_plain else ():
        if doubted := doubt_lists(rows.source, rows.names.get(name, name), texts):
            logger.warning("%s", doubted)
    return rows


# ---- where the rows come from -------------------------------------------------------------------


def table_of(
    source: Source,
    bad: BadRows,
    file_format: str | None,
    *,
    split: str = "train",
    revision: str | None = None,
) -> Table:
    """Read a source whole, once, whatever its columns mean; arguments and errors of `read_rows`."""
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


def _rows(
    table: Table, kind: Kind, places: dict[str, int], policy: Blank | None, bad: BadRows
) -> Rows:
    cells = usable(table, kind, places, policy, bad)
    found = cells.columns
    ids = found.pop(DOCUMENT, None)
    parts = [column for name, column in found.items() if name not in (ID, TITLE)]
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
