"""A setting of the whole process that is another for a while, however many threads want that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedSetting(Generic[T]):
    """What is set while anybody is within, and put back by the last one out.

    A thread that kept and put back by itself would put back what another had set meanwhile.

    Args:
        read, write: get the setting, and change it.
    """

    def __init__(self, read: Callable[[], T], write: Callable[[T], object]) -> None:
        self._read, self._write = read, write
        self._lock = threading.Lock()
        self._before: list[T] = []  # the same of each who is within: what the program had chosen

    @contextmanager
    def held(self, value: T) -> Iterator[None]:
        """Have it so."""
        with self._lock:
            self._before.append(self._before[0] if self._before else self._read())
            self._write(value)
        try:
            yield
        finally:
            with self._lock:
                before = self._before.pop()
                if not self._before:
                    self._write(before)
