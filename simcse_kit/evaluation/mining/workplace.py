"""The folder beside the output in which a run keeps what it has finished."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np

from simcse_kit.data import disk_errors, replacing


def workplace_of(output: Path) -> Path:
    """``triplets.parquet.mining`` beside ``triplets.parquet``."""
    return output.with_name(f"{output.name}.mining")


class Workplace:
    """Finished work in files whose names hold a key of all that it depends on."""

    def __init__(self, output: Path) -> None:
        self.folder = workplace_of(output)
        with disk_errors(self.folder):
            self.folder.mkdir(exist_ok=True)

    def keep(self, keys: Collection[str]) -> None:
        """Remove what belongs to none of these keys: of other texts, models or settings."""
        for path in self.folder.iterdir():
            if not any(key in path.name for key in keys):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

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
        """Take the folder away: all that was in it is in the output."""
        shutil.rmtree(self.folder)
