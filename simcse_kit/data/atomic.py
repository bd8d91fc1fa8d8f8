"""Files that are either whole or not there, and a full disk said in one sentence."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simcse_kit.errors import FULL, NO_ROOM, InputError, no_room


def leftovers(folder: Path) -> list[Path]:
    """What a kill left in a folder of files that were being written (`beside`)."""
    return [*folder.glob(".*.part")]


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of `path`; what is written there is removed at the end."""
    # containers have equal process ids, and maybe one host name
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield aside
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to, moved onto `path` when the block succeeds.

    It may be read by whom the umask says, whatever the writer makes of it: safetensors writes files
    for their owner alone. A link stays, and what it leads to is replaced; a device or a pipe is
    written to as it is. Raises InputError where the disk is full; what was there stays.
    """
    if path.exists() and not path.is_file():
        with disk_errors(path):
            yield path
        return
    path = path.resolve()
    with disk_errors(path), beside(path) as aside:
        aside.touch()
        mode = aside.stat().st_mode
        yield aside
        aside.chmod(mode)
        os.replace(aside, path)


def json_text(value: object) -> str:
    """JSON that people can read; ValueError for numbers that JSON has not."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: object) -> None:
    """Put a value on the disk as `json_text`, whole or not at all."""
    text = json_text(value)
    with replacing(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise InputError that names `path` where the disk has no room for what the block writes."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not no_room(error):
            raise
        raise InputError(f"cannot write {path}: {FULL}") from error


def take_room(path: Path, size: int) -> None:
    """Have the disk promise a file of `size` bytes, there or to come, before anything is computed.

    A file that is mapped gets its room only as it is filled, and a full disk kills the process
    then. Raises OSError where there is no room (`replacing` says it in a sentence).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:
        pass  # a system without promises
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
    finally:
        os.close(descriptor)


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
