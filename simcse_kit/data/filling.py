"""A folder that several may want to write into: one at a time, and a failure takes only its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simcse_kit.data.alone import alone

#: What stands in the folder meanwhile is called after it; no run is called so.
_ASIDE = "being-written"


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Hold a folder, made where there is none, and say where within it to build.

    Others that fill it wait. What was built and not moved goes at the end, with what a killed one
    left; so does the folder, where it was made for a block that failed and holds nothing of
    another. Raises OSError where nothing can be written there.
    """
    made = not folder.exists()
    try:
        with alone(folder / _ASIDE) as building:
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            try:
                yield building
            finally:
                shutil.rmtree(building, ignore_errors=True)
    except BaseException:
        if made:
            with suppress(OSError):  # another has it, or has put something there
                folder.rmdir()
        raise


def is_unfilled(folder: Path) -> bool:
    """Whether a folder holds nothing, but for what stands there while it is filled."""
    return all(each.name.startswith(f".{_ASIDE}.") for each in folder.iterdir())


def move_into(folder: Path, built: Path) -> None:
    """Move files that were built into a folder that is held, in place of those of their names.

    Into an unfilled one go all of them, or none.
    """
    taken_back = [folder / each.name for each in built.iterdir()] if is_unfilled(folder) else []
    try:
        for path in sorted(built.rglob("*")):
            target = folder / path.relative_to(built)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                os.replace(path, target)
    except BaseException:
        for path in taken_back:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise
