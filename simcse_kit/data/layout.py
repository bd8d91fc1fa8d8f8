"""What the columns of a file mean where it is read part by part: known from its first rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simcse_kit.data.columns import Kind, meaning
from simcse_kit.data.header import check_below, header_of
from simcse_kit.data.list_columns import Unrolled, known_names, unrolled
from simcse_kit.data.odd_texts import doubt_lists
from simcse_kit.data.readers import Table


class Layout:
    """The meaning of a file's columns, as `read_rows` finds it.

    Args:
        head: the first rows, which lose their header.
        columns, header, wanted, beside: as of `simcse_kit.data.columns.meaning`.

    Attributes:
        kind: of the rows.
        places: of the columns, by our names, in the part that was asked about last.
        names: what that part calls each; None without names.
    """

    def __init__(
        self,
        head: Table,
        columns: Mapping[str, str] | None,
        header: bool | None,
        wanted: Sequence[str] = (),
        beside: Sequence[str] = (),
    ) -> None:
        self._how = columns, header, wanted, beside
        guessed = head.names is None and header is None and columns is None
        guessed = guessed and head.may_have_header
        self._guessed = header_of(head) if guessed else None
        self._head = head
        self._lists = False
        self.kind: Kind
        self._settle(head, head.names if wanted else known_names(head, columns))

    def of(self, table: Table) -> tuple[Table, dict[str, int]]:
        """A part of the file, a row for each positive of a list, and the places of its columns."""
        if table is not self._head:
            if self._guessed is not None:
                check_below(self._guessed, table, self._how[2])
            if table.names is None:
                table.names = self.names
            elif table.width != self._width:  # keys that the rows above lack
                self._settle(table, self._meant + table.names[len(self._meant) :])
        if self.kind != "pairs" or self._how[2]:
            return table, self.places
        found, places = unrolled(table, self.places, always=self._lists)
        self._lists = isinstance(found, Unrolled)
        return found, places

    def doubt(self, name: str, texts: Sequence[str]) -> str | None:
        """A sentence about the first rows' texts, where they are lists as they are written."""
        theirs = self.names[self.places[name]] if self.names and name in self.places else name
        return doubt_lists(self._head.source, theirs, texts)

    def _settle(self, table: Table, names: list[str] | None) -> None:
        theirs, table.names = table.names, names
        columns, header, wanted, beside = self._how
        self.kind, self.places = meaning(table, columns, header, wanted, beside)
        self._meant = table.names or []
        table.names = theirs or table.names
        self.names, self._width = table.names, table.width
