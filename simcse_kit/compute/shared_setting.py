"""A setting of the whole process that is another for a while, however many threads want that."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedSetting(Generic[T]):
    """What is set while anybody is within, and put back by the last one out.

    A thread that kept and put back by itself would put back what another had set meanwhile. Who
    came last has it as he wants; once he is out, it is as the last one wants who is still within.

    Args:
        read, write: get the setting, and change it.
    """

    def __init__(self, read: Callable[[], T], write: Callable[[T], object]) -> None:
        self._read, self._write = read, write
        self._lock = threading.Lock()
        self._before: list[T] = []  # what the program had chosen; empty while nobody is within
        self._within: dict[object, T] = {}  # what each wants, in the order in which they came

    @property
    def chosen(self) -> T:
        """What the program has chosen, whoever is within."""
        with self._lock:
            return self._before[0] if self._before else self._read()

    @contextmanager
    def held(self, value: T) -> Iterator[None]:
        """Have it so."""
        me = object()
        with self._lock:
            if not self._within:
                self._before = [self._read()]
            self._within[me] = value
            self._write(value)
        try:
            yield
        finally:
            with self._lock:
                del self._within[me]
                self._write([*self._before, *self._within.values()][-1])
                if not self._within:
                    self._before = []


_levels: dict[str, SharedSetting[int]] = {}


def logger_level(name: str) -> SharedSetting[int]:
    """The level of a logger: one setting a logger, whoever quietens it."""
    logger = logging.getLogger(name)
    # setdefault is one step of the interpreter's: two threads have the same
    return _levels.setdefault(name, SharedSetting(lambda: logger.level, logger.setLevel))
