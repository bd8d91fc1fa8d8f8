"""Python's collector of garbage, which would take a third of a short command's time.

To start is to import. What torch and transformers make then stays, and the collector goes through
all of it again and again while it comes, and twice more when the process ends. So it comes seldom
until a command has its model, as usual from then on, and at the end it finds nothing to do.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: Objects made (over those let go) between two collections, and how many of these between two of
#: what is older, and of what is older still. Python's own are 700 (2,000 since 3.13), 10 and 10.
_SELDOM = (200_000, 20, 100)

_usual: tuple[int, int, int] | None = None


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Around all of a process's work, for there is no more collecting after it."""
    global _usual
    _usual = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        collect_as_usual()
        gc.freeze()  # whoever must end cleanly (files, folders, processes) has `with` or atexit


def collect_as_usual() -> None:
    """A command has started: what it makes now may be much, and is collected as always."""
    global _usual
    if _usual is not None:
        gc.set_threshold(*_usual)
        _usual = None
