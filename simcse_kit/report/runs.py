"""What a run's folder tells about how its model was made."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simcse_kit.data import at_home
from simcse_kit.errors import InputError
from simcse_kit.evaluation import short

#: What a step is chosen by, as the history and a reader call it.
_CHOOSING = {"eval_spearman": "Spearman", "eval_recall@1": "recall@1"}


@dataclass(frozen=True)
class Best:
    """The best step of a run on its dev set: the figure it was chosen by, and its value ×100."""

    step: int
    figure: str
    score: float


@dataclass(frozen=True)
class Run:
    """A training run, as its folder has it.

    Attributes:
        config: every setting.
        history: the log, one dict an entry, each with its ``step``.
        base: the model it began as, where the folder says so.
        data: the name of its training data, likewise.
        made: command, date, hardware and versions, {} where they are not known.
    """

    config: dict[str, Any]
    history: list[dict[str, Any]]
    base: str | None
    data: str | None
    made: dict[str, Any]

    @property
    def best(self) -> Best | None:
        """The best step on dev, or None without a dev set."""
        scored = [
            Best(int(entry["step"]), figure, float(entry[key]))
            for entry in self.history
            for key, figure in _CHOOSING.items()
            if key in entry
        ]
        return max(scored, key=lambda one: one.score, default=None)

    @property
    def seconds(self) -> float | None:
        """How long the training took."""
        known = [float(e["train_runtime"]) for e in self.history if "train_runtime" in e]
        return known[-1] if known else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self) | {"base": short(self.base) if self.base else None}


def read_run(folder: Path | str) -> Run | None:
    """The run in this folder; None where it is no run's folder.

    Raises InputError where a file of the run cannot be read.
    """
    import yaml

    from simcse_kit.training import CONFIG_FILE, HISTORY_FILE, RUN_FILE

    folder = at_home(folder)
    settings = folder / CONFIG_FILE
    if not settings.is_file():
        return None
    try:
        config = yaml.safe_load(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"the settings of the run cannot be read: {settings}: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{settings} holds no settings of a run; is it another program's file?")
    # Paths say something about the machine and nothing about the model.
    config = {
        key: short(value) if isinstance(value, str) else value for key, value in config.items()
    }
    rows = map(_numbers, _lines(folder / HISTORY_FILE))
    history = [row for row in rows if "step" in row]
    told = next(iter(_lines(folder / RUN_FILE, whole=True)), {})
    base, data = (told[k] if isinstance(told.get(k), str) else None for k in ("model", "data"))
    made = told.get("made")
    return Run(config, history, base, data, made if isinstance(made, dict) else {})


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    """What is a finite number: a run that diverged logs some that are not."""
    return {
        key: value
        for key, value in row.items()
        if type(value) in (int, float) and math.isfinite(value)
    }


def _lines(path: Path, *, whole: bool = False) -> list[dict[str, Any]]:
    """The objects of a file, one a line, or one in all; none where there is no file."""
    if not path.is_file():
        return []  # an older run, or one that was interrupted
    try:
        text = path.read_text(encoding="utf-8")
        found = [json.loads(text)] if whole else [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; remove it to do without") from error
    if not all(isinstance(one, dict) for one in found):
        raise InputError(f"{path} holds something else than JSON objects; remove it to do without")
    return found
