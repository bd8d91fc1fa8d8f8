"""One process at a time makes what several want; the others wait and find it."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_TRIES = 1_000  # to make the lock's file where others take its folder away


@contextmanager
def alone(folder: Path, *, waits: bool = True) -> Iterator[Path]:
    """Hold the lock of a folder that is to be made, and say where to build it.

    The lock is a file beside the folder, which is removed at the end; the system frees it when
    this process dies, and who is next finds what was being built. On a system or a disk without
    locks each builds apart. Raises OSError where the file cannot be made; without `waits`
    BlockingIOError where another has the lock.
    """
    place = folder.with_name(f".{folder.name}.lock")
    file, held = _taken(place, waits)
    own = "" if held else f".{os.getpid()}-{secrets.token_hex(4)}"  # pids repeat on other machines
    try:
        yield folder.with_name(f".{folder.name}{own}.building")
    finally:
        with suppress(OSError):
            place.unlink()
        os.close(file)


def _taken(place: Path, waits: bool) -> tuple[int, bool]:
    """The lock's file, open, and whether it is ours alone; waits until it is."""
    tries = 0
    while True:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # who held it took the folder away in between
            if (tries := tries + 1) == _TRIES:
                raise
            continue
        try:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    raise
                made = place.name.removeprefix(".").removesuffix(".lock")
                logger.info("%s is being made by another process: waits for it", made)
                fcntl.flock(file, fcntl.LOCK_EX)
            own, there = os.fstat(file), place.stat()
            if (own.st_ino, own.st_dev) == (there.st_ino, there.st_dev):
                return file, True
        except FileNotFoundError:  # who held it removed it
            pass
        except BlockingIOError:
            os.close(file)
            raise
        except (ImportError, OSError):  # a system, or a disk, without locks
            return file, False
        except BaseException:
            os.close(file)
            raise
        os.close(file)
