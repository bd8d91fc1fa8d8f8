"""What tasks from files are called: their stems, or as much of the path as tells them apart.

A task's name says what was checked: no file is called as a task of the suite is, whose pairs are
counted and beside whose figures published ones stand, or as a column of the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from simcse_kit.errors import InputError

#: Columns of the tables beside those of tasks.
AVERAGE_COLUMN, GEOMETRY_COLUMNS = "Avg.", ("Align.", "Uniform.")
_COLUMNS = ("average", AVERAGE_COLUMN, *GEOMETRY_COLUMNS)
_TASKS = (*(f"STS{year}" for year in range(12, 17)), "STSB", "STSB-dev", "STSB-train",
          "SICKR", "SICKR-MTEB")  # fmt: skip
_TAKEN = frozenset(name.casefold() for name in (*_TASKS, *_COLUMNS))


def task_name(path: Path | str) -> str:
    """The file's name without its endings, or with them where that is another thing's name."""
    name = Path(path).name
    stem = name.removesuffix(".gz").rsplit(".", 1)[0]
    if stem.casefold() not in _TAKEN:
        return stem
    return name if name.casefold() not in _TAKEN else f"{name} (file)"


def file_names(paths: Sequence[Path | str]) -> list[str]:
    """What to call each of several files: "en/test" and "de/test", "pairs.csv" and "pairs.tsv".

    Raises InputError where two are one file.
    """
    places = [Path(path).expanduser().resolve() for path in paths]
    names = [task_name(path) for path in paths]
    for number, place in enumerate(places):
        first = places.index(place)
        if first < number:
            raise InputError(
                f"{paths[first]} and {paths[number]} have one name, for they are one file: name"
                " each once."
            )
    for name in sorted({name for name in names if names.count(name) > 1}):
        alike = [number for number, other in enumerate(names) if other == name]
        for number, longer in zip(alike, _told_apart([places[n] for n in alike]), strict=True):
            names[number] = longer
    return names


def _told_apart(places: Sequence[Path]) -> list[str]:
    """The shortest ends of different paths that all differ, without the files' endings if so."""
    endings: tuple[Callable[[Path], str], ...] = (task_name, lambda place: place.name)
    for last in endings:
        for above in range(max(len(place.parts) for place in places)):
            ends = ["/".join((*place.parts[:-1][-above:], last(place))) if above else last(place)
                    for place in places]  # fmt: skip
            if len(set(ends)) == len(ends):
                return ends
    return [str(place) for place in places]
