"""A run that is killed and resumed, against the same run whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simcse_kit.data import Rows
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training import TrainConfig, trainer
from simcse_kit.training.run import train
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.runs.result import TrainResult
from training_rows import assert_same, weights


def check_resumed(
    model: Path,
    rows: Rows,
    settings: TrainConfig,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    dev: PairTask | None = None,
) -> TrainResult:
    """See that a run killed after step `at` ends, resumed, as the whole one does; that one."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)

    def run(name: str, **how: Any) -> TrainResult:
        return train(model, rows, settings, folder / name, eval_data=dev, **how)

    whole = run("whole")

    def kill(self, args, state, control, **_):
        if state.global_step == at:
            raise RuntimeError("killed")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(trainer.OwnDropout, "on_step_end", kill, raising=False)
        run("part")
    again = run("part", resume=True)

    assert_same(weights(again.encoder), weights(whole.encoder))
    assert (again.steps, again.best_step, again.best_score) == (
        *(whole.steps, whole.best_step, whole.best_score),
    )
    for name in ("model.safetensors", "last/model.safetensors"):
        files = [folder / run / name for run in ("whole", "part")]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    went_on = (at - 1) // (settings.save_steps or 1) * (settings.save_steps or 1)
    assert measured(again.history, went_on) == measured(whole.history, went_on)
    return whole


def measured(history: list[dict[str, Any]], went_on: int) -> list[dict[str, float]]:
    """Losses and scores, but the first loss after a step: of the steps since then alone."""
    after = [entry["step"] for entry in history if "loss" in entry and entry["step"] > went_on]
    return [
        {key: entry[key] for key in ("step", "loss", "eval_spearman") if key in entry}
        for entry in history
        if "loss" not in entry or entry["step"] != after[0]
    ]
