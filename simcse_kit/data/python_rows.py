"""Rows that a program holds: objects of `datasets` and pandas, columns, records or texts.

Nothing of those libraries is imported: who gives such an object has done so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.dataset_tables import column_cells, dataset_table, is_column
from simcse_kit.data.json_rows import MISSING, JsonColumns, gather
from simcse_kit.data.readers import Table
from simcse_kit.errors import InputError


def given_table(given: Any, split: str, bad: BadRows) -> Table:
    """The table of an object that holds rows.

    Args:
        given: a ``Dataset``, ``IterableDataset`` or ``DatasetDict``; a ``DataFrame``; columns by
            name (``{"text": [...]}``); or anything that gives records (mappings, or sequences by
            position) or texts: a column of a ``Dataset``, or a generator, which is used up.
        split: of a ``DatasetDict``.
        bad: takes records that do not go with those before them.

    Raises:
        InputError: it is none of these, a set (whose order differs from run to run), or columns
            differ in length.
    """
    source = f"the {type(given).__name__} given"
    if isinstance(given, Mapping):
        if all(hasattr(each, "column_names") for each in given.values()) and given:
            if split not in given:
                raise InputError(f"{source}: has no split '{split}'; it has {', '.join(given)}")
            return dataset_table(f"{source} [{split}]", given[split])
        return _columns(source, given)
    if is_column(given):
        given = column_cells(given)
    if hasattr(given, "to_pylist"):  # of pyarrow
        given = given.to_pylist()
    if hasattr(given, "features") and hasattr(given, "__len__"):
        return dataset_table(source, given)
    if hasattr(given, "iloc") and hasattr(given, "columns"):
        return _frame(source, given)
    if isinstance(given, set | frozenset) or not isinstance(given, Iterable):
        kind = "has no order" if isinstance(given, set | frozenset) else "holds no rows"
        raise InputError(
            f"{source}: {kind}; give a path, a list of texts or of records, a Dataset or a "
            "DataFrame"
        )
    return _records(source, iter(given), bad)


def _columns(source: str, given: Mapping[str, Any]) -> Table:
    for name, column in given.items():
        if isinstance(column, str) or not isinstance(column, Iterable):
            raise InputError(f"{source}: {name} is {column!r:.40}, not a list of such")
    columns = [[_plain_cell(cell) for cell in column] for column in given.values()]
    lengths = {name: len(column) for name, column in zip(given, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"{source}: its columns differ in length ({told})")
    return Table(source, len(columns), columns.__getitem__, list(map(str, given)))


def _frame(source: str, frame: Any) -> Table:
    """Of pandas; what it calls missing is None, and arrays in cells are lists."""

    def cells(index: int) -> list[Any]:
        column = frame.iloc[:, index]
        values = column.astype(object).where(column.notna(), None)
        return list(map(_plain_cell, values))

    return Table(source, len(frame.columns), cells, list(map(str, frame.columns)))


def _records(source: str, given: Iterator[Any], bad: BadRows) -> Table:
    first = next(given, MISSING)
    if first is MISSING:
        return Table(source, 0, lambda _: [])
    whole = chain([first], given)
    if isinstance(first, str):
        texts = list(map(_plain_cell, whole))
        return Table(source, 1, lambda _: texts, ["text"])
    found = JsonColumns()
    gather(found, ((f"{source}, row {n}", _plain(each)) for n, each in enumerate(whole, 1)), bad)
    values = list(found.cells.values())
    names = list(map(str, found.cells)) if found.named else None
    return Table(source, len(values), values.__getitem__, names, may_have_header=False)


def _plain(record: Any) -> Any:
    """A record as JSON would hold it."""
    if isinstance(record, Mapping):
        return {key: _plain_cell(cell) for key, cell in record.items()}
    return list(map(_plain_cell, record)) if isinstance(record, list | tuple) else record


def _plain_cell(cell: Any) -> Any:
    """Numbers and arrays of numpy and torch as those of Python."""
    return cell.tolist() if hasattr(cell, "tolist") else cell
