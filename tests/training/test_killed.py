"""A run that is killed at any moment and started again ends as one that was left alone."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import killed
from simcse_kit.training.runs.checkpoints import newest_whole
from simcse_kit.training.runs.folder import read_ended, read_history
from training_rows import assert_same

_CLOCKS = {"sentences_per_second", "train_runtime"}


def _start(encoder: str, folder: Path, method: str) -> tuple[Any, Any]:
    """A run's process, everything loaded; forked from one that has imported all and computed
    nothing, so that no thread is lost."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed", "simcse_kit.training.run", "simcse_kit.encoder"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=killed.go, args=(encoder, folder, method, theirs))
    process.start()
    theirs.close()
    try:
        assert ours.recv() == "ready"
    except EOFError:
        process.join()
        assert process.exitcode == 0, "it had finished, and trains nothing"
    return process, ours


def _whole(encoder: str, folder: Path, method: str) -> float:
    """Train without being disturbed; the seconds that it took from where everything is loaded."""
    process, _ = _start(encoder, folder, method)
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def _killed(
    encoder: str, folder: Path, method: str, seconds: float, pick: random.Random, most: int
) -> int:
    """Train to the end, killed at random moments on the way; how often it was."""
    kills = 0
    while read_ended(folder) is None:
        process, _ = _start(encoder, folder, method)
        process.join(pick.uniform(0, seconds) if kills < most else None)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0
    return kills


def _left(folder: Path) -> dict[str, Any]:
    """All that a run leaves: weights, optimizer, random state, history, choice, no leftovers."""
    checkpoint, passed = newest_whole(folder)
    assert checkpoint is not None and not passed
    tensors: dict[str, torch.Tensor] = {}
    places = {"chosen": folder, "last": folder / "last", "checkpoint": checkpoint}
    for place, where in places.items():
        weights = load_file(where / "model.safetensors")
        tensors |= {f"{place} {name}": value for name, value in weights.items()}
    optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    for number, state in optimizer.items():
        tensors |= {f"{number} {name}": torch.as_tensor(each) for name, each in state.items()}
    tensors["random"] = torch.load(checkpoint / "rng_state.pth", weights_only=False)["cpu"]
    history = [
        {key: value for key, value in entry.items() if key not in _CLOCKS and "per_sec" not in key}
        for entry in read_history(folder)
    ]
    told = json.loads((folder / "run.json").read_text())
    return {
        "tensors": tensors,
        "history": [entry for entry in history if "train_loss" not in entry],
        "run": {key: told[key] for key in ("best", "ended")},
        "card": (folder / "README.md").read_text(),
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
    }


def _compare(encoder: str, place: Path, method: str, kills: int, seed: int) -> None:
    (place / "whole").mkdir()
    whole, pick = place / "whole" / "run", random.Random(seed)
    seconds = _whole(encoder, whole, method)
    expected, done, number = _left(whole), 0, 0
    while done < kills:
        folder = place / str(number) / "run"
        folder.parent.mkdir()
        done += _killed(encoder, folder, method, seconds, pick, kills - done)
        found, number = _left(folder), number + 1
        assert_same(found.pop("tensors"), expected["tensors"])
        for key, value in found.items():
            assert value == expected[key], (key, number, done)
    assert done == kills


def test_killed_twice(tiny_encoder, tmp_path):
    _compare(str(tiny_encoder("bert")), tmp_path, "all", 2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "kills"), [(each, 50 if each == "masked LM" else 12) for each in killed.METHODS]
)
def test_killed_many_times(tiny_encoder, tmp_path, method, kills):
    _compare(str(tiny_encoder("bert")), tmp_path, method, kills, seed=1)
