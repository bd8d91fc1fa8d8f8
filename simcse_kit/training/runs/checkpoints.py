"""Checkpoints that are either whole or not there, and known to be what was written.

The Trainer writes the files of a checkpoint one by one. They are written aside, listed with their
sizes and hashes, and become visible together, by one renaming. What is cut off on the way, or
damaged later, is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simcse_kit.data import disk_errors
from simcse_kit.training.distributed import is_main, wait_for_all

MANIFEST = "checkpoint.json"
_PREFIX = "checkpoint-"
_ASIDE = ".checkpoint-aside"


@contextmanager
def checkpoint_aside(folder: Path, step: int, limit: int | None) -> Iterator[Path]:
    """A folder to write ``checkpoint-<step>`` into; it moves into `folder` when the block succeeds.

    Every rank calls this; all wait until it stands there. Of the older ones those beyond `limit`
    are removed then, and not before.

    Args:
        limit: how many are kept; None: all.

    Raises:
        InputError: the disk is full; the older checkpoints stand as they were.
    """
    aside, name = folder / _ASIDE, f"{_PREFIX}{step}"
    if is_main():
        clear_aside(folder)
    wait_for_all()
    try:
        with disk_errors(folder / name):
            yield aside
            wait_for_all()  # each rank writes its own random state
            if is_main():
                _list_files(aside / name, step)
                _install(aside / name, folder / name)
                _rotate(folder, step, limit)
    finally:
        if is_main():
            shutil.rmtree(aside, ignore_errors=True)
    wait_for_all()


def clear_aside(folder: Path) -> None:
    """Remove what a kill left of a checkpoint that was being written."""
    shutil.rmtree(folder / _ASIDE, ignore_errors=True)


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The latest checkpoint that is whole, and the later ones, each with what is wrong with it."""
    passed: list[str] = []
    for checkpoint in sorted(_checkpoints(folder), key=step_of, reverse=True):
        wrong = _damage(checkpoint)
        if wrong is None:
            return checkpoint, passed
        passed.append(f"{checkpoint.name} ({wrong})")
    return None, passed


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was saved at, by its name."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _checkpoints(folder: Path) -> list[Path]:
    found = folder.glob(f"{_PREFIX}*")  # a user may have a "checkpoint-4-copy" there
    return [path for path in found if path.name.removeprefix(_PREFIX).isdecimal()]


def _list_files(checkpoint: Path, step: int) -> None:
    files = {
        path.relative_to(checkpoint).as_posix(): _told(path)
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file()
    }
    manifest = checkpoint / MANIFEST
    manifest.write_text(json.dumps({"step": step, "files": files}, indent=2), encoding="utf-8")
    mode = manifest.stat().st_mode  # as the umask has it; safetensors' is 0600
    for name in files:
        (checkpoint / name).chmod(mode)
    for path in [manifest, *(checkpoint / name for name in files), checkpoint]:
        _to_disk(path)  # or a power failure leaves the name without the content


def _told(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _install(made: Path, place: Path) -> None:
    if place.exists():  # a damaged one that was passed over, trained again
        os.rename(place, made.with_name("replaced"))
    os.rename(made, place)


def _rotate(folder: Path, step: int, limit: int | None) -> None:
    """Remove the oldest beyond `limit`; first of all those later than `step`, passed over."""
    in_order = sorted(_checkpoints(folder), key=lambda one: (step_of(one) <= step, step_of(one)))
    for old in in_order[: -limit if limit else 0]:
        gone = folder / _ASIDE / f"removed-{old.name}"
        os.rename(old, gone)  # visible whole, or not at all
        shutil.rmtree(gone, ignore_errors=True)


def _damage(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be taken up, or None."""
    try:
        files = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"]
        told = {str(name): (int(each["size"]), each["sha256"]) for name, each in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"without a {MANIFEST} that tells its files, as one cut off or of an older version"
    for name, (size, digest) in told.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} of {size:,} bytes"
        if _told(path)["sha256"] != digest:
            return f"{name} is not what was written"
    return None
