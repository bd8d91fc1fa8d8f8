"""One run on one output: another is refused, and a run that dies lets go of its lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from simcse_kit.errors import InputError

_NAME = ".lock"


@contextmanager
def alone(folder: Path, part: tuple[int, int] | None = None) -> Iterator[None]:
    """Hold the folder for this run; InputError where another has it.

    Args:
        part: (i, n) of a run that makes only these shards: others of its kind may run beside it,
            but for the same i.
    """
    with ExitStack() as held:
        main = held.enter_context((folder / _NAME).open("a"))
        if not _taken(main, shared=part is not None):
            raise _busy(folder, "another run writes there")
        if part is not None:
            own = held.enter_context((folder / f"{_NAME}.{part[0]}-{part[1]}").open("a"))
            if not _taken(own, shared=False):
                raise _busy(folder, f"another run makes part {part[0]}/{part[1]} there")
        yield


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Wait until no other run is in such a block."""
    with (folder / f"{_NAME}.finish").open("a") as file:
        _taken(file, shared=False, waits=True)
        yield


def was_held(folder: Path) -> bool:
    """Whether a run ever held the folder: what it made there is ours."""
    return (folder / _NAME).is_file()


def lock_files(folder: Path) -> set[Path]:
    """What runs that held a folder left there, though they are done."""
    return {*folder.glob(f"{_NAME}*")}


def _busy(folder: Path, why: str) -> InputError:
    return InputError(f"{folder}: {why}; wait until it is done, or give another output")


def _taken(file: IO[str], *, shared: bool, waits: bool = False) -> bool:
    """Whether the lock is ours now; on a system or a disk without locks it always is."""
    try:
        import fcntl

        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, how if waits else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True
