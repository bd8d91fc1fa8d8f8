"""JSON becomes columns: objects or arrays, one a line or all in one list."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.lines import File, text_blocks
from simcse_kit.errors import InputError

MISSING = object()  # the cell of a JSON object that lacks the key (null is None)
BROKEN = object()  # the cell of a row that could not be read, and was let pass

_KINDS = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}


@dataclass
class JsonColumns:
    """What the records hold, column by column.

    Attributes:
        cells: by key, or by place where the records are arrays.
        named: whether the records are objects, whose keys name the columns.
        lines: the line each record starts on; None where they are entries of one list.
        blank: lines without anything.
    """

    cells: dict[Any, list[Any]] = field(default_factory=dict)
    named: bool = True
    lines: array[int] | None = None
    blank: int = 0


def read_json_lines(
    path: File,
    bad: BadRows,
    size: int | None = None,
    start: int = 1,
    keys: Sequence[str] = (),
) -> Iterator[JsonColumns]:
    """One object, or one array, a line; so many records after others, with all keys so far.

    Args:
        bad: rows that may be left out; they are BROKEN in every column.
        size: records at a time; None: all.
        start: the line to begin with, from 1.
        keys: of objects above it, which are the first columns.

    Raises:
        InputError: a line is no JSON, or neither, or arrays differ in length; it is named.
    """
    found = JsonColumns({key: [] for key in keys}, lines=array("q"))

    def records() -> Iterator[tuple[str, Any]]:
        for first, block in text_blocks(path, start):
            for line, text in enumerate(block.removesuffix("\n").split("\n"), first):
                if text.strip():
                    assert found.lines is not None
                    found.lines.append(line)
                    yield f"{path}:{line}", _parsed(f"{path}:{line}", text, bad)
                else:
                    found.blank += 1

    rest = records()
    gather(found, islice(rest, size), bad)
    while found.lines and len(found.lines) == size:
        yield found
        found = JsonColumns({key: [] for key in found.cells}, found.named, array("q"))
        gather(found, islice(rest, size), bad)
    yield found


def read_json(
    path: File,
    bad: BadRows,
    size: int | None = None,
    start: int = 1,
    keys: Sequence[str] = (),
) -> Iterator[JsonColumns]:
    """A list of objects, of arrays or of texts; a file that holds one a line is read as that.

    A list comes as one, whatever the `size`.

    Raises:
        InputError: as of `read_json_lines`, or the file is another thing.
    """
    blocks = text_blocks(path)
    text = next((block for _, block in blocks if block.strip()), "")
    if not text.lstrip().startswith("["):
        return read_json_lines(path, bad, size, start, keys)
    text += "".join(block for _, block in blocks)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # arrays, one a line; or broken: then the line is named
        return read_json_lines(path, bad, size, start, keys)
    _check_characters(str(path), text, value)
    if value and all(isinstance(each, str) for each in value):
        return iter([JsonColumns({"text": value})])
    found = JsonColumns()
    gather(found, ((f"{path}, row {row}", each) for row, each in enumerate(value, 1)), bad)
    return iter([found])


def gather(found: JsonColumns, records: Iterable[tuple[str, Any]], bad: BadRows) -> None:
    """Put records into columns; a key that some lack is MISSING there."""
    broken: list[int] = []
    begun = bool(found.cells)
    for count, (where, record) in enumerate(records):
        if record is not BROKEN and (misfit := _misfit(found, begun, where, record)):
            bad.met(misfit)
            record = BROKEN
        if record is BROKEN:
            broken.append(count)
            for column in found.cells.values():
                column.append(BROKEN)
            continue
        found.named, begun = isinstance(record, dict), True
        for key, value in record.items() if found.named else enumerate(record):
            if key not in found.cells:
                found.cells[key] = [MISSING] * count
                for row in broken:
                    found.cells[key][row] = BROKEN
            found.cells[key].append(value)
        for column in found.cells.values():
            if len(column) <= count:
                column.append(MISSING)


def _misfit(found: JsonColumns, begun: bool, where: str, record: Any) -> InputError | None:
    """What is wrong with a record that does not go with those before it."""
    if not isinstance(record, dict | list):
        kind = _KINDS.get(type(record), "a number")
        return InputError(f'{where}: is {kind}, not an object like {{"text": "…"}}')
    named = isinstance(record, dict)
    if begun and named != found.named:
        kind, others = ("an object", "arrays") if named else ("an array", "objects")
        return InputError(f"{where}: is {kind} among {others}; give rows of one form")
    if begun and not named and len(record) != len(found.cells):
        return InputError(
            f"{where}: is an array of {len(record)} where the first has {len(found.cells)}"
        )
    return None


def _parsed(where: str, text: str, bad: BadRows) -> Any:
    try:
        value = json.loads(text)
        _check_characters(where, text, value)
    except InputError as error:
        bad.met(error)
    except (ValueError, RecursionError) as error:
        hint = "; one object must stand on one line" if text.strip() in ("{", "[", "[{") else ""
        bad.met(InputError(f"{where}: is not valid JSON ({error}){hint}"))
    else:
        return value
    return BROKEN


def _check_characters(where: str, text: str, value: Any) -> None:
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{where}: a \\ud… escape is half of a character; write the text as UTF-8"
            ) from error
