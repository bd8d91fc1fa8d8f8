"""A matrix that is dear to compute, computed once: block by block, on disk, memory-mapped."""

from __future__ import annotations

import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.data.alone import alone
from simcse_kit.data.atomic import disk_errors, take_room
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

_NUMBERS, _META, _DONE = "numbers", "meta.json", "done"

#: Gives the rows from the first to before the second.
Rows = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class KeptMatrix:
    """Where a matrix is kept, and what it is.

    What is computed appears in the folder whole or not at all. A process that is killed leaves its
    blocks, from which the next goes on; one that comes while another computes waits for it. What
    does not read back as it was written is computed again.

    Attributes:
        folder: of this matrix alone, named by what its numbers depend on.
        shape: rows and columns.
        dtype: of its numbers.
        block: rows that are computed at a time.
    """

    folder: Path
    shape: tuple[int, int]
    dtype: Any
    block: int = 4096

    def get(self, rows: Rows) -> np.ndarray:
        """The matrix, read-only, from disk where it is there.

        Args:
            rows: computes a block, ``(end − start, columns)``; called for the blocks that are
                missing, in order.

        Raises:
            InputError: the folder cannot be written.
        """
        kept = self.found()
        if kept is not None:
            return kept
        folder = self.folder
        try:
            with disk_errors(folder), alone(folder) as building:
                kept = self.found()  # by whom was waited for
                if kept is None:
                    self._build(rows, building)
                    shutil.rmtree(folder, ignore_errors=True)  # a damaged one
                    os.rename(building, folder)
                    kept = self.found()
        except OSError as error:
            raise InputError(
                f"nothing can be kept in {folder.parent} ({error.strerror or error}); choose "
                "another cache_dir"
            ) from error
        if kept is None:
            raise InputError(f"{folder} does not read back as it was written; check the disk")
        return kept

    def found(self) -> np.ndarray | None:
        """The matrix where it is there and whole, else None."""
        folder = self.folder
        try:
            meta = json.loads((folder / _META).read_text())
            matrix = self._mapped(folder / _NUMBERS)
            whole = self._sums(matrix) == meta["crc32"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            logger.warning("%s is damaged: what it holds is computed again", folder)
            return None
        return matrix

    def _build(self, rows: Rows, building: Path) -> None:
        """Compute the blocks that are missing in the folder of what is being built."""
        building.mkdir(exist_ok=True)
        count, columns = self.shape
        path = building / _NUMBERS
        size = count * columns * np.dtype(self.dtype).itemsize
        if not path.exists() or path.stat().st_size != size:
            (building / _DONE).unlink(missing_ok=True)
            take_room(path, size)
            os.truncate(path, size)
        sums = self._done(building, self._mapped(path))
        if sums:
            logger.info("%s: goes on after %d rows", self.folder, len(sums) * self.block)
        (building / _DONE).write_text("".join(f"{each}\n" for each in sums))
        with path.open("r+b") as numbers, (building / _DONE).open("a") as done:
            numbers.seek(len(sums) * self.block * columns * np.dtype(self.dtype).itemsize)
            for start in range(len(sums) * self.block, count, self.block):
                end = min(start + self.block, count)
                block = np.ascontiguousarray(rows(start, end), dtype=self.dtype)
                if block.shape != (end - start, columns):
                    raise ValueError(f"a block of {block.shape}, not {(end - start, columns)}")
                numbers.write(block.data)
                numbers.flush()
                sums.append(zlib.crc32(block.data))
                done.write(f"{sums[-1]}\n")
                done.flush()
        (building / _META).write_text(json.dumps({"crc32": sums}))

    def _done(self, building: Path, matrix: np.ndarray) -> list[int]:
        """Check sums of the leading blocks that stand as they were computed."""
        try:
            told = [int(line) for line in (building / _DONE).read_text().split("\n")[:-1]]
        except (OSError, ValueError):
            return []
        found = self._sums(matrix[: len(told) * self.block])
        pairs = zip(told, found, strict=False)
        good = next((place for place, (one, other) in enumerate(pairs) if one != other), len(found))
        return found[:good]

    def _sums(self, matrix: np.ndarray) -> list[int]:
        starts = range(0, len(matrix), self.block)
        return [zlib.crc32(matrix[start : start + self.block].data) for start in starts]

    def _mapped(self, path: Path) -> np.ndarray:
        """A plain read-only array over the file; ValueError where it is too short."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        if path.stat().st_size != self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize:
            raise ValueError("of another size")
        return np.asarray(np.memmap(path, self.dtype, "r", shape=self.shape))
