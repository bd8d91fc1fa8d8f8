"""What the columns of a table mean: by their names, by a mapping, or by their order.

The columns decide what the rows are for:

====================================  ===========  ===============================================
columns                               kind         also called
====================================  ===========  ===============================================
text                                  "text"       sentence
anchor, positive[, negative…]         "pairs"      sent0, sent1, hard_neg; negative_2, negative_3…
text, label                           "labelled"
sentence1, sentence2, score           "scored"     without score: "pairs"
====================================  ===========  ===============================================

Names are matched without regard to case, blanks, ``_`` and ``-``. Other columns are ignored, with a
log line. A ``.csv`` or ``.tsv`` without a header is read by position: one column is text; two are
anchor and positive; three are a scored pair if the third holds numbers, else anchor, positive and
negative; more are more negatives. What is in doubt is refused: names that are not ours, a score
in place of a text, sentence pairs with a label that may be a score or a class.
"""

from __future__ import annotations

import difflib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from simcse_kit.data.column_names import KNOWN, MEANINGS, guess, map_them, negative
from simcse_kit.data.column_names import ours as meant_by
from simcse_kit.data.readers import Table
from simcse_kit.errors import InputError

Kind = Literal["text", "pairs", "labelled", "scored"]

_PAIRS = (("anchor", "positive"), ("sentence1", "sentence2"))
_NAME = re.compile(r"[^\W\d][\w.-]*( [\w.-]+){0,2}")  # what could be a column's name
_SAMPLE = 1000  # rows that show whether a column holds numbers

logger = logging.getLogger(__name__)


def meaning(
    table: Table,
    columns: Mapping[str, str] | None,
    header: bool | None,
    wanted: Sequence[str] = (),
) -> tuple[Kind, dict[str, int]]:
    """The kind of a table's rows, and the place of each column it needs, by our names in order.

    A header that was found in the first row is taken out of the rows.

    Args:
        wanted: our names of the columns that there must be; by default what makes rows of any
            kind. A label beside a wanted text is taken too.

    Raises:
        InputError: the columns make no kind of row, or not the wanted; or what they are is in
            doubt.
    """
    if table.names is None:
        _settle_header(table, columns, header, wanted)
    if table.names is None:
        kind, places = _by_position(table)
        if any(name not in places for name in wanted):
            first = [str(table.cells(index)[0]).strip() for index in range(table.width)]
            problem = f"{table.source}: has no header that names {', '.join(wanted)}; put one above"
            if header is False or not table.may_have_header:
                raise InputError(problem)
            raise map_them(
                f"{problem}, or, if its first line is one ({', '.join(first)}),",
                *_ways(table, first, wanted),
            )
        return kind, places
    found = _by_name(table) if columns is None else _by_mapping(table, columns, wanted)
    if not wanted:
        return _kind(table, found)
    if lacking := [name for name in wanted if name not in found]:
        raise _lacking(table, found, lacking)
    taken = [*wanted, *(["label"] if "text" in wanted and "label" in found else [])]
    places = {name: found[name] for name in dict.fromkeys(taken)}
    if "label" in wanted:
        return "labelled", places  # asked for as such, it is no score
    return _kind(table, places)


def _settle_header(
    table: Table, columns: Mapping[str, str] | None, header: bool | None, wanted: Sequence[str]
) -> None:
    """Take the first row as names, if it is that."""
    first = [str(table.cells(index)[0]).strip() for index in range(table.width)]
    if header is False or not table.may_have_header:
        if columns is not None:
            asked = ", ".join(columns.values())
            raise InputError(
                f"{table.source}: has no header to find the column {asked} in; put one above"
            )
        return
    if header or columns is not None or any(map(meant_by, first)):
        table.take_header()
    elif _looks_like_names(table, first):
        raise map_them(
            f"{table.where(0)}: looks like a header but names no column that is known "
            f"({', '.join(first)}); known are {KNOWN}; put a header above if this line is data, "
            "else rename the columns, or",
            *_ways(table, first, wanted),
        )


