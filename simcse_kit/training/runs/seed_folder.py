"""The folder of one recipe trained with several seeds: ``seed-<n>/`` each, and ``seeds.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simcse_kit.data import write_json
from simcse_kit.errors import InputError

FILE = "seeds.json"


@dataclass
class SeedFolder:
    """What ``seeds.json`` holds.

    Attributes:
        folder: where it lies.
        settings: of the recipe, all seeds' the same but for ``seed``.
        runs: by seed, what its finished training left: ``steps``, ``best_step``, ``stopped``.
        summary: of the finished seeds on the dev set, or None.
    """

    folder: Path
    settings: dict[str, Any]
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] | None = None

    def of(self, seed: int) -> Path:
        """A seed's own folder, which loads as its model."""
        return self.folder / f"seed-{seed}"

    def write(self) -> None:
        """Put it on the disk, whole."""
        stored = {
            "settings": self.settings,
            "runs": {str(seed): run for seed, run in sorted(self.runs.items())},
            "summary": self.summary,
        }
        write_json(self.folder / FILE, stored)


def read_seed_folder(folder: Path) -> SeedFolder | None:
    """The seeds trained in a folder; None where it is no such folder.

    Raises InputError for a damaged ``seeds.json``.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        runs = {int(seed): dict(run) for seed, run in stored["runs"].items()}
        return SeedFolder(folder, dict(stored["settings"]), runs, stored["summary"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); train the seeds again with"
            " --overwrite"
        ) from error


def runs_of(model: str) -> list[str]:
    """The models that a name stands for: the finished seeds of such a folder, else itself alone.

    Raises InputError for a folder of seeds with fewer than two finished.
    """
    found = read_seed_folder(Path(model))
    if found is None:
        return [model]
    if len(found.runs) < 2:
        raise InputError(
            f"{model} is a folder of seeds with {len(found.runs)} finished; go on with"
            " simcse-kit train --seeds … --resume, or name a seed's own folder"
        )
    return [str(found.of(seed)) for seed in sorted(found.runs)]
