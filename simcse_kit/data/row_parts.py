"""The rows of a file, some after others, as `read_rows` makes them of the whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.cells import usable
from simcse_kit.data.column_names import DOCUMENT
from simcse_kit.data.columns import Kind
from simcse_kit.data.layout import Layout
from simcse_kit.data.lines import File
from simcse_kit.data.list_columns import Lists, Unrolled
from simcse_kit.data.odd_texts import doubt_lists
from simcse_kit.data.readers import Cut, Table, data_suffix, read_tables
from simcse_kit.data.rows import Reading, no_rows
from simcse_kit.errors import InputError

_PART = 8192  # rows; more than are looked at to know what columns mean

logger = logging.getLogger(__name__)


class OtherwiseBelow(Exception):
    """What the first rows mean is not what later ones do: only the whole tells what they are."""


@dataclass(frozen=True)
class Part:
    """Rows that follow each other in a file.

    Attributes:
        read: how many there are in the file, with those that are left out.
        texts: by column, labels too.
        scores: float64, of "scored".
        documents: ids, "" for none; None where the file has no column of them.
        numbers: int64, which rows of the file they are, from 0.
        some: whether others stand between them, or a record made several.
        lines: int64, the line each starts on, where there are lines.
        blank: rows, and lines, that hold nothing and are left out.
        names: what the file calls each column.
        is_plain: whether a blank line may stand between documents.
        lists: what was unrolled.
    """

    kind: Kind
    read: int
    texts: dict[str, list[str]]
    scores: np.ndarray | None
    documents: list[str] | None
    numbers: np.ndarray
    some: bool
    lines: np.ndarray | None
    blank: int
    names: dict[str, str]
    is_plain: bool
    lists: Lists | None

    def __len__(self) -> int:
        return len(self.numbers)

    def goes_with(self, above: Part, *, lists: bool) -> bool:
        """Whether its columns are those of a part above; with lists, negatives may be more."""
        alike = self.kind == above.kind and (self.documents is None) == (above.documents is None)
        if not lists:
            return alike and [*self.texts] == [*above.texts] and self.names == above.names
        own, theirs = (
            [name for name in each.texts if not name.startswith("negative")]
            for each in (self, above)
        )
        return alike and own == theirs


def parts_of(file: File, columns: Mapping[str, str] | None, reading: Reading) -> Iterator[Part]:
    """The parts of a file, the first of which may be empty.

    Args:
        columns, reading: as of `read_rows`; blank rows of plain text are skipped.

    Raises:
        InputError: as `read_rows`, when what is wrong is met.
        OtherwiseBelow: a part is not as those above it.
    """
    allowed, form = reading.get("skip_bad_rows", 0), reading.get("file_format")
    bad = BadRows(allowed)
    tables = read_tables(file, bad, form, Cut(_PART))
    head = next(tables)
    if not head.width:
        raise no_rows(str(file), head.blank)
    layout = Layout(head, columns, reading.get("header"))
    first: Part | None = None
    lists: Lists | None = None
    above = 0
    for table in chain([head], tables):
        try:
            part = _part(layout, table, bad, above)
        except InputError as error:
            # a negative that a record lacks is no mistake where lists come further below
            can_hold_lists = data_suffix(file) not in (".txt", ".csv", ".tsv")
            if can_hold_lists and layout.kind == "pairs" and len(layout.places) > 2 and not lists:
                raise OtherwiseBelow from error
            raise
        if part.lists is not None:
            lists = part.lists if lists is None else lists + part.lists
        if first is None:
            first = part
            _doubt(part, file)
        elif not part.goes_with(first, lists=lists is not None):
            raise OtherwiseBelow
        yield part
        above += part.read
    if lists is not None:
        lists.tell(str(file))
    bad.tell(str(file))


def _part(layout: Layout, table: Table, bad: BadRows, above: int) -> Part:
    is_plain = table.is_plain
    read = len(table.cells(next(iter(layout.places.values()))))
    table, places = layout.of(table)
    cells = usable(table, layout.kind, places, "skip", bad)
    found = cells.columns
    scores, documents = found.pop("score", None), found.pop(DOCUMENT, None)
    numbers = cells.numbers
    if isinstance(table, Unrolled):
        numbers = table.records[slice(None) if numbers is None else numbers]
    elif numbers is None:
        numbers = np.arange(read)
    return Part(
        layout.kind,
        read,
        found,
        None if scores is None else np.array(scores, dtype=np.float64),
        documents,
        numbers + above,
        cells.numbers is not None or isinstance(table, Unrolled),
        cells.lines,
        cells.blank,
        {ours: table.names[place] for ours, place in places.items()} if table.names else {},
        is_plain,
        table.lists if isinstance(table, Unrolled) else None,
    )


def _doubt(part: Part, file: File) -> None:
    for name, texts in part.texts.items() if not part.is_plain else ():
        if name == "label":
            continue
        if doubted := doubt_lists(str(file), part.names.get(name, name), texts):
            logger.warning("%s", doubted)
