"""Files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simcse_kit.errors import InputError


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of `path`; what is written there is removed at the end."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to, moved onto `path` when the block succeeds.

    It may be read by whom the umask says, whatever the writer makes of it: safetensors writes files
    for their owner alone.
    """
    with beside(path) as aside:
        aside.touch()
        mode = aside.stat().st_mode
        yield aside
        aside.chmod(mode)
        os.replace(aside, path)


def check_can_write(path: Path) -> None:
    """Raise InputError unless a file can be made there; asked before the work, not after it."""
    folder = path.parent
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    if not folder.is_dir():
        what = "is a file" if os.path.lexists(folder) else "does not exist"
        raise InputError(f"cannot write {path}: {folder} {what}; make the folder first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {path}: no permission to write in {folder}")


def check_can_make(folder: Path) -> None:
    """Raise InputError unless the folder is there or can be made."""
    nearest = next(
        place for place in [folder, *folder.absolute().parents] if os.path.lexists(place)
    )
    if not nearest.is_dir():
        raise InputError(f"cannot make the folder {folder}: {nearest} is a file")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"cannot make the folder {folder}: no permission to write in {nearest}")
