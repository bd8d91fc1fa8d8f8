"""The line of an evaluation, and the bar that does not swallow it."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

import pytest
from tqdm import tqdm
from transformers import TrainerControl, TrainerState

from simcse_kit.training.progress import QuietProgress, above_the_bar, evaluation_line


def state(step: int, **changes) -> TrainerState:
    made = TrainerState(global_step=step, max_steps=200)
    made.is_world_process_zero = True
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_line_tells_step_loss_score_and_the_best_so_far():
    figures = {"eval_spearman": 74.104, "eval_alignment": 0.2345, "eval_uniformity": -2.5}
    log = [{"step": 20, "loss": 0.9}, {"step": 40, "loss": 0.65123}, {"step": 40} | figures]
    best = state(40, best_metric=74.104, best_global_step=40, log_history=log)
    assert evaluation_line(best, figures, "eval_spearman") == (
        "step 40 of 200: loss 0.6512, dev Spearman 74.10 (best so far), alignment 0.234, "
        "uniformity -2.500"
    )
    later = state(60, best_metric=74.104, best_global_step=40, log_history=log)
    found = {"eval_recall@1": 12.0, "eval_mrr": 30.5}
    assert evaluation_line(later, found, "eval_recall@1") == (
        "step 60 of 200: loss 0.6512, dev recall@1 12.00 (best 74.10 at step 40), MRR 30.50"
    )
    first = state(0, best_metric=1.0, best_global_step=0)
    assert evaluation_line(first, {"eval_spearman": 1.0}, "eval_spearman") == (
        "step 0 of 200: dev Spearman 1.00 (best so far)"
    )


def test_the_bar_keeps_the_dev_score_when_the_loss_comes():
    bar = QuietProgress()
    bar.training_bar = tqdm(total=10, file=io.StringIO())
    shown = []
    for logs in ({"eval_spearman": 74.1}, {"loss": 0.5}, {"loss": 0.25}, {"eval_recall@1": 9.0}):
        bar.on_log(None, state(1), TrainerControl(), logs=logs)
        shown.append(bar.training_bar.postfix)
    assert shown == ["dev=74.1", "dev=74.1, loss=0.5", "dev=74.1, loss=0.25", "dev=9, loss=0.25"]


@pytest.mark.parametrize("has_bar", [True, False])
def test_what_is_logged_stands_above_the_bar(monkeypatch, has_bar):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    kit = logging.getLogger("simcse_kit")
    handler = logging.StreamHandler(terminal)
    kit.addHandler(handler)
    level = kit.level
    kit.setLevel(logging.INFO)
    try:
        with (
            above_the_bar(SimpleNamespace(disable_tqdm=not has_bar)),
            tqdm(total=3, file=terminal, disable=not has_bar, ncols=40) as bar,
        ):
            bar.update(1)
            logging.getLogger("simcse_kit.training.trainer").info("step 1 of 3: dev 74")
            bar.update(1)
        assert kit.handlers.count(handler) == 1, "its handlers are as before"
    finally:
        kit.removeHandler(handler)
        kit.setLevel(level)
    written = terminal.getvalue()
    assert written.count("step 1 of 3: dev 74\n") == 1
    line = next(part for part in written.split("\n") if "step 1 of 3" in part)
    # the bar is wiped before the line and drawn anew after it
    assert line.rsplit("\r", 1)[-1] == "step 1 of 3: dev 74"
