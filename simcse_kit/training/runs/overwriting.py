"""The run that ``--overwrite`` replaces: kept whole beside the new one until that has a model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

#: Where it is kept meanwhile, in the output folder; itself a run's folder, and a model.
REPLACED = "replaced-run"
_MOVING = ".moving"


def everything(path: Path) -> bool:
    """That all that is in the folder is the run's."""
    return True


def set_aside(folder: Path, own: Callable[[Path], bool] = everything) -> bool:
    """Move the run that is in the folder into `REPLACED`; whether there is one.

    What an overwriting run left there that never had a model is removed: the one it was to replace
    is kept still.

    Args:
        own: says of a path in the folder whether it is the run's.
    """
    put_back_moved(folder)
    moving, kept = folder / _MOVING, folder / REPLACED
    if kept.is_dir():
        _clear(folder, own)
        return True
    if not any(map(own, folder.iterdir())):
        return False
    moving.mkdir()
    _move(folder, moving, own)
    os.rename(moving, kept)  # all of it is there, or a kill cut the moving off: `put_back_moved`
    return True


def bring_back(folder: Path, own: Callable[[Path], bool] = everything) -> None:
    """The new run left nothing: the old one takes its place again."""
    kept = folder / REPLACED
    if not kept.is_dir():
        return
    _clear(folder, own)
    moving = folder / _MOVING
    os.rename(kept, moving)
    put_back_moved(folder)


def where_kept(folder: Path) -> Path | None:
    """Where the run lies that was to be replaced, or what a kill in its moving left of it."""
    return next((each for each in (folder / REPLACED, folder / _MOVING) if each.is_dir()), None)


def put_back_moved(folder: Path) -> None:
    """End a moving that a kill cut off."""
    moving = folder / _MOVING
    if moving.is_dir():
        _move(moving, folder, everything)
        moving.rmdir()


def drop(folder: Path) -> None:
    """The new run has a model: the old one goes."""
    shutil.rmtree(folder / REPLACED, ignore_errors=True)


def _move(source: Path, target: Path, own: Callable[[Path], bool]) -> None:
    for path in [*source.iterdir()]:
        if path != target and own(path):
            os.rename(path, target / path.name)


def _clear(folder: Path, own: Callable[[Path], bool]) -> None:
    """Remove the run that is in the folder; links themselves, not what they lead to."""
    for path in [*folder.iterdir()]:
        if path.name == REPLACED or not own(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
