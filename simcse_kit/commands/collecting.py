"""Python's collector of garbage, which would take a third of a short command's time.

To start is to import. What torch and transformers make then stays, and the collector goes through
all of it again and again while it comes, and twice more when the process ends. So it rests while a
command imports, leaves what came by that alone from then on, and at the end finds nothing to do. It
rests until the command says that it begins its work, or until it would come for the first time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: Objects made (over those let go) until it comes: more than imports make, which is 700,000.
#: Python's own number is 700, since 3.13 it is 2,000.
_RESTING = 1_000_000

_usual: tuple[int, int, int] | None = None


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Around all of a process's work, for there is no more collecting after it."""
    global _usual
    _usual = gc.get_threshold()
    gc.set_threshold(_RESTING, *_usual[1:])
    gc.callbacks.append(_came)
    try:
        yield
    finally:
        collect_as_usual()
        gc.callbacks.remove(_came)
        gc.freeze()  # whoever must end cleanly (files, folders, processes) has `with` or atexit


def _came(phase: str, _: dict[str, int]) -> None:
    if phase == "stop":
        collect_as_usual()


def collect_as_usual() -> None:
    """A command has imported: what it makes from now on may be much, and is collected as always.

    What is there already is not looked at again; of it one object in seventy is garbage.
    """
    global _usual
    if _usual is not None:
        gc.freeze()
        gc.set_threshold(*_usual)
        _usual = None
