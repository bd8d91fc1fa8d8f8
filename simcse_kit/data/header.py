"""Whether the first row of a ``.csv`` or ``.tsv`` is a header, and what columns without one mean.

A header names columns that we know and that make rows; a mapping needs one. Anything else is
asked about, for what a row looks like does not tell: a header taken for a text moves every row by
one, and a text taken for a header is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from simcse_kit.data.advice import PAIRS, SAMPLE, caution, makes_rows, mostly_numbers, ways
from simcse_kit.data.column_names import KNOWN, as_options, as_python, negative
from simcse_kit.data.column_names import ours as meant_by
from simcse_kit.data.readers import Table
from simcse_kit.errors import InputError

_SHOWN = 8  # cells of a row, in a complaint

logger = logging.getLogger(__name__)


def check_plain(table: Table, header: bool | None) -> None:
    """Raise InputError for lines of text that are said to have a header: it would be a text."""
    if header and table.is_plain:
        problem = f"{table.source}: is read as a text a line, and has no header;"
        raise InputError(
            f"{problem} remove the line, or to read it as a table give file_format='csv'",
            command_line=f"{problem} remove the line, or to read it as a table give --format csv",
        )


def settle_header(
    table: Table, columns: Mapping[str, str] | None, header: bool | None, wanted: Sequence[str]
) -> None:
    """Give a table its names: those of its first row if it is a header, else numbers from 1.

    Without a mapping a table that has no header keeps no names, to be read by position.

    Raises:
        InputError: it is not said whether the first row is a header, and it does not tell.
    """
    if header and not table.may_have_header:
        raise InputError(
            f"{table.source}: holds arrays, which have no header; leave header=True out, and name "
            "columns by their number",
            command_line=f"{table.source}: holds arrays, which have no header; leave --header out, "
            "and name columns by their number with --no-header",
        )
    if header is False or not table.may_have_header:
        if columns is not None:
            table.names = [str(place + 1) for place in range(table.width)]
        return
    row, first = table.first()
    known = [ours for ours in map(meant_by, first) if ours is not None]
    if header is None and columns is None:
        if not makes_rows(known):
            raise _question(table, wanted, _lack(known, wanted))
        check_below(header_of(table), table, wanted, row + 1)
    if header and columns is None and table.width == 1 and not known:
        table.take_header()
        table.names = ["text"]  # one column, which needs no name to be known by
        return
    table.take_header()


def by_position(table: Table, wanted: Sequence[str]) -> dict[str, int]:
    """The places of our columns by their order, in a table without names.

    Raises:
        InputError: there are more or fewer than wanted, or numbers where there must be texts.
    """
    numeric = [mostly_numbers(table.cells(place)[:SAMPLE]) for place in range(table.width)]
    if wanted:
        ours = list(wanted)
    elif table.width == 3 and numeric[2]:
        ours = ["sentence1", "sentence2", "score"]
    else:
        ours = ["anchor", "positive", *map(negative, range(1, table.width - 1))]
        ours = ["text"] if table.width == 1 else ours
    numbered = {name: str(place + 1) for place, name in enumerate(ours)}
    if len(ours) > table.width or (len(ours) < table.width and list(wanted) != ["text"]):
        raise _by_number(f"{table.source}: has {table.width} columns and no header", numbered)
    for place, name in enumerate(ours):
        if numeric[place] and name not in ("label", "score"):
            texts = [str(other + 1) for other in range(table.width) if not numeric[other]]
            problem = f"has no header and its column {place + 1} holds numbers, not text"
            way = dict(zip([each for each in ours if each != "score"], texts, strict=False))
            way |= {"score": str(place + 1)} if "score" in ours else {}
            raise _by_number(f"{table.source}: {problem}", way or numbered)
    return {name: place for place, name in enumerate(ours)}


def _by_number(problem: str, way: Mapping[str, str]) -> InputError:
    how = "count the columns from 1, for instance"
    return InputError(
        f"{problem}; {how} {as_python(way)}, or put a header line above",
        command_line=f"{problem}; {how} {as_options(way)}, or put a header line above",
    )


def _lack(known: Sequence[str], wanted: Sequence[str]) -> str:
    """What a row lacks to be the header that is wanted, or one of any rows."""
    if lacking := [name for name in wanted if name not in known]:
        said = "has no column for" if len(lacking) < len(wanted) else "is no header that names"
        return f"{said} {', '.join(lacking)}"
    for pair in PAIRS:
        if len(half := [name for name in pair if name in known]) == 1:
            other = pair[1 - pair.index(half[0])]
            return f"has a column {half[0]} but none for {other}"
    only = f"but {', '.join(known)} " if known else ""
    return f"names no columns {only}that are known ({KNOWN})"


def header_of(table: Table) -> Table:
    """The first row alone, to be asked about when the table has lost it."""
    row, _ = table.first()
    cells = [[table.cells(place)[row]] for place in range(table.width)]
    lines = None if table.lines is None else table.lines[row : row + 1]
    return Table(table.source, table.width, cells.__getitem__, None, lines)


def check_below(head: Table, table: Table, wanted: Sequence[str], start: int = 0) -> None:
    """Raise InputError where a name of what is taken for a header stands in a row below it.

    Args:
        head: the header, as `header_of`.
        start: the first row of the table that is below.
    """
    names = [head.cells(place)[0] for place in range(head.width)]
    for place, name in enumerate(map(str, names)):
        if not meant_by(name.strip()):
            continue
        again = _again(names, table, place, start)
        if again is not None:
            where = table.where(again)
            raise _question(
                head, wanted, f"may be none, for '{name.strip()}' stands in {where} too"
            )


def _again(names: Sequence[object], table: Table, place: int, start: int) -> int | None:
    """The first row that holds a name of the header again; a whole header again is none."""
    cells, row = table.cells(place), start - 1
    while names[place] in cells[row + 1 :]:
        row = cells.index(names[place], row + 1)
        if [table.cells(each)[row] for each in range(table.width)] != names:
            return row
        logger.warning("%s: is the header again, and is read as a row", table.where(row))
    return None


def _question(table: Table, wanted: Sequence[str], problem: str) -> InputError:
    """The first row as it stands, and both ways to go on."""
    row, first = table.first()
    shown = ", ".join(f"{cell:.40}" for cell in first[:_SHOWN])
    shown += ", …" if len(first) > _SHOWN else ""
    said = f"{table.where(row)}: the first row ({shown}) {problem};{caution(first)}"
    found = ways(table, first, wanted)
    alone = table.width == 1 and meant_by(first[0]) is None
    python = [*map(as_python, found), *(["header=True"] if alone else [])]
    options = [*map(as_options, found), *(["--header"] if alone else [])]
    return InputError(
        f"{said} if it is data, give header=False; if it is a header, give {' or '.join(python)}",
        command_line=f"{said} if it is data, give --no-header; if it is a header, give "
        f"{' or '.join(options)}",
    )
