"""The columns of retrieval files: found by name, their cells checked, with file and line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcse_kit.data import (
    MISSING,
    BadRows,
    Reading,
    Table,
    at_home,
    check_reading,
    is_input,
    map_them,
    read_table,
)
from simcse_kit.errors import InputError


@dataclass(frozen=True)
class Column:
    """One of our columns: what it may be called, and whether it may be absent.

    For advice: what it is `usual`ly called, and what the others are.
    """

    ours: str
    theirs: Sequence[str]
    optional: bool
    usual: Sequence[str]
    others: frozenset[str]


def named(
    columns: Mapping[str, str] | None,
    usual: Mapping[str, Sequence[str]],
    optional: Sequence[str] = (),
) -> dict[str, Column]:
    """Our columns, called as `columns` says or else as is `usual`.

    Raises InputError for a name in `columns` that is not ours.
    """
    columns = columns or {}
    for ours in columns:
        if ours not in usual:
            near = difflib.get_close_matches(ours, usual, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"no column of ours is called {ours!r}{hint} ({', '.join(usual)})")
    called = {ours: [columns[ours]] if ours in columns else names for ours, names in usual.items()}
    return {
        ours: Column(
            ours,
            theirs,
            # a column that was named must be there
            ours in optional and ours not in columns,
            usual[ours],
            frozenset(name for other, names in called.items() if other != ours for name in names),
        )
        for ours, theirs in called.items()
    }


def open_table(path: Path, reading: Reading, bad: BadRows) -> Table:
    """The table of a file, without the bad rows that `bad` lets pass.

    Its names are those of the first row where the format has none, or numbers from 1 if it is said
    to have no header.
    """
    check_reading(reading)
    path = at_home(path)
    if not is_input(path):
        raise InputError(f"{path}: no such file; check the path")
    table = read_table(path, bad, reading.get("file_format"))
    if table.width and table.names is None:
        if reading.get("header") is False or not table.may_have_header:
            table.names = [str(place + 1) for place in range(table.width)]
        else:
            table.take_header()
    table.drop_empty()
    if not table.width or not table.cells(0):
        raise InputError(f"{path}: holds no rows; give it at least one")
    return table


def find_cells(table: Table, column: Column) -> list[Any] | None:
    """The cells of a column; None where it is absent and may be."""
    names = table.names or []
    for theirs in column.theirs:
        if theirs in names:
            return table.cells(names.index(theirs))
    if column.optional:
        return None
    near = [match for name in column.theirs for match in difflib.get_close_matches(name, names)]
    likely = near + [name for name in column.usual if name in names]
    likely += [name for name in names if name not in column.others]
    error = map_them(
        f"{table.source}: has no column {' or '.join(column.theirs)} (it has {', '.join(names)});",
        {column.ours: [*likely, *names][0]},
    )
    if table.may_have_header and table.lines is not None and not column.others & set(names):
        # a first row that names nothing of ours: taken for names, its judgement would be lost
        how = "and number the columns from 1"
        raise InputError(
            f"{error}; or, if those are data, give header=False {how}",
            command_line=f"{error.command_line}; or, if those are data, give --no-header {how}",
        )
    raise error


def id_cells(table: Table, column: Column) -> list[str]:
    """The ids of a column, none of them empty."""
    cells = find_cells(table, column) or []
    found = ["" if cell is None or cell is MISSING else str(cell).strip() for cell in cells]
    for row, name in enumerate(found):
        if not name:
            raise InputError(f"{table.where(row)}: {column.theirs[0]} is empty; it must hold an id")
    return found


def text_cells(table: Table, column: Column) -> list[str] | None:
    """The texts of a column, stripped, empty where there is none; None where it is absent."""
    cells = find_cells(table, column)
    if cells is None:
        return None
    found = ["" if cell is None or cell is MISSING else cell for cell in cells]
    for row, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(
                f"{table.where(row)}: {column.theirs[0]} is {text!r:.60}; it must hold text"
            )
    return [text.strip() for text in found]
