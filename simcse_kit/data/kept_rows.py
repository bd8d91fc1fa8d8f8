"""Rows of a file that no memory holds: read once, part by part, and kept on disk as columns.

What `read_rows` gives of the file is given, with texts that are read when they are asked for. The
second time the file itself is not read: its size and date, and how it is read, name the folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from tqdm import tqdm

from simcse_kit.data.alone import alone
from simcse_kit.data.atomic import disk_errors
from simcse_kit.data.home import at_home
from simcse_kit.data.lines import File, is_stream
from simcse_kit.data.remote import RemoteFile
from simcse_kit.data.row_folder import WrittenRows, open_rows
from simcse_kit.data.row_parts import OtherwiseBelow, parts_of
from simcse_kit.data.rows import (
    Reading,
    Rows,
    Source,
    check_reading,
    data_file,
    no_rows,
    read_rows,
)
from simcse_kit.data.stream import TextStream
from simcse_kit.errors import InputError

_LAYOUT = 1  # raise when what the files hold changes, or what is read of an input
#: Bytes of an input below which its rows are in memory sooner than on disk.
_LARGE = 16 << 20

logger = logging.getLogger(__name__)


def keep_rows(
    source: Source,
    cache_dir: Path | None,
    *,
    columns: Mapping[str, str] | None = None,
    split: str = "train",
    show_progress: bool = False,
    **reading: Unpack[Reading],
) -> Rows:
    """`read_rows`, with the rows of a large file kept on disk: memory does not grow with their
    texts, and they are there at once the next time.

    What is kept appears whole or not at all, under a name that the file's place, size and date and
    the other arguments make; who comes while another process reads waits for it. Small files, data
    sets on the hub or saved, and what a program or a stream holds are read into memory. So is a
    file once whose later rows show that the first ones do not tell what its columns mean.

    Args:
        source, columns, split, reading: as of `read_rows`; blank rows of plain text are skipped.
        cache_dir: where rows are kept; None: in memory.
        show_progress: a bar on stderr, when that is a terminal.

    Raises:
        InputError: as `read_rows` does, for a folder that cannot be written, and for a file that
            changes while it is read.
    """
    check_reading(reading)
    file = _large(source)
    if file is None or cache_dir is None:
        return read_rows(source, columns=columns, split=split, **reading)
    kept = _Kept(file, str(source), columns, reading, at_home(cache_dir))
    return kept.get(show_progress)


def _large(source: Source) -> File | None:
    """The file of a source that is worth keeping, and that tells when it has changed."""
    if not isinstance(source, str | os.PathLike):
        return None
    file = data_file(os.fspath(source))
    if isinstance(file, RemoteFile):
        state = file.state()
        return file if state["changed"] and (state["size"] or _LARGE) >= _LARGE else None
    if file is None or is_stream(file) or not file.is_file():
        return None
    return file if file.stat().st_size >= _LARGE else None


@dataclass(frozen=True)
class _Kept:
    """Rows of one file, read in one way."""

    file: File
    source: str
    columns: Mapping[str, str] | None
    reading: Reading
    cache_dir: Path

    def get(self, show_progress: bool) -> Rows:
        """The rows, read now or before."""
        state = self._state()
        folder = self.cache_dir / f"rows-{self._key(state)}"
        if (rows := self._found(folder)) is not None:
            return rows
        try:
            with disk_errors(folder), alone(folder) as building:
                if (rows := self._found(folder)) is None:  # by whom was waited for
                    self._make(folder, building, state, show_progress)
                    rows = replace(open_rows(folder)[0], source=str(self.file))
        except OSError as error:
            raise InputError(
                f"the rows of {self.file} cannot be kept in {self.cache_dir} "
                f"({error.strerror or error}); choose another cache_dir"
            ) from error
        return rows

    def _state(self) -> Any:
        return TextStream(self.source).states()

    def _key(self, state: Any) -> str:
        columns = None if self.columns is None else list(self.columns.items())
        header, form = self.reading.get("header"), self.reading.get("file_format")
        told = [_LAYOUT, state, columns, header, form, self.reading.get("skip_bad_rows", 0)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def _found(self, folder: Path) -> Rows | None:
        """The rows that a folder holds; None where it is missing or damaged."""
        if not folder.exists():
            return None
        try:
            rows, said = open_rows(folder)
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s is damaged: %s is read again", folder, self.file)
            return None
        for line in said:
            logger.warning("%s", line)
        logger.info(
            "%s: %d rows (%s), read before and reused from %s",
            *(self.file, len(rows), ", ".join(rows.columns), folder),
        )
        return replace(rows, source=str(self.file))

    def _make(self, folder: Path, building: Path, state: Any, show_progress: bool) -> None:
        try:
            with _warnings() as said:
                try:
                    self._read_parts(_emptied(building), said, show_progress)
                except OtherwiseBelow:
                    said.clear()
                    with WrittenRows(_emptied(building)) as written:
                        written.add_all(
                            read_rows(self.source, columns=self.columns, **self.reading)
                        )
                        written.finish(said)
            if self._state() != state:
                raise InputError(
                    f"{self.file}: changed while it was read; start again once nothing writes to it"
                )
            try:
                os.rename(building, folder)
            except OSError:  # a damaged one; or another's, who built apart on a disk without locks
                if self._found(folder) is None:
                    shutil.rmtree(folder, ignore_errors=True)
                    os.rename(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _read_parts(self, building: Path, said: list[str], show_progress: bool) -> None:
        shown = show_progress and sys.stderr.isatty()
        total = TextStream(self.source, **self.reading).count() if shown else None
        with (
            WrittenRows(building) as written,
            tqdm(total=total, desc="reading", unit=" rows", disable=not shown) as bar,
        ):
            for part in parts_of(self.file, self.columns, self.reading):
                written.add(part)
                bar.update(part.read)
            if not len(written):
                raise no_rows(str(self.file), written.blank)
            rows = written.finish(said)
        logger.info(
            "%s: %d rows (%s), %d equal to an earlier one, %d blank skipped",
            *(self.file, len(rows), ", ".join(rows.columns), rows.duplicates, rows.blank),
        )


def _emptied(folder: Path) -> Path:
    """A folder without what a process that was killed left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is warned of while data are read, to be said again when they are not."""
    said: list[str] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, data = Note(logging.WARNING), logging.getLogger("simcse_kit.data")
    data.addHandler(handler)
    try:
        yield said
    finally:
        data.removeHandler(handler)
