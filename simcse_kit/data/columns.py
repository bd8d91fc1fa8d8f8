"""What the columns of a table mean: by their names, by a mapping, or by their order.

The columns decide what the rows are for:

====================================  ===========  ===============================================
columns                               kind         also called
====================================  ===========  ===============================================
text[, document]                      "text"       sentence
anchor, positive[, negative…]         "pairs"      sent0, sent1, hard_neg; negative_2, negative_3…
text, label                           "labelled"
sentence1, sentence2, score           "scored"     without score: "pairs"
====================================  ===========  ===============================================

Names are matched without regard to case, blanks, ``_`` and ``-``. Other columns are ignored, with a
log line, but where their name is close to one of these and would change what is learnt. A table
without a header is read by position: one column is text; two are anchor and positive; three are a
scored pair if the third holds numbers, else anchor, positive and negative; more are more negatives.
What is in doubt is asked about: whether there is a header (`header`), names that are not ours, a
score in place of a text, pairs with a label that may call them different.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from simcse_kit.data.advice import PAIRS, caution, likely, makes_rows, ways
from simcse_kit.data.column_names import (
    DOCUMENT,
    ID,
    KNOWN,
    MEANINGS,
    TITLE,
    beside_text,
    close,
    guess,
    map_them,
    negative,
)
from simcse_kit.data.column_names import ours as meant_by
from simcse_kit.data.header import by_position, check_plain, settle_header
from simcse_kit.data.readers import Table
from simcse_kit.errors import InputError

Kind = Literal["text", "pairs", "labelled", "scored"]

# What an unused column may be, by the kind of the rows, that would change what they teach.
_WOULD_CHANGE: dict[Kind, tuple[str, ...]] = {
    "text": ("label", "positive", "negative"),
    "pairs": ("positive", "negative", "label", "score"),
    "labelled": (),
    "scored": (),
}

logger = logging.getLogger(__name__)


def meaning(
    table: Table,
    columns: Mapping[str, str] | None,
    header: bool | None,
    wanted: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> tuple[Kind, dict[str, int]]:
    """The kind of a table's rows, and the place of each column it needs, by our names in order.

    A header that was found in the first row is taken out of the rows.

    Args:
        wanted: our names of the columns that there must be; by default what makes rows of any
            kind.
        beside: our names of columns that are taken too where there are such; with ``title`` among
            them, `columns` may say which that is.

    Raises:
        InputError: the columns make no kind of row, or not the wanted; or what they are is in
            doubt.
    """
    check_plain(table, header)
    if table.names is None:
        settle_header(table, columns, header, wanted)
    if table.names is None:
        found = by_position(table, wanted)
        if ignored := [str(place + 1) for place in range(len(found), table.width)]:
            logger.warning(
                "%s: column 1 is taken as %s, columns ignored: %s",
                *(table.source, *found, ", ".join(ignored)),
            )
    else:
        found = _found(table, columns, wanted, titled=TITLE in beside)
    if ID not in beside:
        found.pop(ID, None)
    if not wanted:
        if columns is None or not makes_rows(columns):
            _ask_about_unused(table, found)
        return _told(table, *_kind(table, found))
    if lacking := [name for name in wanted if name not in found]:
        raise _lacking(table, found, lacking, wanted)
    taken = [*wanted, *(name for name in beside if name in found)]
    places = {name: found[name] for name in dict.fromkeys(taken)}
    if "label" in wanted:
        return "labelled", places  # asked for as such, it is no score
    return _told(table, *_kind(table, places))


def _found(
    table: Table, columns: Mapping[str, str] | None, wanted: Sequence[str], *, titled: bool
) -> dict[str, int]:
    if columns is None:
        return _by_name(table)
    if not titled or TITLE not in columns:
        return _by_mapping(table, columns, wanted)
    # a title goes before a text, which is found as without it
    others = {ours: theirs for ours, theirs in columns.items() if ours != TITLE}
    found = _by_mapping(table, others, wanted) if others else _by_name(table)
    return found | {TITLE: _place(table, TITLE, columns[TITLE], columns)}


def _by_name(table: Table) -> dict[str, int]:
    names = table.names or []
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        ours = meant_by(name) or beside_text(name)
        if ours in found and ours == ID:
            continue
        if ours in found:
            raise map_them(
                f"{table.source}: the columns '{names[found[ours]]}' and '{name}' both mean "
                f"{ours}; remove or rename one, or",
                {ours: names[found[ours]]},
            )
        if ours is not None:
            found[ours] = index
    if "text" not in found and not {"anchor", "positive"} <= found.keys():
        found.pop(DOCUMENT, None)
    return found


def _by_mapping(table: Table, columns: Mapping[str, str], wanted: Sequence[str]) -> dict[str, int]:
    names = table.names or []
    found: dict[str, int] = {}
    for ours, theirs in columns.items():
        if ours not in (meant_by(ours), beside_text(ours)):
            raise _unknown(table, ours, theirs)
        found[ours] = _place(table, ours, theirs, columns)
    # What they lack goes by its name, where the file has it.
    if any(name not in found for name in wanted) if wanted else not makes_rows(found):
        for index, name in enumerate(names):
            meant = meant_by(name)
            if meant is not None and meant not in found and index not in found.values():
                found[meant] = index
    for index, name in enumerate(names):  # which changes what no row means
        if beside_text(name) == ID and index not in found.values():
            found.setdefault(ID, index)
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
    raise map_them(f"{table.source}: has no column {has}{hint}", likely(table, [ours], free))


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


def _lacking(
    table: Table, found: Mapping[str, int], lacking: Sequence[str], wanted: Sequence[str]
) -> InputError:
    """The complaint about wanted columns that are not there, of a table with names."""
    names = table.names or []
    problem = f"{table.source}: has no column for {', '.join(lacking)} (it has {', '.join(names)});"
    free = [name for index, name in enumerate(names) if index not in found.values()]
    free = free or [names[index] for ours, index in found.items() if ours not in wanted]
    if not free:
        return InputError(f"{problem} all it has are taken: add what is lacking")
    return map_them(problem, likely(table, lacking, free))


def _kind(table: Table, found: dict[str, int]) -> tuple[Kind, dict[str, int]]:
    """The kind of rows that these columns make, and the columns it needs."""
    kind: Kind
    if "anchor" in found and "positive" in found:
        kind = "pairs"
        places = {"anchor": found["anchor"], "positive": found["positive"]}
        negatives = [name for name in found if name.startswith("negative")]
        negatives.sort(key=lambda name: int(name.partition("_")[2] or 1))
        for number, name in enumerate(negatives, 1):
            places[negative(number)] = found[name]
        places |= {DOCUMENT: found[DOCUMENT]} if DOCUMENT in found else {}
    elif "sentence1" in found and "sentence2" in found:
        kind = "scored" if "score" in found else "pairs"
        places = {"anchor": found["sentence1"], "positive": found["sentence2"]}
        if kind == "scored":
            places = {name: found[name] for name in ("sentence1", "sentence2", "score")}
    elif "text" in found:
        kind = "labelled" if "label" in found else "text"
        beside = ("label",) if kind == "labelled" else (DOCUMENT, ID, TITLE)
        places = {name: found[name] for name in ("text", *beside) if name in found}
    else:
        raise _no_kind(table, found)
    return kind, places


def _told(table: Table, kind: Kind, places: dict[str, int]) -> tuple[Kind, dict[str, int]]:
    """What was found, once the log says which columns are passed over."""
    names = table.names or []
    ignored = [name for index, name in enumerate(names) if index not in places.values()]
    if ignored:
        logger.info("%s: columns ignored: %s", table.source, ", ".join(ignored))
    for name in ignored if kind == "pairs" else ():
        if close(name) in ("label", "score"):
            logger.warning(
                "%s: %s is not read: pairs that it calls different are taken for positives too",
                *(table.source, name),
            )
    return kind, places


def _ask_about_unused(table: Table, found: dict[str, int]) -> None:
    """Raise InputError where a column would go unused that may say what the rows teach."""
    if not makes_rows(found):
        return
    names = table.names or []
    kind, places = _kind(table, found)
    used = {ours: names[place] for ours, place in places.items()} if names else {}
    for place, name in enumerate(names):
        meant = close(name)
        if place in places.values() or meant is None:
            continue
        if meant.partition("_")[0] not in _WOULD_CHANGE[kind]:
            continue
        if kind == "pairs" and meant in ("label", "score"):
            # Taken as positives, the pairs that it calls different would be pulled together.
            both = ("sentence1", "sentence2")
            scored = dict(zip(both, used.values(), strict=False)) | {"score": name}
            raise map_them(
                f"{table.source}: has a column {name} beside {' and '.join(used.values())}, which "
                "may be scores or classes; if it grades similarity, rename it to score, and if "
                "every pair is a positive, remove it, or",
                scored,
                used,
            )
        with_it = {"anchor": used["text"], "positive": name} if kind == "text" else {meant: name}
        with_it = {meant: name} if meant == "label" else with_it
        raise map_them(
            f"{table.source}: has a column {name}, which may be meant as {meant}, and which would "
            "go unused; to use it or to leave it out,",
            with_it,
            used,
        )


def _no_kind(table: Table, found: dict[str, int]) -> InputError:
    source, names = table.source, table.names or []
    free = [name for index, name in enumerate(names) if index not in found.values()]
    listed = ", ".join(names)
    for pair in PAIRS:
        have = [name for name in pair if name in found]
        if have:
            lack = next(name for name in pair if name not in found)
            problem = f"{source}: has a column {have[0]} but none for {lack} (it has {listed});"
            lone = {"text": names[found[have[0]]]}
            if not free:
                return map_them(f"{problem} add it, or, for texts alone,", lone)
            both = {have[0]: names[found[have[0]]]} | likely(table, [lack], free)
            return map_them(f"{problem} add it, or", both, lone)
    problem = f"{source}: no columns to learn from among {listed}; known are {KNOWN};"
    if not free:
        return InputError(f"{problem} a column of text must be there too")
    known = {name: names[index] for name, index in found.items()}  # a label or a score
    way = ways(table, [*free, *known.values()], ())
    if found and not makes_rows(way[0]):
        way = [likely(table, ["text"], free) | known]
    return map_them(f"{problem}{caution(names)} rename them, or", *way)
