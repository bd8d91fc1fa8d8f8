"""Rows of text with known columns, from files or hub datasets.

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
negative; more are more negatives.

Cells lose white space at both ends. In "text" rows an empty one is skipped and counted, like a
blank line; anywhere else an empty cell is an error, for dropping a row in silence would hide it.
Formats, encodings and quoting: `readers`.
"""

from __future__ import annotations

import difflib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.readers import (
    MISSING,
    SUFFIXES,
    Table,
    data_suffix,
    is_saved_dataset,
    read_hub_dataset,
    read_saved_dataset,
    read_table,
)

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
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_NAME = re.compile(r"[^\W\d][\w.-]*( [\w.-]+){0,2}")  # what could be a column's name
_KNOWN = "text; text,label; anchor,positive[,negative…]; sentence1,sentence2[,score]"
_SAMPLE = 1000  # rows that show whether a column holds numbers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """N rows of one kind; every column has N texts."""

    kind: Kind
    columns: dict[str, list[str]]  # text | anchor, positive[, negative, negative_2…] | sentence1, 2
    labels: list[str] | None  # "labelled" only
    scores: np.ndarray | None  # "scored" only: float64 (N,)
    source: str  # the file or dataset, for messages and model cards
    duplicates: int  # rows equal to an earlier row: kept, counted
    blank: int  # blank lines and empty texts: skipped, counted

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def texts(self) -> list[str]:
        """Every column end to end: text ``i`` of column ``c`` is item ``c * N + i``."""
        return [text for column in self.columns.values() for text in column]


def read_rows(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    header: bool | None = None,
    split: str = "train",
    revision: str | None = None,
) -> Rows:
    """Read rows from a file, a folder saved by ``datasets``, or a dataset on the hub.

    Args:
        source: a path ending in ``.txt .csv .tsv .jsonl .parquet``, each also ``.gz``; or
            ``owner/name`` or ``owner/name:config`` on the Hugging Face hub.
        columns: our names to the file's, ``{"anchor": "title", "positive": "abstract"}``; then
            only these are read.
        header: whether the first row of a ``.csv`` or ``.tsv`` holds names. None: it does if it
            names a column we know, and is refused if it looks like other names.
        split: for hub datasets and saved ones.
        revision: branch, tag or commit of a hub dataset.

    Raises:
        InputError: the source cannot be found or read, its columns make no kind of row, or a row
            is malformed; the message names file and line (or row).
    """
    table = _table(source, split, revision)
    if table.names is None:
        _settle_header(table, columns, header)
    if table.names is None:
        kind, places = _by_position(table)
    elif columns is not None:
        kind, places = _by_mapping(table, columns)
    else:
        kind, places = _by_name(table)
    return _rows(table, kind, places)


# ---- where the rows come from -------------------------------------------------------------------


def _table(source: str | Path, split: str, revision: str | None) -> Table:
    path = Path(source).expanduser()
    if path.is_dir():
        if is_saved_dataset(path):
            return read_saved_dataset(path, split)
        files = sorted(p.name for p in path.iterdir() if data_suffix(p) in SUFFIXES)
        hint = f"for instance {path / files[0]}" if files else f"ending in {', '.join(SUFFIXES)}"
        raise InputError(f"{source}: is a folder; give a file, {hint}")
    if path.exists():
        table = read_table(path)
    elif _HUB_NAME.fullmatch(str(source)) and data_suffix(path) not in SUFFIXES:
        return read_hub_dataset(str(source), split, revision)
    else:
        raise _no_such_file(path)
    if not table.width:
        raise _no_rows(table.source, table.blank)
    return table


def _no_rows(source: str, blank: int) -> InputError:
    lines = f"only {blank} blank line{'s' if blank > 1 else ''}"
    found = lines if blank else "it is empty or a header alone"
    return InputError(f"{source}: holds no rows, {found}; give it at least one")


