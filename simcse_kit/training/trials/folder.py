"""The folder of a trial: a folder of seeds for each recipe, what each run makes of each pair, and
``trial.json``.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.data import replacing, write_json
from simcse_kit.errors import InputError
from simcse_kit.training.runs.seed_folder import FILE as SEEDS_FILE
from simcse_kit.training.runs.seed_folder import SeedFolder

FILE = "trial.json"
PAGE = "trial.html"


@dataclass
class TrialFolder:
    """What ``trial.json`` holds.

    Attributes:
        folder: where it lies.
        recipes: names, in order; each has a `SeedFolder` of that name in the folder.
        unfit: why recipes that were named cannot be trained on these data.
        left_off: why recipes get no further seeds.
        result: what came of it (`simcse_kit.training.trials.result.TrialResult`), or None.
    """

    folder: Path
    recipes: list[str]
    unfit: dict[str, str] = field(default_factory=dict)
    left_off: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] | None = None

    def of(self, recipe: str) -> Path:
        """A recipe's own folder, which `evaluate` and `compare` take as several seeds."""
        return self.folder / recipe

    def write(self) -> None:
        """Put it on the disk, whole."""
        stored = {
            "recipes": self.recipes,
            "unfit": self.unfit,
            "left_off": self.left_off,
            "result": self.result,
        }
        write_json(self.folder / FILE, stored)


def read_trial_folder(folder: Path) -> TrialFolder | None:
    """The trial in a folder; None where it is no such folder.

    Raises InputError for a damaged ``trial.json``.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        unfit, left_off = (dict(stored[key]) for key in ("unfit", "left_off"))
        return TrialFolder(folder, list(stored["recipes"]), unfit, left_off, stored["result"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); begin the trial again with"
            " --overwrite"
        ) from error


def of_a_trial(path: Path) -> bool:
    """Whether something in a trial's folder is the trial's."""
    return path.name in (FILE, PAGE) or (path / SEEDS_FILE).is_file()


# ---- what a run was judged to be, pair by pair ---------------------------------------------------


def keep_items(seeds: SeedFolder, seed: int, items: Mapping[str, np.ndarray]) -> None:
    """Keep what a seed's model makes of each pair, by data set."""
    with replacing(_items_file(seeds, seed)) as aside, aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **dict(items))


def kept_items(seeds: SeedFolder, seed: int, keys: Mapping[str, str]) -> dict[str, np.ndarray]:
    """What was kept of a seed for these data sets; {} where some is missing or of other data.

    Args:
        keys: of each data set, equal for equal ones (`simcse_kit.training.dev.DevSet.key`).
    """
    run = seeds.runs.get(seed, {})
    if any(run.get("judged_on", {}).get(name) != key for name, key in keys.items()):
        return {}
    try:
        with np.load(_items_file(seeds, seed), allow_pickle=False) as stored:
            return {name: stored[name] for name in keys}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def _items_file(seeds: SeedFolder, seed: int) -> Path:
    return seeds.folder / f"seed-{seed}.items.npz"