def _looks_like_names(table: Table, first: list[str]) -> bool:
    """Names over numbers, or single words over cells that mostly are not."""
    if not all(_NAME.fullmatch(cell) for cell in first):
        return False
    later = [table.cells(index)[1:_SAMPLE] for index in range(table.width)]
    if any(_numbers(cells) for cells in later):
        return not any(map(is_number, first))
    below = [cell for cells in later for cell in cells]
    spaced = sum(" " in str(cell).strip() for cell in below)
    return not any(" " in cell for cell in first) and spaced > len(below) / 2


def _by_position(table: Table) -> tuple[Kind, dict[str, int]]:
    numeric = [_numbers(table.cells(index)[:_SAMPLE]) for index in range(table.width)]
    scored = table.width == 3 and numeric[2]
    for index in range(table.width - scored):
        if numeric[index]:
            raise InputError(
                f"{table.source}: has no header and its column {index + 1} holds numbers, not "
                f"text; put a header line above that names the columns ({KNOWN})"
            )
    if table.width == 1:
        return "text", {"text": 0}
    if scored:
        return "scored", {"sentence1": 0, "sentence2": 1, "score": 2}
    names = ["anchor", "positive", *map(negative, range(1, table.width - 1))]
    return "pairs", {name: index for index, name in enumerate(names)}


def _by_name(table: Table) -> dict[str, int]:
    names = table.names or []
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        ours = meant_by(name)
        if ours in found:
            raise map_them(
                f"{table.source}: the columns '{names[found[ours]]}' and '{name}' both mean "
                f"{ours}; remove or rename one, or",
                {ours: names[found[ours]]},
            )
        if ours is not None:
            found[ours] = index
    return found


def _by_mapping(table: Table, columns: Mapping[str, str], wanted: Sequence[str]) -> dict[str, int]:
    names = table.names or []
    found: dict[str, int] = {}
    for ours, theirs in columns.items():
        if meant_by(ours) != ours:
            raise _unknown(table, ours, theirs)
        found[ours] = _place(table, ours, theirs, columns)
    # What they lack goes by its name, where the file has it.
    if any(name not in found for name in wanted) if wanted else not _makes_rows(found):
        for index, name in enumerate(names):
            meant = meant_by(name)
            if meant is not None and meant not in found and index not in found.values():
                found[meant] = index
    return found


