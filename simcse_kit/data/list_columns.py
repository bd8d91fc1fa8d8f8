"""Columns whose cells are lists: several positives and negatives of one anchor.

Any column that means positive or negative may hold lists, of texts or of passages (objects with a
text and maybe a title, as Tevatron and DPR write them, joined by a blank as BEIR does). Where
cells are lists, BGE's ``query, pos, neg`` and Tevatron's ``positive_passages`` say what they mean
as well as our own names do.

A record becomes a row for each of its positives, each row with all its negatives, so that nothing
is drawn or left out. A row with fewer negatives than the longest has an empty text in their place,
which training counts as nothing (`simcse_kit.objectives`).
"""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simcse_kit.data.column_names import negative, ours
from simcse_kit.data.readers import MISSING, Table

_FORMS = (
    re.compile(r"pos(itive)?s?((passage|ctx|doc|document|text)s?)?"),
    re.compile(r"(hard)?neg(ative)?s?((passage|ctx|doc|document|text)s?)?"),
)

logger = logging.getLogger(__name__)


class _Absent(str):
    """The place of a negative that a row lacks: an empty text that is no mistake."""


ABSENT = _Absent()


def known_names(table: Table, columns: Mapping[str, str] | None) -> list[str] | None:
    """A table's names, with ours for columns of lists that others call otherwise.

    Args:
        columns: what the user said of them (our names to the file's), which has the last word.
    """
    if table.names is None:
        return None
    said = columns or {}
    taken = {*said, *map(ours, table.names)}
    found: dict[int, str] = {}

    def take(place: int, *meanings: str) -> None:
        if meant := next((each for each in meanings if each not in taken), None):
            found[place] = meant
            taken.add(meant)

    free = [place for place, name in enumerate(table.names) if name not in said.values()]
    bare = {place: re.sub(r"[\s_-]", "", table.names[place].lower()) for place in free}
    listed = [place for place in free if any(form.fullmatch(bare[place]) for form in _FORMS)]
    if not any(_has_lists(table.cells(place)) for place in listed):
        return table.names
    negatives = [negative(number) for number in range(1, table.width + 1)]
    for form, meanings in zip(_FORMS, (["positive"], negatives), strict=True):
        for place in listed:  # that hold lists, or nothing, or a text for a list of one
            if form.fullmatch(bare[place]) and not ours(bare[place]):
                take(place, *meanings)
    for anchor in ("query", "question"):
        for place in free:
            if bare[place] == anchor:
                take(place, "anchor")
    return [found.get(place, name) for place, name in enumerate(table.names)]


def unrolled(table: Table, places: Mapping[str, int]) -> tuple[Table, dict[str, int]]:
    """The table with a row for each positive of a list, and a column for each negative.

    Args:
        places: the columns of rows of pairs, by our names.

    Returns:
        The table and places themselves where no cell is a list. Else a table of texts, in which a
        cell is `ABSENT` where a row has no negative, and whatever is no text stands as it was.
    """
    cells = {name: table.cells(place) for name, place in places.items()}
    listed = [name for name in cells if name != "anchor" and _has_lists(cells[name])]
    if not listed:
        return table, dict(places)
    names = [name for name in cells if name.startswith("negative")]
    records = array("q")
    anchors: list[Any] = []
    positives: list[Any] = []
    negatives: list[list[Any]] = []
    for record, (anchor, cell) in enumerate(zip(cells["anchor"], cells["positive"], strict=True)):
        its = [text for name in names for text in _texts(cells[name][record], none=[])]
        for positive in _texts(cell, none=[cell]):
            records.append(record)
            anchors.append(anchor)
            positives.append(positive)
            negatives.append(its)
    most = max(map(len, negatives))
    columns = [anchors, positives]
    columns += [[row[k] if k < len(row) else ABSENT for row in negatives] for k in range(most)]
    _tell(table, names, listed, [len(row) for row in negatives])
    theirs = None
    if table.names is not None:
        first = [table.names[places[name]] for name in ("anchor", "positive")]
        theirs = first + [table.names[places[names[0]]]] * most if names else first
    written = np.frombuffer(records, dtype=np.int64)
    lines = None if table.lines is None else array("q", [table.lines[each] for each in records])
    new = Unrolled(
        *(table.source, len(columns), columns.__getitem__, theirs, lines, table.blank, False),
        records=written,
    )
    ours_now = ["anchor", "positive", *map(negative, range(1, most + 1))]
    return new, {name: place for place, name in enumerate(ours_now)}


@dataclass
class Unrolled(Table):
    """Rows that know in which record, from 0, they were written."""

    records: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def where(self, row: int) -> str:
        return super().where(int(self.records[row]) if self.lines is None else row)


def _tell(table: Table, names: list[str], listed: list[str], counts: list[int]) -> None:
    records = len(table.cells(0))
    said = f"lists of {' and '.join(listed)}: {records} record{'s'[: records > 1]} to a row for"
    said += f" each of {len(counts)} positive{'s'[: len(counts) > 1]}"
    if names:
        fewest, most = min(counts), max(counts)
        each = str(most) if fewest == most else f"{fewest} to {most}"
        said += f", with all negatives of the record ({each} a row)"
    logger.info("%s: %s", table.source, said)


def _has_lists(cells: Sequence[Any]) -> bool:
    return any(isinstance(cell, list | tuple | dict) for cell in cells)


def _texts(cell: Any, none: list[Any]) -> list[Any]:
    """The texts of a cell; `none` where it holds none, and what is no text as it stands."""
    if cell is None or cell is MISSING:
        return none
    if isinstance(cell, dict) and isinstance(cell.get("text"), list):
        cell = _objects(cell)
    if not isinstance(cell, list | tuple):
        return [_passage(cell)]
    return [_passage(each) for each in cell] or none


def _objects(lists: dict[str, Any]) -> Any:
    """A list of objects, of the object of lists that `datasets` may make of one."""
    values = list(lists.values())
    if not all(isinstance(each, list) and len(each) == len(values[0]) for each in values):
        return lists
    return [dict(zip(lists, each, strict=True)) for each in zip(*values, strict=True)]


def _passage(item: Any) -> Any:
    """The text of a passage: its title and its text."""
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        return item
    title = item.get("title")
    return f"{title} {item['text']}" if isinstance(title, str) and title.strip() else item["text"]
