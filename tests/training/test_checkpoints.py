"""Checkpoints are whole or not there, and what was damaged later is passed over."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from simcse_kit.errors import InputError
from simcse_kit.training import trainer
from simcse_kit.training.compiled_update import clip, compile_update
from simcse_kit.training.finite import leave_out_unless_finite
from simcse_kit.training.run import train
from simcse_kit.training.runs import checkpoints
from simcse_kit.training.runs.checkpoints import MANIFEST, checkpoint_aside, newest_whole
from simcse_kit.training.runs.keeper import Keeper
from training_rows import assert_same, config, dev_task, text_rows, weights


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


@pytest.fixture(scope="module")
def whole(tiny_encoder, tmp_path_factory):
    """A run of six steps with checkpoints of the fourth and sixth, and its weights."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "draw", lambda *_: None)
        result = train(*_given(tiny_encoder, place), place / "run")
    return place / "run", weights(result.encoder)


def _given(tiny_encoder, place):
    return tiny_encoder("bert"), text_rows(64), config(place, max_steps=6)


def _missing(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").unlink()


def _truncated(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _flipped(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)


def _emptied(checkpoint: Path) -> None:
    (checkpoint / "trainer_state.json").write_text("")


def _unlisted(checkpoint: Path) -> None:
    (checkpoint / MANIFEST).unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_missing, "optimizer.pt is missing"),
        (_truncated, "model.safetensors has [0-9,]+ of [0-9,]+ bytes"),
        (_flipped, "model.safetensors is not what was written"),
        (_emptied, "trainer_state.json has 0 of"),
        (_unlisted, f"without a {MANIFEST}"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_named(
    tiny_encoder, tmp_path, whole, caplog, damage, says
):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    shutil.rmtree(run / "last")  # it was cut off at the end
    damage(run / "checkpoint-6")
    resumed = train(*_given(tiny_encoder, tmp_path), run, resume=True)
    assert_same(weights(resumed.encoder), whole[1])
    assert "going on from checkpoint-4; passed over: checkpoint-6 (" in caplog.text
    assert newest_whole(run) == (run / "checkpoint-6", []), "trained and saved again"
    for checkpoint in run.glob("checkpoint-*"):
        damage(checkpoint)
    shutil.rmtree(run / "last")
    with pytest.raises(InputError, match=rf"no checkpoint in .* is whole: checkpoint-6 \({says}"):
        train(*_given(tiny_encoder, tmp_path), run, resume=True)


def test_the_manifest_tells_sizes_and_hashes_of_every_file(whole):
    import hashlib

    for checkpoint in whole[0].glob("checkpoint-*"):
        told = json.loads((checkpoint / MANIFEST).read_text())
        names = {path.name for path in checkpoint.iterdir()} - {MANIFEST}
        assert set(told["files"]) == names >= {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
        for name, each in told["files"].items():
            content = (checkpoint / name).read_bytes()
            assert each["size"] == len(content)
            assert each["sha256"] == hashlib.sha256(content).hexdigest()
        modes = {path.stat().st_mode for path in checkpoint.iterdir()}
        assert len(modes) == 1, "whoever may read one file of it may read all"


def test_a_checkpoint_becomes_visible_whole(tiny_encoder, tmp_path, monkeypatch):
    """Whatever is looked at while it is written: what shows is whole, and limits hold."""
    seen, run = [], tmp_path / "run"

    def look(*_, **__):
        seen.append({path.name: checkpoints._damage(path) for path in run.glob("checkpoint-*")})

    for name in ("save_model", "_save_optimizer_and_scheduler", "_save_rng_state"):
        theirs = getattr(trainer.ContrastiveTrainer, name)

        def around(self, *args, theirs=theirs, **kwargs):
            look()
            theirs(self, *args, **kwargs)
            look()

        monkeypatch.setattr(trainer.ContrastiveTrainer, name, around)
    given = tiny_encoder("bert"), text_rows(64)
    train(*given, config(tmp_path, max_steps=6, save_total_limit=1), run, eval_data=dev_task())
    assert len(seen) == 18 and all(set(each.values()) <= {None} for each in seen)
    assert [sorted(each) for each in seen[::6]] == [[], ["checkpoint-2"], ["checkpoint-4"]]
    assert [path.name for path in run.glob("*checkpoint*")] == ["checkpoint-6"]


def test_the_newest_stay_and_those_passed_over_go_first(tmp_path):
    def made(step, limit):
        with checkpoint_aside(tmp_path, step, limit) as aside:
            (aside / f"checkpoint-{step}").mkdir(parents=True)
            (aside / f"checkpoint-{step}" / "weights").write_bytes(b"1234")
        return sorted(path.name for path in tmp_path.iterdir())

    for step in (2, 4, 10):
        made(step, None)
    (tmp_path / "checkpoint-copy").mkdir()  # a user's
    (tmp_path / "checkpoint-10" / "weights").write_bytes(b"123")
    assert made(6, 2) == ["checkpoint-4", "checkpoint-6", "checkpoint-copy"]
    assert made(6, 1) == ["checkpoint-6", "checkpoint-copy"], "the same step once more"
    with pytest.raises(ValueError), checkpoint_aside(tmp_path, 8, 1) as aside:
        (aside / "checkpoint-8").mkdir(parents=True)
        raise ValueError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-6", "checkpoint-copy"]


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
@pytest.mark.parametrize("optimizer", ["adamw_torch_fused", "adamw_torch", "sgd"])
def test_a_step_that_is_not_finite_is_neither_taken_nor_saved(
    tiny_encoder, tmp_path, monkeypatch, caplog, optimizer, max_grad_norm
):
    """Its loss is NaN where a checkpoint falls: weights and optimizer stay those before it."""
    compute = trainer.ContrastiveTrainer.compute_loss

    def broken(self, model, inputs, *args, **kwargs):
        loss = compute(self, model, inputs, *args, **kwargs)
        return loss * float("nan") if self.state.global_step + 1 == 4 else loss

    how = {"optim": optimizer, "max_grad_norm": max_grad_norm, "collapse": "off"}
    given = tiny_encoder("bert"), text_rows(64)
    with monkeypatch.context() as patch:
        patch.setattr(trainer.ContrastiveTrainer, "compute_loss", broken)
        own = config(tmp_path, max_steps=6, save_total_limit=None, save_steps=1, **how)
        whole = train(*given, own, tmp_path / "run")
    assert "step 4: since the last log 1 steps were left out" in caplog.text
    assert caplog.text.count("left out") == 1
    three, four, five = (_state(tmp_path / "run" / f"checkpoint-{n}") for n in (3, 4, 5))
    assert_same(three, four)
    assert any(not torch.equal(four[name], five[name]) for name in four)
    assert all(torch.isfinite(each).all() for each in weights(whole.encoder).values())


def _state(checkpoint: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    state = load_file(checkpoint / "model.safetensors")
    optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    for number, each in optimizer.items():
        state |= {f"{number}.{name}": value for name, value in each.items() if value is not None}
    return state


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("how", ["fused", "compiled", "plain"])
def test_an_optimizer_leaves_a_step_out_and_goes_on(how, bad):
    """Without a wait where it is fused or compiled: what follows is what would have been."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.1, fused=how == "fused")
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    if how == "compiled":
        compile_update(optimizer, backend="eager")
    for found in (1.0, bad, 1.0, 2.0):
        weight.grad = torch.tensor([1.0, found, 1.0])
        norm = clip([weight.grad], float("inf"))
        before = weight.detach().clone()
        left_out = leave_out_unless_finite(optimizer, norm)
        optimizer.step()
        rates.step()
        stays = not math.isfinite(found)
        assert bool(left_out) == torch.equal(before, weight) == stays
        assert weight.isfinite().all()
        assert all(each.isfinite().all() for each in optimizer.state[weight].values())
    steps = optimizer.state[weight]["step"]
    assert steps == (4 if how == "compiled" else 3)
