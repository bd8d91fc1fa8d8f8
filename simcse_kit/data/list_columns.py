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

from simcse_kit.data.column_names import DOCUMENT, negative, ours
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


def unrolled(
    table: Table, places: Mapping[str, int], *, always: bool = False
) -> tuple[Table, dict[str, int]]:
    """The table with a row for each positive of a list, and a column for each negative.

    Args:
        places: the columns of rows of pairs, by our names.
        always: whether a part of the table above had lists, and texts are lists of one.

    Returns:
        The table and places themselves where no cell is a list. Else a table of texts, in which a
        cell is `ABSENT` where a row has no negative, and whatever is no text stands as it was.
    """
    cells = {name: table.cells(place) for name, place in places.items()}
    one_each = ("anchor", DOCUMENT)
    listed = [name for name in cells if name not in one_each and _has_lists(cells[name])]
    if not listed and not always:
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
    counts = [len(row) for row in negatives]
    most = max(counts)
    columns = [anchors, positives]
    columns += [[row[k] if k < len(row) else ABSENT for row in negatives] for k in range(most)]
    theirs = None
    if table.names is not None:
        first = [table.names[places[name]] for name in ("anchor", "positive")]
        theirs = first + [table.names[places[names[0]]]] * most if names else first
    ours_now = ["anchor", "positive", *map(negative, range(1, most + 1))]
    if DOCUMENT in cells:
        ours_now.append(DOCUMENT)
        columns.append([cells[DOCUMENT][record] for record in records])
        theirs = None if theirs is None else [*theirs, DOCUMENT]
    written = np.frombuffer(records, dtype=np.int64)
    lines = None if table.lines is None else array("q", [table.lines[each] for each in records])
    new = Unrolled(
        *(table.source, len(columns), columns.__getitem__, theirs, lines, table.blank, False),
        before=table.before,
        records=written,
        lists=Lists([*listed], len(cells["anchor"]), len(records), min(counts), most),
    )
    return new, {name: place for place, name in enumerate(ours_now)}


@dataclass
class Lists:
    """What was unrolled: the columns of lists, records, rows, and negatives of a row."""

    listed: list[str]
    records: int
    rows: int
    fewest: int
    most: int

    def __add__(self, other: Lists) -> Lists:
        return Lists(
            list(dict.fromkeys([*self.listed, *other.listed])),
            self.records + other.records,
            self.rows + other.rows,
            min(self.fewest, other.fewest),
            max(self.most, other.most),
        )

    def tell(self, source: str) -> None:
        """Log what became of them."""
        said = f"lists of {' and '.join(self.listed)}: {self.records} "
        said += f"record{'s'[: self.records > 1]} to a row for each of {self.rows} "
        said += f"positive{'s'[: self.rows > 1]}"
        if self.most:
            each = str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"
            said += f", with all negatives of the record ({each} a row)"
        logger.info("%s: %s", source, said)


@dataclass
class Unrolled(Table):
    """Rows that know in which record, from 0, they were written."""

    records: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    lists: Lists = field(default_factory=lambda: Lists([], 0, 0, 0, 0))

    def where(self, row: int) -> str:
        return super().where(int(self.records[row]) if self.lines is None else row)


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