def _place(table: Table, ours: str, theirs: str, columns: Mapping[str, str]) -> int:
    """The place of the column that is called, or else that means, ``theirs``."""
    names = table.names or []
    same = [index for index, name in enumerate(names) if name == theirs]
    same = same or [index for index, name in enumerate(names) if meant_by(name) == theirs]
    if len(same) == 1:
        return same[0]
    has = f"'{theirs}' (it has {', '.join(names)})"
    if same:
        raise InputError(f"{table.source}: has more than one column {has}; rename one")
    near = difflib.get_close_matches(theirs, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    taken = {name for other, name in columns.items() if other != ours}
    free = near or [name for name in names if name not in taken]
    if not free:
        raise InputError(f"{table.source}: has no column {has}")
    raise map_them(f"{table.source}: has no column {has}{hint}", _likely(table, [ours], free))


def _unknown(table: Table, ours: str, theirs: str) -> InputError:
    """The complaint about a name of ours that is none."""
    problem = f"'{ours}' is no column of ours ({KNOWN});"
    if meant_by(theirs) is not None and ours in (table.names or []):
        return map_them(f"{problem} it is ours first, then the file's:", {theirs: ours})
    meant = guess(ours)
    near = difflib.get_close_matches(ours.lower(), MEANINGS, n=1)
    if meant is None and near:
        meant = MEANINGS[near[0]]
    if meant is None:
        return InputError(f"{problem} use one of these")
    return map_them(f"{problem} did you mean {meant}?", {meant: theirs})


def _lacking(table: Table, found: Mapping[str, int], lacking: Sequence[str]) -> InputError:
    """The complaint about wanted columns that are not there, of a table with names."""
    names = table.names or []
    problem = f"{table.source}: has no column for {', '.join(lacking)} (it has {', '.join(names)});"
    free = [name for index, name in enumerate(names) if index not in found.values()] or names
    return map_them(problem, _likely(table, lacking, free))


def _ways(table: Table, names: Sequence[str], wanted: Sequence[str]) -> list[dict[str, str]]:
    """How columns that mean nothing to us may be mapped: as wanted, else as texts or as pairs."""
    kinds = [list(wanted)] if wanted else [["text"], ["anchor", "positive"]]
    return [_likely(table, kind, names) for kind in kinds if len(kind) <= len(names)]


def _likely(table: Table, lacking: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """The columns that may be meant, for as many of ours as there are names."""
    places = {name: place for place, name in enumerate(table.names or names)}
    numbers = {name: _numbers(table.cells(places[name])[:_SAMPLE]) for name in names}

    def unlike(ours: str, theirs: str) -> tuple[bool, bool, bool]:
        """How unlikely a column is meant, to sort by: its name, its cells, what else it may be."""
        fits = ours == "label" or numbers[theirs] == (ours == "score")
        return guess(theirs) != ours, not fits, guess(theirs) is not None

    free, way = list(names), {}
    for ours in lacking:
        if free:
            way[ours] = min(free, key=lambda name: unlike(ours, name))
            free.remove(way[ours])
    return way


def _kind(table: Table, found: dict[str, int]) -> tuple[Kind, dict[str, int]]:
    """The kind of rows that these columns make, and the columns it needs."""
    kind: Kind
    source, names = table.source, table.names or []
    if "anchor" in found and "positive" in found:
        kind = "pairs"
        places = {"anchor": found["anchor"], "positive": found["positive"]}
        negatives = [name for name in found if name.startswith("negative")]
        negatives.sort(key=lambda name: int(name.partition("_")[2] or 1))
        for number, name in enumerate(negatives, 1):
            places[negative(number)] = found[name]
    elif "sentence1" in found and "sentence2" in found:
        kind, places = _sentence_pairs(source, found)
    elif "text" in found:
        kind = "labelled" if "label" in found else "text"
        places = {name: found[name] for name in ("text", "label") if name in found}
    else:
        raise _no_kind(table, found)
    ignored = [name for index, name in enumerate(names) if index not in places.values()]
    if ignored:
        logger.info("%s: columns ignored: %s", source, ", ".join(ignored))
    return kind, places


def _makes_rows(found: Mapping[str, int]) -> bool:
    """Whether these columns make rows of some kind."""
    return "text" in found or any(first in found and second in found for first, second in _PAIRS)


def _no_kind(table: Table, found: dict[str, int]) -> InputError:
    source, names = table.source, table.names or []
    free = [name for index, name in enumerate(names) if index not in found.values()]
    listed = ", ".join(names)
    for pair in _PAIRS:
        have = [name for name in pair if name in found]
        if have:
            lack = next(name for name in pair if name not in found)
            problem = f"{source}: has a column {have[0]} but none for {lack} (it has {listed});"
            lone = {"text": names[found[have[0]]]}
            if not free:
                return map_them(f"{problem} add it, or, for texts alone,", lone)
            both = {have[0]: names[found[have[0]]]} | _likely(table, [lack], free)
            return map_them(f"{problem} add it, or", both, lone)
    problem = f"{source}: no columns to learn from among {listed}; known are {KNOWN};"
    if not free:
        return InputError(f"{problem} a column of text must be there too")
    if found:  # a label or a score
        known = {name: names[index] for name, index in found.items()}
        return map_them(f"{problem} rename them, or", _likely(table, ["text"], free) | known)
    return map_them(f"{problem} rename them, or", *_ways(table, free, ()))


def _sentence_pairs(source: str, found: dict[str, int]) -> tuple[Kind, dict[str, int]]:
    if "score" in found:
        return "scored", {name: found[name] for name in ("sentence1", "sentence2", "score")}
    if "label" in found:
        # Taken as positives, the pairs that a label calls different would be pulled together.
        raise InputError(
            f"{source}: has sentence1, sentence2 and label, which may be scores or classes; rename "
            f"label to score if it grades similarity, or remove it if every pair is a positive"
        )
    return "pairs", {"anchor": found["sentence1"], "positive": found["sentence2"]}


def is_number(cell: object) -> bool:
    """Whether a cell holds a finite number, itself or in writing."""
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float)):
        return False
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _numbers(cells: Sequence[object]) -> bool:
    """Whether most of the cells are numbers: one bad score makes no text of a score column."""
    return bool(cells) and sum(map(is_number, cells)) > len(cells) / 2
