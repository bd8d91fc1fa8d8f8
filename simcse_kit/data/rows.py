"""Rows of text with known columns, from files or hub datasets.

What the columns mean, and so what the rows are for: `columns`. Formats, encodings and quoting:
`readers`.

Cells lose white space at both ends. In "text" rows an empty one is skipped and counted, like a
blank line; anywhere else an empty cell is an error, for dropping a row in silence would hide it.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.data.columns import Kind, is_number, meaning
from simcse_kit.data.nearby import nearby
from simcse_kit.data.readers import (
    MISSING,
    SUFFIXES,
    Table,
    data_suffix,
    is_saved_dataset,
    read_hub_dataset,
    read_saved_dataset,
    read_table,
)
from simcse_kit.errors import InputError

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """N rows of one kind; every column has N texts."""

    kind: Kind
    columns: dict[str, list[str]]  # text | anchor, positive[, negative, negative_2…] | sentence1, 2
    labels: list[str] | None  # "labelled" only
    scores: np.ndarray | None  # "scored" only: float64 (N,)
    source: str  # the file or dataset, for messages and model cards
    duplicates: int  # rows equal to an earlier row: kept, counted
    blank: int  # blank lines and empty texts: skipped, counted
    names: dict[str, str] = field(default_factory=dict)  # what the file calls each; {}: no header

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def texts(self) -> list[str]:
        """Every column end to end: text ``i`` of column ``c`` is item ``c * N + i``."""
        return [text for column in self.columns.values() for text in column]


def read_rows(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    wanted: Sequence[str] = (),
    header: bool | None = None,
    split: str = "train",
    revision: str | None = None,
) -> Rows:
    """Read rows from a file, a folder saved by ``datasets``, or a dataset on the hub.

    Args:
        source: a path ending in ``.txt .csv .tsv .jsonl .parquet``, each also ``.gz``; or
            ``owner/name`` or ``owner/name:config`` on the Hugging Face hub.
        columns: our names to the file's, ``{"anchor": "title", "positive": "abstract"}``; then
            only these are read, and what they lack to make rows by its own name
            (``{"label": "topic"}`` beside a column text). A file's ``sent0`` is also found as
            what it means, ``anchor``.
        wanted: our names of the columns that there must be, where any kind of rows will not do:
            ``("text", "label")``. What is missing is complained of by these names.
        header: whether the first row of a ``.csv`` or ``.tsv`` holds names. None: it does if it
            names a column we know, and is refused if it looks like other names.
        split: for hub datasets and saved ones.
        revision: branch, tag or commit of a hub dataset.

    Raises:
        InputError: the source cannot be found or read, its columns make no kind of row, or a row
            is malformed; the message names file and line (or row).
    """
    table = _table(source, split, revision)
    kind, places = meaning(table, columns, header, wanted)
    return _rows(table, kind, places)


# ---- where the rows come from -------------------------------------------------------------------


def _table(source: str | Path, split: str, revision: str | None) -> Table:
    path = Path(source).expanduser()
    if path.is_dir():
        if is_saved_dataset(path):
            return read_saved_dataset(path, split)
        files = sorted(p.name for p in path.iterdir() if data_suffix(p) in SUFFIXES)
        hint = f"for instance {path / files[0]}" if files else f"ending in {', '.join(SUFFIXES)}"
        raise InputError(f"{source}: is a folder; give a file, {hint}")
    if path.exists():
        table = read_table(path)
    elif _HUB_NAME.fullmatch(str(source)) and data_suffix(path) not in SUFFIXES:
        return read_hub_dataset(str(source), split, revision)
    else:
        raise _no_such_file(path)
    if not table.width:
        raise _no_rows(table.source, table.blank)
    return table


def _no_rows(source: str, blank: int) -> InputError:
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


def _rows(table: Table, kind: Kind, places: dict[str, int]) -> Rows:
    texts = {name: place for name, place in places.items() if name not in ("label", "score")}
    columns = {name: _texts(table, name, place, kind) for name, place in texts.items()}
    labels = _labels(table, places["label"]) if "label" in places else None
    scores = _scores(table, places["score"]) if "score" in places else None
    read = len(next(iter(columns.values())))
    blank = table.blank
    if kind == "text":
        columns = {"text": [text for text in columns["text"] if text]}
        blank += read - len(columns["text"])
    parts: list[Sequence[Any]] = list(columns.values())
    parts += [labels] if labels is not None else []
    parts += [scores.tolist()] if scores is not None else []
    # hashes of rows, not rows: a million tuples would cost more memory than the answer is worth
    distinct = (
        len(set(map(hash, zip(*parts, strict=True)))) if len(parts) > 1 else len(set(parts[0]))
    )
    names = {ours: table.names[place] for ours, place in places.items()} if table.names else {}
    rows = Rows(kind, columns, labels, scores, table.source, len(parts[0]) - distinct, blank, names)
    if not len(rows):
        raise _no_rows(table.source, blank)
    logger.info(
        "%s: %d rows (%s), %d equal to an earlier one, %d blank skipped",
        *(table.source, len(rows), ", ".join(places), rows.duplicates, rows.blank),
    )
    return rows


def _texts(table: Table, name: str, place: int, kind: Kind) -> list[str]:
    """The cells of a text column, stripped; empty ones only where the rows are plain text."""
    cells = table.cells(place)
    if kind == "text":
        cells = ["" if cell is None else cell for cell in cells]
    try:
        texts = list(map(str.strip, cells))
    except TypeError:  # some cell is no text
        texts = []
    if texts and (kind == "text" or all(texts)):
        return texts
    for row, cell in enumerate(cells):
        if not isinstance(cell, str) or not (cell.strip() or kind == "text"):
            raise _bad_cell(table, row, place, name, cell, "text")
    return texts


def _labels(table: Table, place: int) -> list[str]:
    labels: list[str] = []
    for row, cell in enumerate(table.cells(place)):
        good = isinstance(cell, (str, int)) or (isinstance(cell, float) and math.isfinite(cell))
        label = str(cell).strip() if good else ""
        if not label:
            raise _bad_cell(table, row, place, "label", cell, "a label, as text or a number")
        labels.append(label)
    return labels


def _scores(table: Table, place: int) -> np.ndarray:
    cells = table.cells(place)
    scores = np.empty(len(cells))
    for row, cell in enumerate(cells):
        if not is_number(cell):
            wanted = "a finite number; correct it or remove the row"
            raise _bad_cell(table, row, place, "score", cell, wanted)
        scores[row] = float(cell)
    return scores


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
