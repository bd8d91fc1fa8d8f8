"""A run that goes on: by the model that its folder holds, and by the dev set that chose it."""

from __future__ import annotations

import json

import pytest

from simcse_kit.errors import InputError
from simcse_kit.training import trainer
from simcse_kit.training.dev import ScoredPairs
from simcse_kit.training.keeper import Keeper
from simcse_kit.training.run import train
from training_rows import config, dev_task, pair_rows, text_rows


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


def test_the_model_that_a_killed_run_saved_after_its_checkpoint_is_known(
    tiny_encoder, tmp_path, monkeypatch
):
    # resumed on another machine, where the steps come out a little worse than they did
    scores = iter([10.0, 20.0, 15.0, 40.0, 39.0, 25.0])
    monkeypatch.setattr(ScoredPairs, "score", lambda *_: {"eval_spearman": next(scores)})
    monkeypatch.setattr(ScoredPairs, "table", lambda *_: "")

    def kill(self, args, state, control, **_):
        if state.global_step == 4:
            raise RuntimeError("killed")

    settings = config(tmp_path, max_steps=4, eval_steps=1)
    given = (tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(trainer.OwnDropout, "on_step_end", kill, raising=False)
        train(*given, eval_data=dev_task())
    result = train(*given, eval_data=dev_task(), resume=True)
    assert "| `step` | 3 |" in (tmp_path / "run" / "README.md").read_text()
    assert (result.best_step, result.best_score) == (3, 40.0)
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["best"] == {"step": 3, "score": 40.0} and told["ended"]["best_step"] == 3


def test_another_dev_set_does_not_go_on_with_the_figures_of_the_first(tiny_encoder, tmp_path):
    bert, rows, run = tiny_encoder("bert"), pair_rows(48), tmp_path / "run"
    short = config(tmp_path, max_steps=2, eval_split=8)
    train(bert, rows, short, run)
    for changes, dev in (
        ({"eval_split": 16}, None),
        ({"eval_split": 8, "eval_split_seed": 1}, None),
        ({}, None),
        ({}, dev_task()),
    ):
        longer = config(tmp_path, max_steps=4, **changes)
        with pytest.raises(InputError, match="goes on with the same --eval-data or eval_split"):
            train(bert, rows, longer, run, eval_data=dev, resume=True)
    same = config(tmp_path, max_steps=4, eval_split=8)
    assert train(bert, rows, same, run, resume=True).steps == 4


def test_scored_pairs_may_come_later_and_rows_that_were_trained_on_may_not(tiny_encoder, tmp_path):
    bert, rows, run = tiny_encoder("bert"), pair_rows(48), tmp_path / "run"
    train(bert, rows, config(tmp_path, max_steps=2), run)
    with pytest.raises(InputError, match="or had none"):
        train(bert, rows, config(tmp_path, max_steps=4, eval_split=8), run, resume=True)
    longer = config(tmp_path, max_steps=4)
    judged = train(bert, rows, longer, run, eval_data=dev_task(), resume=True)
    assert judged.dev == "STSB-dev Spearman"
    with pytest.raises(InputError, match="on another dev set"):
        train(bert, rows, config(tmp_path, max_steps=6), run, resume=True)
