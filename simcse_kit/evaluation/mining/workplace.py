"""The folder beside the output in which a run keeps what it has finished."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np

from simcse_kit.data import disk_errors, replacing
from simcse_kit.errors import InputError

#: What begins the names of a run's own files and folders, unfinished ones and locks too.
_OWN = re.compile(r"\.?(vectors|blocks|index)-[0-9a-f]{16}")


def workplace_of(output: Path) -> Path:
    """``triplets.parquet.mining`` beside ``triplets.parquet``."""
    return output.with_name(f"{output.name}.mining")


class Workplace:
    """Finished work in files whose names hold a key of all that it depends on."""

    def __init__(self, output: Path) -> None:
        self.folder = workplace_of(output)
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(
                f"{self.folder} is a file, and a folder of that name is to hold finished work; "
                "move it, or give another output"
            )
        with disk_errors(self.folder):
            self.folder.mkdir(exist_ok=True)

    def keep(self, keys: Collection[str]) -> None:
        """Remove what belongs to none of these keys: of other texts, models or settings."""
        for path in self._own():
            if not any(key in path.name for key in keys):
                _remove(path)

    def _own(self) -> list[Path]:
        """What runs have put here; whatever else there is belongs to someone else, and stays."""
        return [path for path in self.folder.iterdir() if _OWN.match(path.name)]

    def block(self, key: str, number: int) -> dict[str, np.ndarray] | None:
        """The arrays of a block that is finished, or None."""
        path = self._block(key, number)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def finish(self, key: str, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays of a block."""
        path = self._block(key, number)
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as aside, aside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def _block(self, key: str, number: int) -> Path:
        return self.folder / f"blocks-{key}" / f"{number:06}.npz"

    def remove(self) -> None:
        """Take finished work away, all of which is in the output, and the folder with it."""
        for path in self._own():
            _remove(path)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
