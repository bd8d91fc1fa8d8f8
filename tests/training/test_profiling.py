"""A profile of some steps: its trace, its table, and what a short run leaves of it."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from simcse_kit.data import read_rows
from simcse_kit.errors import InputError
from simcse_kit.training.profiling import ASIDE, STEP, _fitting, costliest, table
from simcse_kit.training.run import train
from simcse_kit.training.settings.config import TrainConfig, build_config
from simcse_kit.training.settings.fields import Profile
from simcse_kit.training.trainer import OwnDropout


def trained(tiny: Path, folder: Path, **settings: Any) -> list[Path]:
    """Traces of a run of a tiny encoder."""
    (folder / "texts.txt").write_text("".join(f"the dog {n} eats\n" for n in range(40)))
    common = {
        "pooling": "mean", "per_device_train_batch_size": 4, "max_steps": 8, "report_to": "none",
        "use_cpu": True, "save_steps": 4, "cache_dir": folder / "tokens", "logging_steps": 100,
    }  # fmt: skip
    config = TrainConfig(**(common | settings))
    train(tiny, read_rows(folder / "texts.txt"), config, folder / "run")
    return sorted((folder / "run").rglob("*.pt.trace.json"))


def test_a_run_leaves_a_trace_and_says_what_costs(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "simcse_kit.training.profiling")
    asked = {"skip": 2, "warm": 1, "record": 3}  # step 4, with its checkpoint, is among them
    (trace,) = trained(tiny_encoder("bert"), tmp_path, profile=asked)
    assert trace == tmp_path / "run" / "tensorboard" / "steps-4-6.pt.trace.json"
    events = json.loads(trace.read_text())["traceEvents"]
    names = [event.get("name") for event in events]
    assert names.count(STEP) == 2 * 3 or names.count(STEP) == 3  # a range, maybe with its mark
    assert ASIDE in names and any("mm" in str(name) for name in names)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].split() == ["operator", "share", "ms", "a", "step", "calls", "a", "step"]
    assert len(said) == 13  # head, ten, all others, where the trace is
    assert said[-1] == f"profile of steps 4 to 6: {trace}"
    shares = [float(found[1]) for line in said[1:-1] if (found := re.search(r" ([\d.]+)%", line))]
    assert len(shares) == 11 and sum(shares) == pytest.approx(100, abs=0.6)  # rounded to 0.1
    assert shares[:10] == sorted(shares[:10], reverse=True)


def test_off_it_leaves_nothing(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    assert trained(tiny_encoder("bert"), tmp_path, max_steps=2) == []


def test_the_trained_model_is_the_same(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    weights = []
    for name, asked in (("with", True), ("without", False)):
        (tmp_path / name).mkdir()
        trained(tiny_encoder("bert"), tmp_path / name, max_steps=3, profile=asked)
        weights.append((tmp_path / name / "run" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("left", "expected"),
    [(12, (5, 2, 5)), (100, (5, 2, 5)), (11, (4, 2, 5)), (6, (0, 1, 5)), (3, (0, 0, 3)), (0, None)],
)
def test_a_short_run_skips_less_then_warms_less_then_records_less(
    left: int, expected: tuple[int, int, int] | None, caplog: pytest.LogCaptureFixture
) -> None:
    fewer = _fitting(Profile(), left)
    assert (fewer and (fewer.skip, fewer.warm, fewer.record)) == expected
    said = f"profile asks for 12 steps and the run has {left}: "
    assert (said in caplog.text) == (0 < left < 12)


def test_costs_are_times_of_their_own() -> None:
    with profile(activities=[ProfilerActivity.CPU]) as made:
        for _ in range(2):
            with record_function(STEP):
                with record_function("inner"):
                    time.sleep(0.03)
                time.sleep(0.01)
            with record_function(ASIDE), record_function("inner"):
                torch.ones(10).sum()
                time.sleep(0.2)
    costs = costliest(made.events() or [], 2)
    found = {cost.name: cost for cost in costs}
    assert set(found) == {"inner", "(outside operators)"}  # nothing of the evaluation
    assert sum(cost.share for cost in costs) == pytest.approx(1)
    assert found["inner"].milliseconds == pytest.approx(30, rel=0.4)
    assert found["inner"].calls == 1
    assert found["inner"].share > 0.55 and costs[0].name == "inner"


def test_on_a_gpu_its_time_counts() -> None:
    def event(name: str, cpu: float, gpu: float, kind: Any = torch.autograd.DeviceType.CPU) -> Any:
        return SimpleNamespace(
            name=name, self_cpu_time_total=cpu, self_device_time_total=gpu, count=1,
            cpu_parent=None, device_type=kind,
        )  # fmt: skip

    kernel = event("gemm_kernel", 0, 900, torch.autograd.DeviceType.CUDA)  # counted at aten::mm
    costs = costliest([event("aten::mm", 10, 900), event("aten::add", 500, 100), kernel], 1)
    assert [(cost.name, cost.share) for cost in costs] == [("aten::mm", 0.9), ("aten::add", 0.1)]
    lines = table(costs * 6)
    assert len(lines) == 12 and lines[-1].startswith("(2 others)")
    assert costliest([], 1) == [] and len(table([])) == 1


@pytest.mark.parametrize("value", ["5", "{record: 0}", "{steps: 3}", "{skip: yes}", "[5, 2, 5]"])
def test_a_profile_of_something_else_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"--set profile=.* must be true, false or \{skip: 5, war"):
        build_config(None, [f"profile={value}"])
    assert build_config(None, ["profile=true"]).profile == Profile(skip=5, warm=2, record=5)
    assert build_config(None, ["profile=false"]).profile is None
    assert build_config(None, ["profile={skip: 9}"]).profile == Profile(skip=9)


def test_a_run_that_is_stopped_early_names_the_steps_it_has(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step == 3

    monkeypatch.setattr(OwnDropout, "on_step_end", stop, raising=False)
    whole, none = tmp_path / "a", tmp_path / "b"
    whole.mkdir()
    none.mkdir()
    asked = {"skip": 1, "warm": 0, "record": 5}
    (trace,) = trained(tiny_encoder("bert"), whole, profile=asked)
    assert trace.name == "steps-2-3.pt.trace.json"
    asked = {"skip": 3, "warm": 0, "record": 2}
    assert trained(tiny_encoder("bert"), none, profile=asked) == []
