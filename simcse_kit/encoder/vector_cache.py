"""Vectors kept on disk by what they depend on, within a bound: the least recently used go first.

One SQLite file, which several processes may use at a time. What it knows is keys and vectors: what
a key is made of is said by who asks (`simcse_kit.encoder.cached`).
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from simcse_kit.data import at_home
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

T = TypeVar("T")

CACHE_SIZE = 2 << 30
_LEAST = 1 << 20
_PAGE = (
    16_384  # bytes: holds ten vectors of 384 numbers, where four kilobytes would waste a quarter
)
_ASKED = 500  # keys in one question
_WRITTEN = 4096  # vectors in one transaction
_FRESH = 600  # seconds in which a use is not noted again
_GONE = 10  # a tenth goes at a time, when the bound is reached
_WAIT = 60.0  # seconds for another process that writes
_DAMAGED = {11, 26}  # malformed, not a database

_TABLES = """
CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, crc INTEGER, vector BLOB);
CREATE TABLE IF NOT EXISTS keys (key BLOB PRIMARY KEY, id INTEGER, used INTEGER) WITHOUT ROWID;
"""


class VectorCache:
    """Vectors float32 by keys of 16 bytes, in a folder of their own on a disk of this machine.

    It never stops the work it is there for: a file that is damaged is made anew, and a disk that is
    full, or cannot be read any more, means that nothing is found. Both are said in the log.
    """

    def __init__(self, folder: str | os.PathLike[str], size: int = CACHE_SIZE) -> None:
        """Open it, or make it.

        Args:
            size: bytes that its file may have.

        Raises:
            InputError: the folder cannot be made or written, or the size is under a megabyte.
        """
        self.folder = at_home(os.fspath(folder)).absolute()
        self.size = size
        if size < _LEAST:
            raise InputError(
                f"a cache of {size} bytes holds nothing worth it; give {_LEAST} or more",
                command_line=f"--cache-size: {size} bytes hold nothing worth it; give a megabyte "
                "or more",
            )
        self._is_off = False
        self._opened: tuple[int, int, sqlite3.Connection] | None = None
        self._lock = os.getpid(), threading.RLock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise InputError(
                f"{self.folder}: no cache can be kept there ({error.strerror}); give another folder"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=(os.getpid(), threading.RLock()))

    def get(self, keys: Sequence[bytes], out: np.ndarray) -> np.ndarray:
        """Fill rows of `out` ``(n, D)`` with the vectors of distinct keys; which were found."""
        return self._tried(lambda base: _get(base, keys, out), np.zeros(len(keys), bool))

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keep vectors ``(n, D)``, and let go of others where there are too many."""
        for start in range(0, len(keys), _WRITTEN):
            some = slice(start, start + _WRITTEN)
            self._tried(partial(_put, keys=keys[some], vectors=vectors[some]), None)
        self._tried(lambda base: _shrink(base, self.size), None)

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        with self._alone():
            if self._opened is not None and self._opened[0] == os.getpid():
                self._opened[2].close()
            self._opened = None

    def _alone(self) -> threading.RLock:
        """Held by one thread at a time, of which all have one connection; anew after a fork."""
        if self._lock[0] != os.getpid():
            self._lock = os.getpid(), threading.RLock()
        return self._lock[1]

    def _tried(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What the work gives; a damaged file is made anew first, once."""
        with self._alone():
            for is_last in (False, True):
                if self._is_off:
                    return otherwise
                try:
                    return work(self._base())
                except (sqlite3.Error, OSError) as error:
                    if _is_damage(error) and not is_last:
                        self._begin_anew()
                        continue
                    self._is_off = True
                    logger.warning("%s: the cache is not used (%s)", self.folder, error)
        return otherwise

    def _base(self) -> sqlite3.Connection:
        """This process's own connection; one from before a fork is left alone."""
        if self._opened is None or self._opened[0] != os.getpid():
            number = max(self._numbers(), default=0)
            self._opened = os.getpid(), number, _connected(self._file(number))
        return self._opened[2]

    def _begin_anew(self) -> None:
        """Leave a damaged file for one with the next number, under which others find it too.

        The same name could not be taken again: who has the old file open would remove the new one's
        log as he closes it.
        """
        numbers = self._numbers()
        mine = max(numbers, default=0) if self._opened is None else self._opened[1]
        self.close()
        logger.warning("%s is damaged: the cache begins anew", self._file(mine))
        if max(numbers, default=0) <= mine:
            self._file(mine + 1).touch()
        for end in ("", "-wal", "-shm"):
            Path(f"{self._file(mine)}{end}").unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        found = (
            re.fullmatch(r"vectors-(\d+)\.sqlite", path.name) for path in self.folder.iterdir()
        )
        return [int(each[1]) for each in found if each is not None]

    def _file(self, number: int) -> Path:
        return self.folder / f"vectors-{number}.sqlite"


def _is_damage(error: Exception) -> bool:
    """Whether the file is broken: other errors say nothing of it, and it stays."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in _DAMAGED or (code == 1 and "no such" in str(error))  # a table, a column


def _connected(file: Path) -> sqlite3.Connection:
    base = sqlite3.connect(file, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        base.execute(f"PRAGMA page_size = {_PAGE}")
        base.execute("PRAGMA auto_vacuum = INCREMENTAL")
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        base.execute(f"PRAGMA journal_size_limit = {_WRITTEN * _PAGE}")
        base.executescript(_TABLES)
    except sqlite3.Error:
        base.close()
        raise
    return base


def _get(base: sqlite3.Connection, keys: Sequence[bytes], out: np.ndarray) -> np.ndarray:
    found, now = np.zeros(len(keys), bool), int(time.time())
    old: list[tuple[int, bytes]] = []
    bad: list[bytes] = []
    for start in range(0, len(keys), _ASKED):
        some = keys[start : start + _ASKED]
        place = {key: start + number for number, key in enumerate(some)}
        rows = base.execute(
            "SELECT key, used, crc, vector FROM keys JOIN vectors USING (id) WHERE key IN "
            f"({','.join('?' * len(some))})",
            some,
        )
        for key, used, crc, vector in rows:
            if zlib.crc32(vector) != crc or len(vector) != 4 * out.shape[1]:
                bad.append(key)
                continue
            out[place[key]] = np.frombuffer(vector, np.float32)
            found[place[key]] = True
            if now - used > _FRESH:
                old.append((now, key))
    if bad:
        logger.warning("%d vectors of the cache are damaged, and computed again", len(bad))
        _forget(base, [(key,) for key in bad])
    if old:
        with base:
            base.execute("BEGIN IMMEDIATE")
            base.executemany("UPDATE keys SET used = ? WHERE key = ?", old)
    return found


def _put(base: sqlite3.Connection, keys: Sequence[bytes], vectors: np.ndarray) -> None:
    now = int(time.time())
    with base:
        base.execute("BEGIN IMMEDIATE")
        (last,) = base.execute("SELECT COALESCE(MAX(id), 0) FROM vectors").fetchone()
        rows = []
        for key, vector in zip(keys, vectors, strict=True):
            new = base.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", (key, last + 1, now))
            if new.rowcount:  # else another process was faster
                last, raw = last + 1, vector.astype(np.float32).tobytes()
                rows.append((last, zlib.crc32(raw), raw))
        base.executemany("INSERT INTO vectors VALUES (?, ?, ?)", rows)


def _shrink(base: sqlite3.Connection, size: int) -> None:
    """Let the least recently used go until the rest is no larger than `size` bytes."""

    def told(name: str) -> int:
        value: int = base.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    page = told("page_size")
    while (told("page_count") - told("freelist_count")) * page > size:
        (count,) = base.execute("SELECT COUNT(*) FROM keys").fetchone()
        if not count:
            break
        gone = "SELECT key FROM keys ORDER BY used, id LIMIT ?"
        _forget(base, base.execute(gone, (-(-count // _GONE),)).fetchall())
    if told("page_count") * page > size:
        base.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page


def _forget(base: sqlite3.Connection, keys: list[tuple[bytes]]) -> None:
    with base:
        base.execute("BEGIN IMMEDIATE")
        of = "(SELECT id FROM keys WHERE key = ?)"
        base.executemany(f"DELETE FROM vectors WHERE id = {of}", keys)
        base.executemany("DELETE FROM keys WHERE key = ?", keys)
