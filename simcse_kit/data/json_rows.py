"""JSON becomes columns: objects or arrays, one a line or all in one list."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simcse_kit.data.lines import text_blocks
from simcse_kit.errors import InputError

MISSING = object()  # the cell of a JSON object that lacks the key (null is None)

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


def read_json_lines(path: Path) -> JsonColumns:
    """One object, or one array, a line.

    Raises:
        InputError: a line is no JSON, or neither, or arrays differ in length; it is named.
    """
    found = JsonColumns(lines=array("q"))

    def records() -> Iterator[tuple[str, Any]]:
        assert found.lines is not None
        for first, block in text_blocks(path):
            for line, text in enumerate(block.removesuffix("\n").split("\n"), first):
                if text.strip():
                    found.lines.append(line)
                    yield f"{path}:{line}", _parsed(f"{path}:{line}", text)
                else:
                    found.blank += 1

    _gather(found, records())
    return found


def read_json(path: Path) -> JsonColumns:
    """A list of objects, of arrays or of texts; a file that holds one a line is read as that.

    Raises:
        InputError: as of `read_json_lines`, or the file is another thing.
    """
    text = "".join(block for _, block in text_blocks(path))
    if not text.lstrip().startswith("["):
        return read_json_lines(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return read_json_lines(path)  # arrays, one a line; or broken, and then the line is named
    _check_characters(str(path), text, value)
    if value and all(isinstance(each, str) for each in value):
        return JsonColumns({"text": value})
    found = JsonColumns()
    _gather(found, ((f"{path}, row {row}", each) for row, each in enumerate(value, 1)))
    return found


def _gather(found: JsonColumns, records: Iterable[tuple[str, Any]]) -> None:
    """Put records into columns; a key that some lack is MISSING there."""
    for count, (where, record) in enumerate(records):
        if not isinstance(record, dict | list):
            kind = _KINDS.get(type(record), "a number")
            raise InputError(f'{where}: is {kind}, not an object like {{"text": "…"}}')
        named = isinstance(record, dict)
        if count and named != found.named:
            kind, others = ("an object", "arrays") if named else ("an array", "objects")
            raise InputError(f"{where}: is {kind} among {others}; give rows of one form")
        found.named = named
        if not named and count and len(record) != len(found.cells):
            raise InputError(
                f"{where}: is an array of {len(record)} where the first has {len(found.cells)}"
            )
        for key, value in record.items() if isinstance(record, dict) else enumerate(record):
            if key not in found.cells:
                found.cells[key] = [MISSING] * count
            found.cells[key].append(value)
        for column in found.cells.values():
            if len(column) <= count:
                column.append(MISSING)


def _parsed(where: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = "; one object must stand on one line" if text.strip() in ("{", "[", "[{") else ""
        raise InputError(f"{where}: is not valid JSON ({error}){hint}") from error
    _check_characters(where, text, value)
    return value


def _check_characters(where: str, text: str, value: Any) -> None:
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{where}: a \\ud… escape is half of a character; write the text as UTF-8"
            ) from error
