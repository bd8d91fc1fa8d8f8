"""Whatever shape a run has and wherever it is killed: resumed, it ends as the whole one does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resumed_runs import check_resumed
from training_rows import config, dev_task, pair_rows, text_rows

FEW, MANY = range(2), range(2, 60)


def drawn(seed: int) -> dict[str, Any]:
    """A run's shape, and the step at which it is killed."""
    pick = np.random.default_rng(seed)

    def one(*values: Any) -> Any:
        return values[int(pick.integers(len(values)))]

    shape: dict[str, Any] = {
        "rows": int(pick.integers(14, 40)),
        "kind": one("text", "pairs", "negatives"),
        "dev": one(True, False),
        "per_device_train_batch_size": int(pick.integers(2, 7)),
        "gradient_accumulation_steps": int(pick.integers(1, 4)),
        "num_train_epochs": one(1.0, 1.7, 2.0, 3.0),
        "group_window": int(pick.integers(1, 4)),
        "dataloader_num_workers": one(0, 0, 1, 2),
        "mini_batch_size": one(None, 1, 3),
        "save_steps": int(pick.integers(1, 4)),
        "eval_steps": int(pick.integers(1, 4)),
        "logging_steps": int(pick.integers(1, 4)),
        "gradient_checkpointing": one(True, False),
        "mlm_weight": one(0.0, 0.1),
        "bf16": one(True, False),
        "head": one("train_only", "keep", "none"),
        "optim": one("adamw_torch_fused", "adamw_torch", "adafactor", "rmsprop"),
        "lr_scheduler_type": one("linear", "cosine", "constant_with_warmup"),
        "warmup_steps": one(0, 0.2, 2),
        "data_seed": one(None, 7),
    }
    if shape["kind"] != "text" and one(True, False):
        shape |= {"batch_sampler": "no_duplicates", "group_window": 1}
    return shape


def steps_of(shape: dict[str, Any]) -> int:
    batches = shape["rows"] // shape["per_device_train_batch_size"]
    an_epoch = max(1, -(-batches // shape["gradient_accumulation_steps"]))
    return int(np.ceil(shape["num_train_epochs"] * an_epoch))


@pytest.mark.parametrize(
    "seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MANY)]
)
def test_resumed_equals_whole(seed, tiny_encoder, tmp_path, monkeypatch):
    shape = drawn(seed)
    steps = steps_of(shape)
    shape["save_steps"] = min(shape["save_steps"], max(1, steps - 1))
    count, kind, has_dev = (shape.pop(key) for key in ("rows", "kind", "dev"))
    if kind == "text":
        rows = text_rows(count)
    else:
        rows = pair_rows(count, negatives=kind == "negatives")
        positives = rows.columns["positive"]
        for place in range(1, count, 3):  # texts in several rows
            positives[place] = positives[0]
    settings = config(tmp_path, **shape)
    at = int(np.random.default_rng(seed).integers(shape["save_steps"], steps)) + 1
    whole = check_resumed(
        tiny_encoder("bert"),
        rows,
        settings,
        tmp_path,
        monkeypatch,
        at,
        dev_task() if has_dev else None,
    )
    assert whole.steps == steps