def _no_such_file(path: Path) -> InputError:
    if not path.parent.is_dir():
        return InputError(f"{path}: no such file; the folder {path.parent} does not exist")
    names = [p.name for p in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    hint = f"; did you mean {path.parent / near[0]}?" if near else "; check the path"
    return InputError(f"{path}: no such file{hint}")


# ---- what the columns mean ----------------------------------------------------------------------


def _meaning(name: str) -> str | None:
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
    if header or columns is not None or any(map(_meaning, first)):
        table.take_header()
    elif _looks_like_names(table, first):
        raise InputError(
            f"{table.where(0)}: looks like a header but names no column that is known "
            f"({', '.join(first)}); known are {_KNOWN}; rename them, map them with columns=, or "
            f"pass header=False if this line is data"
        )


def _looks_like_names(table: Table, first: list[str]) -> bool:
    """Names over numbers, or single words over cells that mostly are not."""
    if not all(_NAME.fullmatch(cell) for cell in first):
        return False
    later = [table.cells(index)[1:_SAMPLE] for index in range(table.width)]
    if any(_numbers(cells) for cells in later):
        return not any(map(_is_number, first))
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
        ours = _meaning(name)
        if ours in found:
            raise InputError(
                f"{table.source}: the columns '{names[found[ours]]}' and '{name}' both mean "
                f"{ours}; remove or rename one, or choose with columns="
            )
        if ours is not None:
            found[ours] = index
    return _kind(table.source, names, found)


def _by_mapping(table: Table, columns: Mapping[str, str]) -> tuple[Kind, dict[str, int]]:
    names = table.names or []
    found: dict[str, int] = {}
    for ours, theirs in columns.items():
        if _meaning(ours) != ours:
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
        f"rename them or map them with columns="
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


# ---- cells to rows ------------------------------------------------------------------------------


def _rows(table: Table, kind: Kind, places: dict[str, int]) -> Rows:
    texts = {name: place for name, place in places.items() if name not in ("label", "score")}
    columns = {name: _texts(table, name, place, kind) for name, place in texts.items()}
    labels = _labels(table, places["label"]) if "label" in places else None
    scores = _scores(table, places["score"]) if "score" in places else None
    read = len(next(iter(columns.values())))
    blank = table.blank
    if kind == "text":
        columns = {"text": [text for text in columns["text"] if text]}
        blank += read - len(columns["text"])
    parts: list[Sequence[Any]] = list(columns.values())
    parts += [labels] if labels is not None else []
    parts += [scores.tolist()] if scores is not None else []
    # hashes of rows, not rows: a million tuples would cost more memory than the answer is worth
    distinct = (
        len(set(map(hash, zip(*parts, strict=True)))) if len(parts) > 1 else len(set(parts[0]))
    )
    rows = Rows(kind, columns, labels, scores, table.source, len(parts[0]) - distinct, blank)
    if not len(rows):
        raise _no_rows(table.source, blank)
    logger.info(
        "%s: %d rows (%s), %d equal to an earlier one, %d blank skipped",
        *(table.source, len(rows), ", ".join(places), rows.duplicates, rows.blank),
    )
    return rows


def _texts(table: Table, name: str, place: int, kind: Kind) -> list[str]:
    """The cells of a text column, stripped; empty ones only where the rows are plain text."""
    cells = table.cells(place)
    if kind == "text":
        cells = ["" if cell is None else cell for cell in cells]
    try:
        texts = list(map(str.strip, cells))
    except TypeError:  # some cell is no text
        texts = []
    if texts and (kind == "text" or all(texts)):
        return texts
    for row, cell in enumerate(cells):
        if not isinstance(cell, str) or not (cell.strip() or kind == "text"):
            raise _bad_cell(table, row, place, name, cell, "text")
    return texts


def _labels(table: Table, place: int) -> list[str]:
    labels: list[str] = []
    for row, cell in enumerate(table.cells(place)):
        good = isinstance(cell, (str, int)) or (isinstance(cell, float) and math.isfinite(cell))
        label = str(cell).strip() if good else ""
        if not label:
            raise _bad_cell(table, row, place, "label", cell, "a label, as text or a number")
        labels.append(label)
    return labels


def _scores(table: Table, place: int) -> np.ndarray:
    cells = table.cells(place)
    scores = np.empty(len(cells))
    for row, cell in enumerate(cells):
        if not _is_number(cell):
            wanted = "a finite number; correct it or remove the row"
            raise _bad_cell(table, row, place, "score", cell, wanted)
        scores[row] = float(cell)
    return scores


def _bad_cell(
    table: Table, row: int, place: int, name: str, cell: object, wanted: str
) -> InputError:
    theirs = table.names[place] if table.names else f"column {place + 1}"
    called = name if theirs.lower() == name else f"{name} ({theirs})"
    if cell is MISSING:
        return InputError(f"{table.where(row)}: has no key '{theirs}', which other lines have")
    if cell is None or not str(cell).strip():
        return InputError(f"{table.where(row)}: {called} is empty; it must hold {wanted}")
    return InputError(f"{table.where(row)}: {called} is {cell!r:.60}; it must hold {wanted}")


def _is_number(cell: object) -> bool:
    """Whether a cell holds a finite number, itself or in writing."""
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float)):
        return False
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _numbers(cells: Sequence[object]) -> bool:
    """Whether most of the cells are numbers: one bad score makes no text of a score column."""
    return bool(cells) and sum(map(_is_number, cells)) > len(cells) / 2
