"""Cells to values: what the rows of a table hold in the columns that are known.

Cells lose white space at both ends. A row that holds nothing at all, and an empty text where rows
are plain text, is blank: left out, kept, or an error, as asked.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simcse_kit.data.advice import is_number
from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.column_names import DOCUMENT, ID, TITLE
from simcse_kit.data.columns import Kind
from simcse_kit.data.documents import document_id
from simcse_kit.data.list_columns import ABSENT
from simcse_kit.data.readers import BROKEN, MISSING, Table
from simcse_kit.errors import InputError

Blank = Literal["error", "keep", "skip"]


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
    may_be_empty = kind == "text" or name == DOCUMENT
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


def _title(cell: object) -> str | None:
    return "" if cell is MISSING else _text(cell)


def _label(cell: object) -> str | None:
    if isinstance(cell, bool):
        return str(cell).lower()  # as JSON writes it
    good = isinstance(cell, str | int) or (isinstance(cell, float) and math.isfinite(cell))
    return str(cell).strip() if good else None


def _document(cell: object) -> str | None:
    if cell is MISSING or cell is ABSENT:
        return ""
    return None if cell is BROKEN else document_id(cell)


def _score(cell: object) -> float | None:
    return float(cell) if is_number(cell) else None


#: What the cells of a column become (None: nothing) and what they must hold; others are texts.
_VALUES: dict[str, tuple[Callable[[object], Any], str]] = {
    "label": (_label, "a label, as text or a number"),
    "score": (_score, "a finite number; correct it or remove the row"),
    DOCUMENT: (_document, "an id"),
    ID: (_document, "an id"),
    TITLE: (_title, "text"),
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
