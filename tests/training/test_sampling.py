"""Rows grouped by length inside shuffled windows, and every order told the epoch."""

from __future__ import annotations

import shutil
from itertools import pairwise

import numpy as np
import pytest

from simcse_kit.data import Rows
from simcse_kit.training import train
from simcse_kit.training.rows.sampling import WindowedByLength
from training_rows import assert_same, config, sentences, weights

LENGTHS = np.random.default_rng(0).integers(3, 33, 1003)


@pytest.mark.parametrize("window", [2, 5, 1000])
def test_every_row_once_and_in_windows_of_the_shuffle(window):
    sampler = WindowedByLength(LENGTHS, 10, window, seed=4)
    order = list(sampler)
    assert len(sampler) == 1003 and sorted(order) == list(range(1003))
    shuffled = np.random.default_rng((4, 0)).permutation(1003)
    assert order[1000:] == shuffled[1000:].tolist()
    for start in range(0, 1000, 10 * window):
        rows = order[start : min(1000, start + 10 * window)]
        assert set(rows) == set(shuffled[start : start + len(rows)])
        batches = np.array(rows).reshape(-1, 10)
        spans = sorted((LENGTHS[batch].min(), LENGTHS[batch].max()) for batch in batches)
        assert all(low[1] <= high[0] for low, high in pairwise(spans))


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = WindowedByLength(LENGTHS, 10, 5, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)


def test_batches_of_a_window_come_in_random_order():
    order = np.array(list(WindowedByLength(LENGTHS, 10, 100, seed=0))[:1000]).reshape(-1, 10)
    means = LENGTHS[order].mean(axis=1)
    assert abs(np.corrcoef(means, np.arange(100))[0, 1]) < 0.3


@pytest.mark.parametrize(
    "epochs, accumulated, workers, kept",
    [
        (3, 1, 0, 5),
        (2, 2, 0, 3),
        pytest.param(3, 1, 1, 4, marks=pytest.mark.slow),
        pytest.param(2, 2, 0, 2, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("order", [{"group_window": 2}, {"batch_sampler": "no_duplicates"}])
def test_a_run_goes_on_with_the_rows_of_its_epoch(
    tiny_encoder, tmp_path, order, epochs, accumulated, workers, kept
):
    rows = Rows("text", {"text": sentences(12) * 2}, None, None, "texts", 12, 0)
    settings = config(
        tmp_path,
        num_train_epochs=epochs,
        gradient_accumulation_steps=accumulated,
        dataloader_num_workers=workers,
        save_steps=1,
        save_total_limit=None,
        **order,
    )
    whole = train(str(tiny_encoder("bert")), rows, settings, tmp_path / "run")
    expected = weights(whole.encoder)
    for step in range(kept + 1, whole.steps + 1):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    shutil.rmtree(tmp_path / "run" / "last", ignore_errors=True)
    resumed = train(str(tiny_encoder("bert")), rows, settings, tmp_path / "run", resume=True)
    assert resumed.steps == whole.steps > kept
    assert_same(weights(resumed.encoder), expected)
