"""The collapse alarm: silent over whatever learns, for every batch; loud over a point or a line."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl, TrainerState

import simcse_kit.training.run as training
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training.model.collapse import BATCH_FIGURES, CollapseAlarm, batch_geometry
from simcse_kit.training.run import train
from training_rows import assert_same, config, text_rows, weights

BATCHES = [2, 3, 8, 64, 512]


def figures(anchors: torch.Tensor, positives: torch.Tensor) -> dict[str, float]:
    return dict(zip(BATCH_FIGURES, batch_geometry(anchors, positives).tolist(), strict=True))


def rings_at(alarm: CollapseAlarm, batches: int, steps: int, draw, accumulated: int = 1) -> int:
    """The step of the alarm; 0 where it never rings."""
    for step in range(1, steps + 1):
        told = [figures(*draw(batches)) for _ in range(accumulated)]
        if alarm.check([1.0] * accumulated, told) is not None:
            return step
    return 0


def space(common: float, width: int, noise: float):
    """Texts at random around a common direction, and their positives by some noise."""
    generator = torch.Generator().manual_seed(0)

    def draw(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        texts = torch.randn(rows, width, generator=generator)
        texts[:, 0] += common
        twins = [
            texts + noise * torch.randn(rows, width, generator=generator) / width**0.5
            for _ in range(2)
        ]
        return twins[0], twins[1]

    return draw


@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("width", [2, 32])
def test_random_directions_never_ring(rows, width):
    steps = 3000 if rows < 10 else 300
    assert rings_at(CollapseAlarm(rows), rows, steps, space(0, width, 0.1)) == 0


@pytest.mark.parametrize("rows", BATCHES)
def test_a_narrow_cone_that_knows_its_texts_never_rings(rows):
    """As a fresh RoBERTa: cosines near 0.99, and 0.999 between the views of a text."""
    draw = space(common=60.0, width=32, noise=1.5)
    drawn = figures(*draw(512))
    assert 0.98 < drawn["negative_cosine"] < 0.995 and drawn["positive_cosine"] > 0.998
    assert rings_at(CollapseAlarm(rows), rows, 400, draw) == 0


def constant(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(rows, 8), torch.ones(rows, 8)


def on_a_line(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    signs = (torch.arange(rows) % 2 * 2.0 - 1)[:, None] * torch.ones(8)
    return signs, signs


#: A point with dropout's noise around it, which hides what the texts differ by.
NOISY = space(common=200.0, width=8, noise=30.0)


@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("draw", [constant, on_a_line, NOISY], ids=["point", "line", "noisy"])
def test_a_point_or_a_line_always_rings(rows, accumulated, draw):
    assert rings_at(CollapseAlarm(rows), rows, 160, draw, accumulated) == 150


def test_it_waits_less_for_a_space_that_was_healthy_and_longer_for_the_warm_up():
    alarm = CollapseAlarm(8)
    assert rings_at(alarm, 8, 30, space(0, 32, 0.1)) == 0 and alarm.was_healthy
    assert 20 <= rings_at(alarm, 8, 100, constant) <= 25
    alarm = CollapseAlarm(8)
    args = SimpleNamespace(get_warmup_steps=lambda steps: steps // 10)
    alarm.on_train_begin(args, TrainerState(max_steps=1000, stateful_callbacks=[]), None)
    assert rings_at(alarm, 8, 400, constant) == 250


def test_a_loss_that_is_no_number_rings_at_once():
    healthy = [figures(*space(0, 32, 0.1)(8))] * 2
    assert "loss is nan" in CollapseAlarm(8).check([1.0, float("nan")], healthy)


def test_its_state_goes_through_a_checkpoint():
    draw, alarm = space(0, 8, 1.0), CollapseAlarm(8)
    rings_at(alarm, 8, 25, draw)
    rings_at(alarm, 8, 13, constant)
    saved = json.loads(json.dumps({"CollapseAlarm": alarm.state()}))
    again, args = CollapseAlarm(8), SimpleNamespace(get_warmup_steps=lambda _: 0)
    state = TrainerState(max_steps=90)
    state.stateful_callbacks = saved
    again.on_train_begin(args, state, TrainerControl())
    assert vars(again) | {"recent": []} == vars(alarm) | {"recent": []}
    assert rings_at(again, 8, 90, constant) == rings_at(alarm, 8, 90, constant) > 0
    # a checkpoint of an older version has none, and the Trainer wants one to write over
    older = TrainerState(max_steps=90)
    older.stateful_callbacks = {}
    CollapseAlarm(8).on_train_begin(args, older, TrainerControl())
    assert older.stateful_callbacks["CollapseAlarm"]["attributes"]["seen"] == 0


# -- in a run


@pytest.fixture
def impatient(monkeypatch):
    """An alarm that takes any space for collapsed, after so many steps."""

    def patch(steps: int) -> None:
        monkeypatch.setattr("simcse_kit.training.model.collapse._collapsed", lambda _: True)
        monkeypatch.setattr(training, "CollapseAlarm", lambda rows: CollapseAlarm(rows, 1, steps))

    return patch


@pytest.mark.parametrize("action", ["stop", "warn"])
def test_a_collapse_stops_or_warns(tiny_encoder, tmp_path, impatient, caplog, action):
    impatient(2)
    settings = config(tmp_path, max_steps=4, collapse=action, gradient_accumulation_steps=2)
    result = train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    if action == "stop":
        assert result.steps == 2 and "collapsed: for 2 steps" in result.stopped
    else:
        assert result.steps == 4 and result.stopped is None
        assert caplog.text.count("collapsed") == 1
    assert SentenceEncoder.from_pretrained(tmp_path / "run").dimension == 32


def test_a_resumed_run_stops_where_the_whole_one_does(tiny_encoder, tmp_path, impatient):
    impatient(5)
    given = (tiny_encoder("bert"), text_rows(64))
    whole = train(*given, config(tmp_path, max_steps=8), tmp_path / "whole")
    assert whole.steps == 5
    part = tmp_path / "part"
    train(*given, config(tmp_path, max_steps=8), part)
    shutil.rmtree(part / "last")  # cut short: it goes on from step 4
    resumed = train(*given, config(tmp_path, max_steps=8), part, resume=True)
    assert resumed.steps == 5 and resumed.stopped == whole.stopped
    assert_same(weights(resumed.encoder), weights(whole.encoder))


def test_many_small_batches_a_step_that_learn_are_not_stopped(tiny_encoder, tmp_path):
    settings = config(
        tmp_path,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=16,
        max_steps=12,
        save_steps=100,
    )
    result = train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    assert result.steps == 12 and result.stopped is None
