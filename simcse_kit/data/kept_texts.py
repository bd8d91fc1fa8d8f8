"""Texts that stay on disk: columns of rows as sequences, read block by block or one by one.

A column is two files, the texts' bytes end to end and where each begins, as `TokenStore` keeps
tokens. What is asked for is read, not mapped, so that memory does not fill with what was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np

_BLOCK = 8192  # texts read at a time by who goes through all

#: What texts are as bytes: half a character that a JSON escape may hold is kept as it is.
ENCODING, ERRORS = "utf-8", "surrogatepass"


class KeptTexts(Sequence[str]):
    """N texts of a column, in ``NAME.texts`` and ``NAME.offsets`` (int64, N + 1) of a folder."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self._paths = [folder / f"{name}.{part}" for part in ("texts", "offsets")]
        self._count = count
        self._files: list[int] = []

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """A text, or the list of several."""
        if isinstance(index, slice):
            start, end, step = index.indices(len(self))
            if step != 1:
                return [self[place] for place in range(start, end, step)]
            return self._read(start, end) if start < end else []
        place = int(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"text {place} of {len(self)}")
        place %= len(self)
        return self._read(place, place + 1)[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    def __contains__(self, text: object) -> bool:
        if text == "":
            return not self.filled().all()
        return any(each == text for each in self)

    def filled(self) -> np.ndarray:
        """Which texts are not empty, bool ``(N,)``; none is read for it."""
        found = np.empty(len(self), dtype=bool)
        for start in range(0, len(self), _BLOCK):
            end = min(start + _BLOCK, len(self))
            found[start:end] = np.diff(self._offsets(start, end)) > 0
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": []}

    def __del__(self) -> None:
        for file in self._files:
            os.close(file)

    def _offsets(self, start: int, end: int) -> np.ndarray:
        return np.frombuffer(self._bytes(1, 8 * start, 8 * (end + 1)), np.int64)

    def _read(self, start: int, end: int) -> list[str]:
        offsets = self._offsets(start, end)
        data = self._bytes(0, int(offsets[0]), int(offsets[-1]))
        places = (offsets - offsets[0]).tolist()
        return [data[one:other].decode(ENCODING, ERRORS) for one, other in pairwise(places)]

    def _bytes(self, which: int, start: int, end: int) -> bytes:
        if not self._files:  # of this process: another opens its own
            self._files = [os.open(path, os.O_RDONLY | _BINARY) for path in self._paths]
        found = _read_at(self._files[which], end - start, start)
        if len(found) != end - start:
            raise EOFError(f"{self._paths[which]} is shorter than it was")
        return found


_BINARY = getattr(os, "O_BINARY", 0)


def _read_at(file: int, size: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        found = os.pread(file, size, start)
        while len(found) < size and (more := os.pread(file, size - len(found), start + len(found))):
            found += more  # at most 2 GiB come at once
        return found
    os.lseek(file, start, os.SEEK_SET)  # Windows: one thread at a time
    return os.read(file, size)


class JoinedTexts(Sequence[str]):
    """Columns end to end: text ``i`` of column ``c`` is item ``c · N + i``.

    Args:
        columns: of N texts each.
        identity: equal for equal texts in equal order.
        before: what is put before each text of a column that is not empty.
    """

    def __init__(
        self, columns: Sequence[KeptTexts], identity: str, before: Sequence[str] = ()
    ) -> None:
        self._columns = columns
        self._before = [*before] or [""] * len(columns)
        told = repr([identity, *self._before]).encode(ENCODING, ERRORS)
        self.identity = hashlib.sha256(told).hexdigest()[:32] if any(self._before) else identity

    def __len__(self) -> int:
        return sum(map(len, self._columns))

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """A text, or the list of several."""
        if not isinstance(index, slice):
            column, place = self._place(int(index))
            return self._behind(column, [self._columns[column][place]])[0]
        start, end, step = index.indices(len(self))
        if step != 1:
            return [self[place] for place in range(start, end, step)]
        found: list[str] = []
        while start < end:
            column, place = self._place(start)
            some = self._columns[column][place : place + end - start]
            found += self._behind(column, some)
            start += len(some)
        return found

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    def behind(self, *before: str) -> JoinedTexts:
        """The same texts, each with what is put before those of its column."""
        return JoinedTexts(self._columns, self.identity, before)

    def filled(self) -> np.ndarray:
        """Which texts are not empty, bool."""
        return np.concatenate([column.filled() for column in self._columns])

    def _place(self, index: int) -> tuple[int, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        return divmod(index % len(self), len(self._columns[0]))

    def _behind(self, column: int, texts: list[str]) -> list[str]:
        before = self._before[column]
        return [before + text if text else "" for text in texts] if before else texts


@dataclass(frozen=True)
class KeptColumns(Mapping[str, KeptTexts]):
    """The columns of rows that stay on disk, and what is known of them without reading them.

    Attributes:
        columns: by our names, in order.
        text_numbers: as `simcse_kit.data.links.text_numbers` gives them of all columns end to end.
        content: as `Rows.content`, of rows with these columns and what stands `beside` them.
        beside: their labels, scores and documents.
    """

    columns: Mapping[str, KeptTexts]
    text_numbers: np.ndarray
    content: str
    beside: tuple[object, ...] = ()

    def __getitem__(self, name: str) -> KeptTexts:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def joined(self) -> JoinedTexts:
        """All texts, column by column."""
        return JoinedTexts([*self.columns.values()], self.content)

    def knows(self, beside: Sequence[object]) -> bool:
        """Whether `content` is that of rows with these beside the columns."""
        known = zip(beside, self.beside, strict=False)
        return bool(self.content) and all(one is other for one, other in known)
