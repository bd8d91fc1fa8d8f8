"""Which columns may be meant, where a file does not say: for complaints, never to read by."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TypeGuard

from simcse_kit.data.column_names import guess
from simcse_kit.data.readers import Table

PAIRS = (("anchor", "positive"), ("sentence1", "sentence2"))
SAMPLE = 1000  # rows that show whether a column holds numbers


def makes_rows(ours: Collection[str]) -> bool:
    """Whether columns of these names make rows of some kind."""
    return "text" in ours or any(first in ours and second in ours for first, second in PAIRS)


def ways(table: Table, names: Sequence[str], wanted: Sequence[str]) -> list[dict[str, str]]:
    """How columns may be mapped: as wanted, else as their names say, else as texts or pairs."""
    if wanted:
        return [likely(table, wanted, names)]
    meant: dict[str, str] = {}
    for name in names:
        if ours := guess(name):
            meant.setdefault(ours, name)
    for pair in (*PAIRS, ("text",)):
        if all(ours in meant for ours in pair):
            beside = {"anchor": ("negative",), "sentence1": ("score",), "text": ("label",)}[pair[0]]
            return [{ours: meant[ours] for ours in (*pair, *beside) if ours in meant}]
    kinds: list[Sequence[str]] = [["text"], ["anchor", "positive"]]
    return [likely(table, kind, names) for kind in kinds if len(kind) <= len(names)]


def caution(names: Sequence[str]) -> str:
    """What to mind about columns that may be pairs: a label beside may call them different."""
    meant = {guess(name): name for name in reversed(names)}
    graded = "score" in meant and "sentence1" in meant
    judged = None if graded else meant.get("label") or meant.get("score")
    if judged is None or not any(meant.keys() >= set(pair) for pair in PAIRS):
        return ""
    return f" {judged} may call some of the pairs different, and those must go first;"


def likely(table: Table, lacking: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """The columns that may be meant, for as many of ours as there are names."""
    places = {name: place for place, name in enumerate(table.names or names)}
    numbers = {name: mostly_numbers(table.cells(places[name])[:SAMPLE]) for name in names}

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


def is_number(cell: object) -> TypeGuard[str | int | float]:
    """Whether a cell holds a finite number, itself or in writing."""
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float)):
        return False
    try:
        return math.isfinite(float(cell))
    except (ValueError, OverflowError):
        return False


def mostly_numbers(cells: Sequence[object]) -> bool:
    """Whether most of the cells are numbers: one bad score makes no text of a score column."""
    return bool(cells) and sum(map(is_number, cells)) > len(cells) / 2
