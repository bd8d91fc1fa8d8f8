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

from simcse_kit.data.readers import Table
from simcse_kit.errors import InputError

Kind = Literal["text", "pairs", "labelled", "scored"]

# what a name in a file, lower-case and without punctuation, means to us
_MEANINGS = {
    "text": "text",
    "sentence": "text",
    "label": "label",
    "anchor": "anchor",
    "sent0": "anchor",
    "positive": "positive",
    "sent1": "positive",
    "sentence1": "sentence1",
    "sentence2": "sentence2",
    "score": "score",
}
_NEGATIVE = re.compile(r"(?:negative|hardneg|hardnegative)(\d*)")
_NAME = re.compile(r"[^\W\d][\w.-]*( [\w.-]+){0,2}")  # what could be a column's name
_KNOWN = "text; text,label; anchor,positive[,negative…]; sentence1,sentence2[,score]"
_SAMPLE = 1000  # rows that show whether a column holds numbers

logger = logging.getLogger(__name__)


def meaning(
    table: Table, columns: Mapping[str, str] | None, header: bool | None
) -> tuple[Kind, dict[str, int]]:
    """The kind of a table's rows, and the place of each column it needs, by our names in order.

    A header that was found in the first row is taken out of the rows.

    Raises:
        InputError: the columns make no kind of row, or what they are is in doubt.
    """
    if table.names is None:
        _settle_header(table, columns, header)
    if table.names is None:
        return _by_position(table)
    return _by_name(table) if columns is None else _by_mapping(table, columns)


def _ours(name: str) -> str | None:
    """Our name for a column called ``name``, if it is one we know."""
    bare = re.sub(r"[\s_-]", "", name.lower())
    if match := _NEGATIVE.fullmatch(bare):
        return _negative(int(match[1] or 1))
    return _MEANINGS.get(bare)


def _negative(number: int) -> str:
    return "negative" if number == 1 else f"negative_{number}"


def _settle_header(table: Table, columns: Mapping[str, str] | None, header: bool | None) -> None:
    """Take the first row as names, if it is that."""
    first = [str(table.cells(index)[0]).strip() for index in range(table.width)]
    if header is False:
        if columns is not None:
            raise InputError(f"{table.source}: columns= needs a header to find its names in")
        return
    if header or columns is not None or any(map(_ours, first)):
        table.take_header()
    elif _looks_like_names(table, first):
        raise InputError(
            f"{table.where(0)}: looks like a header but names no column that is known "
            f"({', '.join(first)}); known are {_KNOWN}; rename them, map them with "
            f"columns= (--column), or put a header above if this line is data"
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
                f"text; put a header line above that names the columns ({_KNOWN})"
            )
    if table.width == 1:
        return "text", {"text": 0}
    if scored:
        return "scored", {"sentence1": 0, "sentence2": 1, "score": 2}
    names = ["anchor", "positive", *map(_negative, range(1, table.width - 1))]
    return "pairs", {name: index for index, name in enumerate(names)}


def _by_name(table: Table) -> tuple[Kind, dict[str, int]]:
    names = table.names or []
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        ours = _ours(name)
        if ours in found:
            raise InputError(
                f"{table.source}: the columns '{names[found[ours]]}' and '{name}' both mean "
                f"{ours}; remove or rename one, or choose with columns= (--column)"
            )
        if ours is not None:
            found[ours] = index
    return _kind(table.source, names, found)


def _by_mapping(table: Table, columns: Mapping[str, str]) -> tuple[Kind, dict[str, int]]:
    names = table.names or []
    found: dict[str, int] = {}
    for ours, theirs in columns.items():
        if _ours(ours) != ours:
            raise InputError(f"columns= maps '{ours}', which is no column of ours; use {_KNOWN}")
        if names.count(theirs) != 1:
            problem = "more than one" if theirs in names else "no"
            near = difflib.get_close_matches(theirs, names, n=1)
            hint = f"; did you mean '{near[0]}'?" if near and near[0] != theirs else ""
            raise InputError(
                f"{table.source}: has {problem} column '{theirs}' (it has {', '.join(names)}){hint}"
            )
        found[ours] = names.index(theirs)
    return _kind(table.source, names, found)


def _kind(source: str, names: list[str], found: dict[str, int]) -> tuple[Kind, dict[str, int]]:
    """The kind of rows that these columns make, and the columns it needs."""
    kind: Kind
    if "anchor" in found and "positive" in found:
        kind = "pairs"
        places = {"anchor": found["anchor"], "positive": found["positive"]}
        negatives = [name for name in found if name.startswith("negative")]
        negatives.sort(key=lambda name: int(name.partition("_")[2] or 1))
        for number, name in enumerate(negatives, 1):
            places[_negative(number)] = found[name]
    elif "sentence1" in found and "sentence2" in found:
        kind, places = _sentence_pairs(source, found)
    elif "text" in found:
        kind = "labelled" if "label" in found else "text"
        places = {name: found[name] for name in ("text", "label") if name in found}
    else:
        raise _no_kind(source, names, found)
    ignored = [name for index, name in enumerate(names) if index not in places.values()]
    if ignored:
        logger.info("%s: columns ignored: %s", source, ", ".join(ignored))
    return kind, places


def _no_kind(source: str, names: list[str], found: dict[str, int]) -> InputError:
    for pair in (("anchor", "positive"), ("sentence1", "sentence2")):
        have = [name for name in pair if name in found]
        if have:
            lack = next(name for name in pair if name not in found)
            return InputError(
                f"{source}: has a column {have[0]} but none for {lack} (it has "
                f"{', '.join(names)}); add it, or name a lone column text"
            )
    return InputError(
        f"{source}: no columns to learn from among {', '.join(names)}; known are {_KNOWN}; "
        f"rename them or map them with columns= (--column)"
    )


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
