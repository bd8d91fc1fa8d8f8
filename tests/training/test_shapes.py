"""Runs of any shape that are cut off anywhere end as if they had not been."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from simcse_kit.training.keeper import Keeper
from simcse_kit.training.run import train
from training_rows import assert_same, config, dev_task, pair_rows, text_rows


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


def _shape(draw: np.random.Generator) -> dict[str, Any]:
    """Settings by chance, of runs that end within and between epochs."""

    def one_of(*choices: Any) -> Any:
        return choices[draw.integers(len(choices))]

    shape = {
        "num_train_epochs": one_of(1, 1.5, 2, 3),
        "max_steps": one_of(-1, 3, 7),
        "per_device_train_batch_size": one_of(4, 8),
        "gradient_accumulation_steps": one_of(1, 1, 2, 3),
        "mini_batch_size": one_of(None, None, 3),
        "head": one_of("none", "train_only", "keep"),
        "lr_scheduler_type": one_of("linear", "cosine", "constant_with_warmup"),
        "warmup_steps": one_of(0, 0.5, 2),
        "weight_decay": one_of(0, 0.1),
        "max_grad_norm": one_of(0, 1.0),
        "optim": one_of("adamw_torch_fused", "adamw_torch", "adafactor"),
        "mlm_weight": one_of(0, 0, 0.1),
        "dataloader_num_workers": one_of(0, 0, 0, 1),
        "data_seed": one_of(None, 5),
        "eval_steps": one_of(1, 2, 3),
        "save_steps": 1,
        "save_total_limit": None,
    }
    order = one_of("shuffled", "group_window", "no_duplicates")
    if order == "group_window":
        shape["group_window"] = 3
    if order == "no_duplicates":
        shape["batch_sampler"] = order
    return shape


def _left(folder: Path) -> dict[str, torch.Tensor]:
    last = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))[-1]
    found = {}
    for place in (folder, folder / "last", last):
        state = load_file(place / "model.safetensors")
        found |= {f"{place.relative_to(folder)} {name}": each for name, each in state.items()}
    optimizer = torch.load(last / "optimizer.pt", weights_only=True)["state"]
    for number, state in optimizer.items():
        tensors = {name: each for name, each in state.items() if isinstance(each, torch.Tensor)}
        found |= {f"{number} {name}": each for name, each in tensors.items()}
    return found


def _compare(bert: Path, place: Path, number: int) -> None:
    draw = np.random.default_rng(number)
    shape = _shape(draw)
    rows = text_rows(28) if draw.random() < 0.5 else pair_rows(28, negatives=draw.random() < 0.5)
    dev = dev_task() if draw.random() < 0.5 else None
    given = bert, rows, config(place, **shape)
    whole = train(*given, place / "whole", eval_data=dev)
    cut = int(draw.integers(1, whole.steps)) if whole.steps > 1 else 1
    shutil.copytree(place / "whole", place / "cut")
    shutil.rmtree(place / "cut" / "last")
    for later in range(cut + 1, whole.steps + 1):
        shutil.rmtree(place / "cut" / f"checkpoint-{later}")
    if dev is not None:  # as it was then, for a later best model would be known
        (place / "cut" / "run.json").unlink()
    resumed = train(*given, place / "cut", eval_data=dev, resume=True)
    assert (resumed.steps, resumed.best_step) == (whole.steps, whole.best_step), shape
    assert_same(_left(place / "cut"), _left(place / "whole"))


@pytest.mark.parametrize("number", range(4))
def test_some_shapes(tiny_encoder, tmp_path, number):
    _compare(tiny_encoder("bert"), tmp_path, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(100, 150))
def test_many_shapes(tiny_encoder, tmp_path, number):
    _compare(tiny_encoder("bert"), tmp_path, number)
