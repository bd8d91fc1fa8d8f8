"""Texts that look like something else: lines like a table or JSON, cells like lists."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Sequence

_SAMPLE = 1000  # lines that are looked at
_FEW = 8  # lines from which on equal numbers of a common character are no chance
_RARE = ("\t", "||", "|||", " ||| ", "\x01")  # none stands in every line of plain text
_COMMON = ("|", ";", ",")
_NAMES = {"\t": "tabs", "\x01": "control characters (0x01)", ",": "commas", ";": "semicolons"}


def doubt(source: str, texts: Sequence[str]) -> str | None:
    """A sentence about texts, a line each, that are probably no texts; None where they may be.

    Asked of the first lines: JSON if all of them are; a table if all have the same number of one
    separator, the common ones (``,`` ``;`` ``|``) in some lines more and with a column of numbers.
    """
    lines = [(number, text) for number, text in enumerate(texts[:_SAMPLE], 1) if text]
    if len(lines) < 2:
        return None
    where, shown = f"{source}:{lines[0][0]}", f"{lines[0][1]:.60}"
    if all(_is_json(text) for _, text in lines):
        return (
            f"{where}: every line is JSON ({shown}), which is taken as text as it stands; "
            "if it is to be read, name the file .jsonl"
        )
    for separator in (*reversed(_RARE), *_COMMON):
        if _separates(separator, [text for _, text in lines]):
            name = _NAMES.get(separator, f"'{separator.strip()}'")
            remedy = {"\t": "name the file .tsv", ",": "name the file .csv"}.get(
                separator, "save it as .tsv, with tabs between the cells"
            )
            return (
                f"{where}: every line holds {name} ({shown}), which are taken as text as they "
                f"stand; if it is a table, {remedy}"
            )
    return None


def doubt_lists(source: str, column: str, texts: Sequence[str]) -> str | None:
    """A sentence about a column in which every text is a list as JSON or Python write it.

    A table that was saved as ``.csv`` has its lists so. None where there are other texts, too.
    """
    sample = [text for text in texts[:_SAMPLE] if text]
    if len(sample) < 2 or not all(map(_is_list, sample)):
        return None
    return (
        f"{source}: every text of {column} is a list as it is written ({sample[0]:.60}), which is "
        "taken as text as it stands; if its entries are the texts, save the table as .jsonl or "
        ".parquet"
    )


def _is_list(text: str) -> bool:
    """Whether a text is the written form of a list of texts."""
    if text[0] + text[-1] != "[]":
        return False
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes that Python does not know
                found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return False
    return isinstance(found, list) and bool(found) and all(isinstance(x, str) for x in found)


def _separates(separator: str, texts: Sequence[str]) -> bool:
    width = texts[0].count(separator)
    if not width or any(text.count(separator) != width for text in texts):
        return False
    if separator in _RARE:
        return True
    rows = [text.split(separator) for text in texts]
    return len(texts) >= _FEW and any(
        all(cell.strip().replace(".", "", 1).isdecimal() for cell in column)
        for column in zip(*rows, strict=True)
    )


def _is_json(text: str) -> bool:
    if text[0] + text[-1] not in ("{}", "[]"):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
