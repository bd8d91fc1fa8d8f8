"""Clipping and the optimizer's step, compiled: the same weights, and no step waits for the device.

On a CPU the graphs are traced but run by torch's own kernels; the CUDA graphs of them are tested
in `test_layout`, where there is a GPU.
"""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR

from simcse_kit.compute import fast_layers
from simcse_kit.data.rows import Rows
from simcse_kit.training import run as training
from simcse_kit.training import trainer
from simcse_kit.training.compiled_update import clip, compile_update
from simcse_kit.training.model.collapse import CollapseAlarm
from simcse_kit.training.rows import batches
from simcse_kit.training.run import TrainResult, train
from training_rows import NOUNS, VERBS, config, dev_task, sentences

pytestmark = pytest.mark.usefixtures("fresh_compiler")

LIMIT = 8.0
TEXTS = [f"the {noun} {verb}" for noun in NOUNS for verb in VERBS]  # rows of one size


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(30, 8), (8,), (8, 8), (16,)]
    return [nn.Parameter(torch.randn(size, generator=generator)) for size in sizes]


def optimizer_of(parameters: list[nn.Parameter]) -> AdamW:
    groups = [
        {"params": parameters[:3], "weight_decay": 0.1},
        {"params": parameters[3:], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=1e-2, fused=True)


def test_the_update_is_adamw_after_clipping_in_one_graph_for_every_learning_rate():
    plain, compiled = weights(), weights()
    optimizers = [optimizer_of(plain), optimizer_of(compiled)]
    schedules = [LambdaLR(each, lambda step: 1 - step / 20) for each in optimizers]
    counters = [CompileCounterWithBackend("aot_eager") for _ in range(2)]
    compile_update(optimizers[1], backend=counters[0])
    compiled_clip = torch.compile(clip, backend=counters[1])
    clipped = []
    for step in range(6):
        for parameter, twin in zip(plain, compiled, strict=True):
            parameter.grad = torch.randn_like(parameter) * 0.2 * step
            twin.grad = parameter.grad.clone()
        expected = nn.utils.clip_grad_norm_(plain, LIMIT)
        norm = compiled_clip([twin.grad for twin in compiled], LIMIT)
        torch.testing.assert_close(norm, expected)
        clipped.append(bool(norm > LIMIT))
        for each in (*optimizers, *schedules):
            each.step()
        for parameter, twin in zip(plain, compiled, strict=True):
            torch.testing.assert_close(twin, parameter, atol=1e-6, rtol=1e-5)
    assert set(clipped) == {True, False}
    assert [counter.frame_count for counter in counters] == [1, 1]
    assert float(optimizers[1].param_groups[0]["lr"]) == pytest.approx(0.7e-2)


def test_a_checkpoint_goes_on_with_and_without():
    """The moments and the rate are carried over, either way."""
    for first, second in [(True, False), (False, True)]:
        reference, resumed = weights(), weights()
        expected, optimizer = optimizer_of(reference), optimizer_of(resumed)
        if first:
            compile_update(optimizer, backend="aot_eager")
        for step in range(4):
            if step == 2:
                saved = copy.deepcopy(optimizer.state_dict())
                optimizer = optimizer_of(resumed)
                optimizer.load_state_dict(saved)
                if second:
                    compile_update(optimizer, backend="aot_eager")
                elif first:  # what a resumed run without torch_compile does: its options stay
                    assert isinstance(optimizer.param_groups[0]["lr"], Tensor)
                    for group in optimizer.param_groups:
                        group["capturable"] = False  # no CPU kernel of torch takes it
                        group["fused"], group["foreach"] = True, False
            for parameter, twin in zip(reference, resumed, strict=True):
                parameter.grad = torch.randn_like(parameter)
                twin.grad = parameter.grad.clone()
            expected.step()
            optimizer.step()
        for parameter, twin in zip(reference, resumed, strict=True):
            torch.testing.assert_close(twin, parameter, atol=1e-6, rtol=1e-5)


def test_an_optimizer_that_cannot_be_captured_is_left_as_it_is():
    parameters = weights()
    optimizer = SGD(parameters, lr=0.1)
    compile_update(optimizer, backend="aot_eager")
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert "step" not in vars(optimizer)


@pytest.fixture
def compiling(monkeypatch, tiny_encoder):
    """`train` as on a GPU: batches laid out, nothing of a CPU's own, compilation allowed."""
    monkeypatch.setattr(fast_layers, "kernels", lambda: None)
    monkeypatch.setattr(training, "check_encoder", lambda *_: None)
    collate = batches.ViewCollator
    laid_out = {"pad_id": 0}
    monkeypatch.setattr(
        batches, "ViewCollator", lambda *given, **how: collate(*given, **(how | laid_out))
    )

    def run(folder, compiled: bool, **settings) -> TrainResult:
        how = {"torch_compile": True, "torch_compile_backend": "aot_eager"} if compiled else {}
        settings = {"dropout": 0.0, "head": "none", "max_grad_norm": 0.5} | settings
        chosen = config(folder.parent, **(how | settings))
        resume = folder.exists()
        rows = Rows("text", {"text": TEXTS}, None, None, "texts", 0, 0)
        return train(
            tiny_encoder("bert"), rows, chosen, folder, eval_data=dev_task(), resume=resume
        )

    return run


@pytest.mark.slow
def test_a_run_that_is_interrupted_and_resumed_learns_the_same(compiling, tmp_path):
    """Losses, figures, norms, rates and dev scores of every step, and the embeddings."""
    how = {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 3}
    plain = compiling(tmp_path / "plain", False, max_steps=6, **how)
    compiling(tmp_path / "compiled", True, max_steps=4, **how)
    compiled = compiling(tmp_path / "compiled", True, max_steps=6, **how)
    logs = [
        [e for e in result.history if "loss" in e or "eval_spearman" in e]
        for result in (plain, compiled)
    ]
    assert len(logs[0]) == len(logs[1]) == 6 + 4
    for expected, got in zip(*logs, strict=True):
        assert expected.keys() == got.keys()
        for key in expected.keys() - {"sentences_per_second"}:
            assert got[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-5), key
    assert any(entry["grad_norm"] > 0.5 for entry in logs[1] if "loss" in entry)  # was clipped
    texts = sentences(20)
    vectors = [torch.tensor(result.encoder.encode(texts)) for result in (plain, compiled)]
    torch.testing.assert_close(vectors[1], vectors[0], atol=1e-4, rtol=1e-3)


QUIET = {"logging_steps": 1000, "eval_steps": 1000, "save_steps": 1000}
WAITING = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")


@pytest.mark.parametrize("compiled", [True, False])
def test_no_step_waits_for_the_device(compiling, monkeypatch, tmp_path, compiled):
    """Eight more steps read fewer than eight more values."""
    monkeypatch.setattr(trainer, "_READ_AT_ONCE", {"cpu": 10})
    if not compiled:  # a CPU's way of clipping reads the norm
        monkeypatch.setattr(
            trainer.ContrastiveTrainer, "_clip_grad_norm", trainer.Trainer._clip_grad_norm
        )
    read: Counter[str] = Counter()
    for name in WAITING:
        original = getattr(Tensor, name)

        def counted(tensor, *args, original=original, name=name, **kwargs):
            read[name] += not isinstance(tensor, torch._subclasses.FakeTensor)
            return original(tensor, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, counted)
    seen = []
    for steps in (4, 12):
        read.clear()
        compiling(tmp_path / str(steps), compiled, max_steps=steps, **QUIET)
        seen.append(read.total())
    assert seen[0] > 0
    assert seen[1] - seen[0] < 8, read


class Rings(CollapseAlarm):
    """An alarm that rings from the third step on."""

    def check(self, losses, figures):
        self.seen += 1
        return "the space has collapsed" if self.seen >= 3 else None


@pytest.mark.parametrize("action", ["stop", "warn"])
def test_the_alarm_that_reads_ten_steps_at_a_time_sounds(
    compiling, monkeypatch, tmp_path, caplog, action
):
    monkeypatch.setattr(trainer, "_READ_AT_ONCE", {"cpu": 10})
    monkeypatch.setattr(training, "CollapseAlarm", Rings)
    result = compiling(tmp_path / "run", False, max_steps=14, collapse=action, **QUIET)
    if action == "stop":
        assert result.steps == 11 and "stopped at step 11" in result.stopped
    else:
        assert result.steps == 14 and caplog.text.count("collapsed") == 1
