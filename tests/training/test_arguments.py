"""Every field of transformers.TrainingArguments: honoured, replaced or refused; none ignored."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import transformers
from transformers import SchedulerType, TrainerCallback, TrainingArguments, get_scheduler
from transformers.training_args import OptimizerNames

import simcse_kit.training.run as running
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training import build_config, rehearsal
from simcse_kit.training.dev import ScoredPairs
from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.settings.arguments import (
    OPTIMIZERS,
    REFUSED,
    REPLACED,
    SCHEDULES_REFUSED,
    Further,
    fates,
)
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.trainer import ContrastiveTrainer
from training_rows import assert_same, config, dev_task, text_rows, weights

ROWS = 24
FATES = fates()
HONOURED = sorted(name for name, (fate, _) in FATES.items() if fate == "honoured")


def test_every_field_has_a_fate() -> None:
    theirs = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert set(FATES) == theirs, "say in training/settings/arguments.py what becomes of it"
    told = [*REPLACED, *REFUSED, *HONOURED]
    assert len(told) == len(set(told)), "one fate each"


@pytest.mark.parametrize("name", sorted([*REPLACED, *REFUSED]))
def test_what_is_not_honoured_is_refused_with_the_reason(name: str) -> None:
    default = {f.name: f.default for f in dataclasses.fields(TrainingArguments)}[name]
    for value in ("true", "no", "3", "" if default is None else str(default)):
        with pytest.raises(InputError) as caught:
            build_config(None, [f"{name}={value}"])
        assert str(caught.value).endswith(f"'{name}' cannot be set: {FATES[name][1]}")


class _Built(Exception):
    """The trainer is there."""


class Lab:
    """Runs of four steps on a tiny model, looked into."""

    trainer: ContrastiveTrainer

    def __init__(self, model: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.model, self.folder, self.patch = model, folder, patch
        self.batches: list[list[int]] = []
        self.history: list[dict[str, Any]] = []
        run, gather = running._run, ViewCollator.__call__

        def look(trainer: ContrastiveTrainer, *rest: Any) -> None:
            self.trainer = trainer
            run(trainer, *rest)

        def note(collator: ViewCollator, rows: list[int]) -> Any:
            self.batches.append(rows)
            return gather(collator, rows)

        patch.setattr(running, "_run", look)
        patch.setattr(ViewCollator, "__call__", note)
        patch.setattr(Keeper, "draw", lambda *_: None)
        self.runs = 0

    def run(self, dev: bool = False, **settings: Any) -> dict[str, torch.Tensor]:
        """The weights that come of it."""
        base = {"per_device_train_batch_size": 4, "max_steps": 4, "save_steps": None}
        self.runs += 1
        self.out = self.folder / str(self.runs)
        self.batches.clear()
        self.config = config(self.folder, **(base | settings)).for_length(1)
        result = running.train(
            self.model,
            text_rows(ROWS),
            config(self.folder, **(base | settings)),
            self.out,
            eval_data=dev_task() if dev else None,
        )
        self.history, self.steps = result.history, result.steps
        return weights(result.encoder)

    def build(self, **settings: Any) -> ContrastiveTrainer:
        """The Trainer alone, of a run that ends where it would begin to train."""
        with self.patch.context() as patched, pytest.raises(_Built):
            patched.setattr(ContrastiveTrainer, "train", Mock(side_effect=_Built))
            self.run(**settings)
        self.trainer.create_optimizer()
        return self.trainer

    def logged(self, key: str = "learning_rate") -> dict[int, float]:
        return {entry["step"]: entry[key] for entry in self.history if key in entry}

    def group(self) -> dict[str, Any]:
        groups: list[dict[str, Any]] = self.trainer.optimizer.param_groups
        return groups[0]

    def loader(self) -> Any:
        return self.trainer.get_train_dataloader()


@pytest.fixture
def lab(tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: Any) -> Lab:
    return Lab(tiny_encoder("bert"), tmp_path, monkeypatch)


PROBES: dict[str, Callable[[Lab], None]] = {}


def probe(name: str) -> Callable[[Callable[[Lab], None]], None]:
    def put(function: Callable[[Lab], None]) -> None:
        assert name not in PROBES
        PROBES[name] = function

    return put


#: Whole runs, of what the Trainer itself holds to.
DEAR = {"data_seed", "seed", "skip_memory_metrics", "max_grad_norm"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR)) for name in HONOURED],
)
def test_is_honoured(name: str, lab: Lab) -> None:
    assert set(PROBES) == set(HONOURED)
    PROBES[name](lab)


def refused(*settings: str) -> str:
    with pytest.raises(InputError) as caught:
        build_config(None, settings)
    return str(caught.value)


# -- how long and how fast


@probe("learning_rate")
def _(lab: Lab) -> None:
    lab.run(learning_rate=2e-4, lr_scheduler_type="constant")
    assert set(lab.logged().values()) == {2e-4}


@probe("num_train_epochs")
def _(lab: Lab) -> None:
    lab.run(max_steps=-1, num_train_epochs=1.5)
    assert lab.steps == 9


@probe("max_steps")
def _(lab: Lab) -> None:
    lab.run(max_steps=2)
    assert lab.steps == 2


@probe("per_device_train_batch_size")
def _(lab: Lab) -> None:
    lab.run(per_device_train_batch_size=6, max_steps=2)
    assert [len(rows) for rows in lab.batches[:2]] == [6, 6]


@probe("gradient_accumulation_steps")
def _(lab: Lab) -> None:
    lab.run(max_steps=-1, gradient_accumulation_steps=3)
    assert lab.steps == 2 and len(lab.batches) == 6


@probe("warmup_steps")
def _(lab: Lab) -> None:
    lab.run(warmup_steps=2)
    assert lab.logged() == pytest.approx({1: 0.0, 2: 5e-4, 3: 1e-3, 4: 5e-4})
    lab.run(warmup_steps=0.5)
    assert lab.logged()[2] == pytest.approx(5e-4)
    assert "has no warm-up" in refused("warmup_steps=2", "lr_scheduler_type=constant")
    assert "a whole number of steps, not 2.5" in refused("warmup_steps=2.5")
    said: list[str] = []
    lab.patch.setattr(rehearsal.logger, "warning", lambda text, *_: said.append(text))
    lab.run(max_steps=1, warmup_steps=1)
    assert said and "nothing will be learned" in said[0]


#: What the schedules that want it are given.
GIVEN: dict[str, dict[str, Any]] = {
    "cosine_with_restarts": {"num_cycles": 2},
    "polynomial": {"power": 2.0},
    "cosine_with_min_lr": {"min_lr": 1e-4},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 2},
}
SCHEDULES = [str(each.value) for each in SchedulerType]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_honoured_or_refused(lab: Lab, name: str) -> None:
    if name in SCHEDULES_REFUSED:
        assert f"{name} follows an evaluation's loss" in refused(f"lr_scheduler_type={name}")
        return
    kwargs, warmup = GIVEN.get(name), 0 if name == "constant" else 1
    lab.run(True, lr_scheduler_type=name, lr_scheduler_kwargs=kwargs, warmup_steps=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = get_scheduler(name, optimizer, warmup, 4, kwargs)
    for step, rate in lab.logged().items():
        assert rate == pytest.approx(1e-3 * schedule.lr_lambdas[0](step - 1)), step  # type: ignore[attr-defined]


@probe("lr_scheduler_type")
def _(lab: Lab) -> None:
    assert set(SCHEDULES_REFUSED) < set(SCHEDULES)


@probe("lr_scheduler_kwargs")
def _(lab: Lab) -> None:
    for settings, words in (
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr"),
        ({"lr_scheduler_kwargs": {"power": 2}}, "unexpected keyword argument 'power'"),
        (
            {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1.0}},
            "lr_end",
        ),
        (
            {
                "lr_scheduler_type": "cosine_with_min_lr",
                "lr_scheduler_kwargs": {"min_lr": 0.1},
            },
            "15.5 times learning_rate",
        ),
    ):
        with pytest.raises(InputError, match=words):
            lab.run(**settings)
        assert not lab.out.exists(), "before anything is written"
    for name in ("constant", "constant_with_warmup"):
        said = refused(f"lr_scheduler_type={name}", "lr_scheduler_kwargs={a: 1}")
        assert f"{name} takes no kwargs" in said


# -- the optimizer


@probe("optim")
def _(lab: Lab) -> None:
    assert set(OPTIMIZERS) < {each.value for each in OptimizerNames}
    for each in OptimizerNames:
        if each.value not in OPTIMIZERS:
            assert "optim must be one of adamw_torch, " in refused(f"optim={each.value}")


PACKAGES = {"adamw_8bit": "bitsandbytes", "stable_adamw": "optimi"}
PACKAGES |= {
    name: "bitsandbytes" for name in OPTIMIZERS if name.startswith(("adamw_bnb", "paged", "lion"))
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_honoured(lab: Lab, name: str) -> None:
    if name in PACKAGES and not _has(PACKAGES[name]):
        with pytest.raises(InputError, match=rf"optim {name} cannot be used: .*install"):
            lab.run(optim=name)
        assert not lab.out.exists()
        return
    start = weights(SentenceEncoder.from_pretrained(lab.model, pooling="mean", device="cpu"))
    end = lab.run(optim=name)
    wanted = {"adafactor": "Adafactor", "sgd": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop"}
    if "lion" in name:
        wanted = {name: "Lion"}
    elif name == "stable_adamw":
        wanted = {name: "StableAdamW"}
    assert type(lab.trainer.optimizer.optimizer).__name__ == wanted.get(name, "AdamW")
    assert all(not torch.equal(end[key], start[key]) for key in start if "word_embed" in key)


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


@probe("optim_args")
def _(lab: Lab) -> None:
    lab.build(optim="sgd", optim_args="momentum=0.9, nesterov=true")
    assert lab.group()["momentum"] == 0.9 and lab.group()["nesterov"] is True
    for given in ("momentun=0.9", "weight_decay=0.1", "momentum", "momentum=fast", "nesterov=2"):
        assert f"optim_args '{given}'" in refused("optim=sgd", f"optim_args={given}")
    assert "optim adamw_torch_fused takes none" in refused("optim_args=beta3=0.9")


@probe("adam_beta1")
def _(lab: Lab) -> None:
    lab.build(adam_beta1=0.8)
    assert lab.group()["betas"] == (0.8, 0.999)
    assert "optim sgd has none" in refused("optim=sgd", "adam_beta1=0.8")


@probe("adam_beta2")
def _(lab: Lab) -> None:
    lab.build(adam_beta2=0.95)
    assert lab.group()["betas"] == (0.9, 0.95)
    assert "optim adafactor has none" in refused("optim=adafactor", "adam_beta2=0.8")


@probe("adam_epsilon")
def _(lab: Lab) -> None:
    lab.build(adam_epsilon=1e-6)
    assert lab.group()["eps"] == 1e-6
    assert "optim rmsprop has none" in refused("optim=rmsprop", "adam_epsilon=1e-6")


@probe("weight_decay")
def _(lab: Lab) -> None:
    key = "backbone.encoder.layer.0.attention.self.query.weight"
    start = weights(SentenceEncoder.from_pretrained(lab.model, pooling="mean", device="cpu"))[key]
    plain = lab.run(max_steps=1)[key]
    decayed = lab.run(max_steps=1, weight_decay=0.5)[key]
    torch.testing.assert_close(decayed, plain - 1e-3 * 0.5 * start, rtol=0, atol=1e-6)


@probe("max_grad_norm")
def _(lab: Lab) -> None:
    start = weights(SentenceEncoder.from_pretrained(lab.model, pooling="mean", device="cpu"))
    own = {"optim": "sgd", "max_steps": 1, "head": "none", "learning_rate": 1.0}
    for longest in (0.01, 0.02):
        end = lab.run(max_grad_norm=longest, **own)
        moved = sum(float((end[key] - start[key]).square().sum()) for key in start) ** 0.5
        assert moved == pytest.approx(longest, rel=1e-3)
    assert lab.run(max_grad_norm=0, **own).keys() == start.keys()
    assert lab.logged("grad_norm")[1] > 0.02


# -- chance


@probe("seed")
def _(lab: Lab) -> None:
    assert_same(lab.run(seed=3), lab.run(seed=3))
    rows = list(lab.batches)
    lab.run(seed=4)
    assert lab.batches != rows


@probe("data_seed")
def _(lab: Lab) -> None:
    for settings in ({}, {"group_window": 2}):
        lab.run(**settings)
        plain = list(lab.batches)
        lab.run(data_seed=42, **settings)
        assert lab.batches == plain, "seed's own"
        lab.run(data_seed=5, **settings)
        assert lab.batches != plain


@probe("full_determinism")
def _(lab: Lab) -> None:
    seen: list[bool] = []
    for name in (
        "CUDA_LAUNCH_BLOCKING",
        "CUBLAS_WORKSPACE_CONFIG",
        "FLASH_ATTENTION_DETERMINISTIC",
    ):
        lab.patch.setenv(name, os.environ.get(name, ""))
    lab.patch.setattr(
        running.OwnDropout,
        "on_step_end",
        lambda *_, **__: seen.append(torch.are_deterministic_algorithms_enabled()),
        raising=False,
    )
    benchmark = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    try:
        lab.run(full_determinism=True, max_steps=2)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark
    assert seen == [True, True]


# -- how it computes


@probe("bf16")
def _(lab: Lab) -> None:
    seen: list[torch.dtype | None] = []
    encode = SentenceEncoder.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        on = torch.is_autocast_enabled("cpu")
        if self.training:
            seen.append(torch.get_autocast_dtype("cpu") if on else None)
        return encode(self, *args, **kwargs)

    lab.patch.setattr(SentenceEncoder, "forward", forward)
    lab.run(bf16=True, max_steps=1)
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    lab.run(bf16=False, max_steps=1)
    assert set(seen) == {None}


@probe("fp16")
def _(lab: Lab) -> None:
    with pytest.raises(InputError, match="fp16 is for a GPU"):
        lab.run(fp16=True, bf16=None)
    assert not lab.out.exists()
    arguments = TrainConfig(fp16=True, use_cpu=True).to_training_arguments(lab.folder, bf16=True)
    assert arguments.fp16 and not arguments.bf16


@probe("use_cpu")
def _(lab: Lab) -> None:
    lab.build(use_cpu=True)
    assert lab.trainer.args.device.type == "cpu" and lab.trainer.args.use_cpu


@probe("tf32")
def _(lab: Lab) -> None:
    lab.build(tf32=False)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="tf32 requires Ampere"):
            lab.run(tf32=True)
        assert not lab.out.exists()


@probe("torch_empty_cache_steps")
def _(lab: Lab) -> None:
    emptied: list[int] = []
    lab.patch.setattr(
        transformers.trainer,
        "clear_device_cache",
        lambda: emptied.append(lab.trainer.state.global_step),
    )
    lab.run(torch_empty_cache_steps=2)
    assert emptied == [0, 2]


@probe("gradient_checkpointing")
def _(lab: Lab) -> None:
    plain = lab.run()
    again = lab.run(gradient_checkpointing=True)
    for name, value in plain.items():
        torch.testing.assert_close(again[name], value, msg=name)
    assert len(_recomputed(lab)) == 3


def _recomputed(lab: Lab) -> list[torch.nn.Module]:
    layers = lab.trainer.model.encoder.backbone.encoder.layer
    return [layer for layer in layers if getattr(layer, "gradient_checkpointing", False)]


@probe("gradient_checkpointing_kwargs")
def _(lab: Lab) -> None:
    plain = lab.run()
    how = {"use_reentrant": False, "every_n_layers": 2}
    again = lab.run(gradient_checkpointing=True, gradient_checkpointing_kwargs=how)
    for name, value in plain.items():
        torch.testing.assert_close(again[name], value, msg=name)
    assert len(_recomputed(lab)) == 2
    for given, words in (
        ("{use_reentrant: true}", "use_reentrant must be false"),
        ("{preserve_rng_state: false}", "takes use_reentrant and every_n_layers, not preserve"),
        ("{every_n_layers: 0}", "a whole number from 1, not 0"),
    ):
        key = f"gradient_checkpointing_kwargs={given}"
        assert words in refused("gradient_checkpointing=true", key)
    assert "gradient_checkpointing is not true" in refused(
        "gradient_checkpointing_kwargs={use_reentrant: false}"
    )


@probe("torch_compile")
def _(lab: Lab) -> None:
    with pytest.raises(
        InputError, match="torch_compile is for a GPU"
    ):  # more: test_compiled_update
        lab.run(torch_compile=True)
    assert not lab.out.exists()


@probe("torch_compile_backend")
def _(lab: Lab) -> None:
    assert "must be one of" in refused("torch_compile=true", "torch_compile_backend=inductr")
    assert "torch_compile is not true" in refused("torch_compile_backend=eager")


@probe("torch_compile_mode")
def _(lab: Lab) -> None:
    assert "must be one of" in refused("torch_compile=true", "torch_compile_mode=fast")
    assert "torch_compile is not true" in refused("torch_compile_mode=max-autotune")


# -- batches


@probe("dataloader_num_workers")
def _(lab: Lab) -> None:
    plain = lab.run()
    assert_same(lab.run(dataloader_num_workers=2), plain)
    assert lab.loader().num_workers == 2


@probe("dataloader_pin_memory")
def _(lab: Lab) -> None:
    lab.build(use_cpu=False)
    assert lab.loader().pin_memory is torch.cuda.is_available() or not lab.trainer.args.use_cpu
    arguments = TrainConfig(dataloader_pin_memory=False).to_training_arguments(lab.folder)
    assert arguments.dataloader_pin_memory is False


@probe("dataloader_prefetch_factor")
def _(lab: Lab) -> None:
    lab.run(dataloader_num_workers=1, dataloader_prefetch_factor=3, max_steps=1)
    assert lab.loader().prefetch_factor == 3
    assert "there are no workers" in refused("dataloader_prefetch_factor=3")


@probe("dataloader_multiprocessing_context")
def _(lab: Lab) -> None:
    plain = lab.run(max_steps=1)
    own = {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "fork"}
    assert_same(lab.run(max_steps=1, **own), plain)
    assert lab.loader().multiprocessing_context.get_start_method() == "fork"
    assert "there are no workers" in refused("dataloader_multiprocessing_context=spawn")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["spawn", "forkserver"])
def test_workers_of_an_interpreter_of_their_own(lab: Lab, how: str) -> None:
    plain = lab.run()
    lab.patch.undo()  # they would not find what is patched here
    own = {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": how}
    settings = {"per_device_train_batch_size": 4, "max_steps": 4, "save_steps": None}
    result = running.train(
        lab.model, text_rows(ROWS), config(lab.folder, **(settings | own)), lab.folder / how
    )
    assert_same(weights(result.encoder), plain)


# -- judged, logged, kept


@probe("eval_steps")
def _(lab: Lab) -> None:
    lab.run(True, eval_steps=3)
    assert list(lab.logged("eval_spearman")) == [0, 3, 4]


@probe("eval_delay")
def _(lab: Lab) -> None:
    lab.run(True, eval_steps=1, eval_delay=3)
    assert list(lab.logged("eval_spearman")) == [0, 3, 4]
    with pytest.raises(InputError, match="there is no dev set"):
        lab.run(eval_delay=3)
    assert not lab.out.exists()
    # evaluations that were not made are none without a new best
    scores = iter([50.0, 40.0, 30.0, 20.0, 10.0])
    lab.patch.setattr(ScoredPairs, "score", lambda *_: {"eval_spearman": next(scores)})
    lab.patch.setattr(ScoredPairs, "table", lambda *_: "")
    lab.run(True, max_steps=12, eval_steps=1, eval_delay=6, early_stopping_patience=2)
    assert list(lab.logged("eval_spearman")) == [0, 6, 7]


@probe("logging_steps")
def _(lab: Lab) -> None:
    lab.run(logging_steps=3)
    assert list(lab.logged("loss")) == [1, 3, 4]
    assert "logging_strategy is another" in refused("logging_steps=3", "logging_strategy=epoch")


@probe("logging_first_step")
def _(lab: Lab) -> None:
    lab.run(logging_steps=3, logging_first_step=False)
    assert list(lab.logged("loss")) == [3, 4]


@probe("logging_strategy")
def _(lab: Lab) -> None:
    own = {"max_steps": 12, "logging_steps": 25, "logging_first_step": False}
    lab.run(logging_strategy="epoch", **own)
    assert list(lab.logged("loss")) == [6, 12]
    lab.run(logging_strategy="no", **own)
    assert list(lab.logged("loss")) == []
    assert not lab.trainer._told, "and nothing is kept for it"
    assert build_config(None, ["logging_strategy=no"]).logging_strategy == "no"


@probe("log_level")
def _(lab: Lab) -> None:
    before = transformers.logging.get_verbosity()
    try:
        lab.run(log_level="error", max_steps=1)
        assert transformers.logging.get_verbosity() == transformers.logging.ERROR
    finally:
        transformers.logging.set_verbosity(before)


@probe("log_level_replica")
def _(lab: Lab) -> None:
    arguments = TrainConfig(log_level_replica="error").to_training_arguments(lab.folder)
    lab.patch.setattr(TrainingArguments, "should_log", False)
    assert arguments.get_process_log_level() == transformers.logging.ERROR


@probe("disable_tqdm")
def _(lab: Lab) -> None:
    for off in (True, False):
        lab.build(disable_tqdm=off)
        bars = [c for c in lab.trainer.callback_handler.callbacks if "Progress" in type(c).__name__]
        assert bool(bars) is not off


@probe("skip_memory_metrics")
def _(lab: Lab) -> None:
    lab.run(max_steps=1, skip_memory_metrics=False)
    assert lab.logged("train_mem_cpu_peaked_delta")
    lab.run(max_steps=1)
    assert not lab.logged("train_mem_cpu_peaked_delta")


@probe("save_steps")
def _(lab: Lab) -> None:
    lab.run(save_steps=1, save_total_limit=None)
    assert len([*lab.out.glob("checkpoint-*")]) == 4


@probe("save_total_limit")
def _(lab: Lab) -> None:
    lab.run(save_steps=1, save_total_limit=2)
    assert sorted(path.name for path in lab.out.glob("checkpoint-*")) == [
        "checkpoint-3",
        "checkpoint-4",
    ]


@probe("report_to")
def _(lab: Lab) -> None:
    lab.run(max_steps=1)
    assert not (lab.out / "tensorboard").exists()
    lab.run(max_steps=1, report_to=["tensorboard"])
    assert [*(lab.out / "tensorboard").rglob("events*")]
    assert "must be one of none, all" in refused("report_to=tensorbord")


class FakeTracker(TrainerCallback):
    """What a tracker is told."""

    told: dict[str, Any] = {}  # noqa: RUF012

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        names = ("run_name", "project", "trackio_space_id")
        self.told.update({name: getattr(args, name) for name in names})


def _tracked(lab: Lab, **settings: str) -> dict[str, Any]:
    from transformers.integrations import integration_utils

    lab.patch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", FakeTracker)
    for place in (transformers.integrations, integration_utils):
        lab.patch.setattr(place, "get_available_reporting_integrations", lambda: ["trackio"])
    lab.run(max_steps=1, report_to=["trackio"], **settings)
    return FakeTracker.told


@probe("run_name")
def _(lab: Lab) -> None:
    assert _tracked(lab, run_name="mine")["run_name"] == "mine"
    lab.run(max_steps=1, report_to=["tensorboard"], run_name="../a/b")
    assert [*(lab.out / "tensorboard" / "__a_b").glob("events*")]
    assert "report_to names no tracker that names runs" in refused("run_name=mine", "report_to=")


@probe("project")
def _(lab: Lab) -> None:
    assert _tracked(lab, project="ours")["project"] == "ours"
    assert "report_to does not name trackio" in refused("project=ours")


@probe("trackio_space_id")
def _(lab: Lab) -> None:
    assert _tracked(lab, trackio_space_id="me/it")["trackio_space_id"] == "me/it"
    assert "report_to does not name trackio" in refused("trackio_space_id=me/it")


# -- the hub


def _pushed(lab: Lab, **settings: Any) -> dict[str, Any]:
    told: dict[str, Any] = {}

    def push(encoder: SentenceEncoder, name: str, **how: Any) -> None:
        told.update(how, name=name)

    lab.patch.setattr(SentenceEncoder, "push_to_hub", push)
    lab.run(max_steps=1, push_to_hub=True, **settings)
    return told


@probe("push_to_hub")
def _(lab: Lab) -> None:
    assert _pushed(lab)["name"] == lab.out.name


def test_what_is_uploaded_is_written_as_the_folder_is(tiny_encoder, tmp_path, monkeypatch):
    """In the layout that was asked for, with whole weights where adapters are merged."""

    def upload(save: Any, name: str, **_: Any) -> str:
        save(tmp_path / "uploaded")
        return name

    monkeypatch.setattr("simcse_kit.encoder.upload.upload", upload)
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    settings = {"layout": "legacy", "lora": {"r": 2}, "merge_adapters": True, "push_to_hub": True}
    own = config(tmp_path, max_steps=1, **settings)
    running.train(tiny_encoder("bert"), text_rows(), own, tmp_path / "run")
    uploaded = {path.relative_to(tmp_path / "uploaded") for path in tmp_path.rglob("uploaded/**/*")}
    assert {Path("model.safetensors"), Path("1_Pooling/config.json")} <= uploaded
    for path in uploaded:
        there, here = tmp_path / "run" / path, tmp_path / "uploaded" / path
        assert here.is_dir() or here.read_bytes() == there.read_bytes(), path


@probe("hub_model_id")
def _(lab: Lab) -> None:
    assert _pushed(lab, hub_model_id="me/it")["name"] == "me/it"
    assert "push_to_hub is not true" in refused("hub_model_id=me/it")


@probe("hub_private_repo")
def _(lab: Lab) -> None:
    found = [_pushed(lab, hub_private_repo=each)["private"] for each in (None, True, False)]
    assert found == [True, True, False]
    assert "push_to_hub is not true" in refused("hub_private_repo=false")


# -- several ranks: what torch is told; test_distributed runs them


def _told_ranks(lab: Lab, **settings: Any) -> ContrastiveTrainer:
    return lab.build(**settings)


@probe("ddp_backend")
def _(lab: Lab) -> None:
    assert _told_ranks(lab, ddp_backend="gloo").args.ddp_backend is None, "one process has none"
    told: dict[str, Any] = {}
    lab.patch.setenv("WORLD_SIZE", "2")
    lab.patch.setattr(TrainingArguments, "__init__", lambda _, **given: told.update(given))
    TrainConfig(ddp_backend="gloo").to_training_arguments(lab.folder)
    assert told["ddp_backend"] == "gloo"
    assert "must be one of" in refused("ddp_backend=glo")


@probe("ddp_timeout")
def _(lab: Lab) -> None:
    assert _told_ranks(lab, ddp_timeout=60).args.ddp_timeout_delta.total_seconds() == 60


@probe("ddp_find_unused_parameters")
def _(lab: Lab) -> None:
    for each in (True, False):
        trainer = _told_ranks(lab, ddp_find_unused_parameters=each)
        assert trainer.accelerator.ddp_handler.find_unused_parameters is each


@probe("ddp_bucket_cap_mb")
def _(lab: Lab) -> None:
    assert _told_ranks(lab, ddp_bucket_cap_mb=7).accelerator.ddp_handler.bucket_cap_mb == 7


@probe("ddp_broadcast_buffers")
def _(lab: Lab) -> None:
    trainer = _told_ranks(lab, ddp_broadcast_buffers=False)
    assert trainer.accelerator.ddp_handler.broadcast_buffers is False


# -- what is not said by settings


def test_how_accelerate_was_set_up_does_not_decide(lab: Lab) -> None:
    lab.patch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    own = lab.run(bf16=False)
    assert lab.trainer.accelerator.mixed_precision == "no"
    lab.patch.delenv("ACCELERATE_MIXED_PRECISION")
    assert_same(own, lab.run(bf16=False))


@pytest.mark.parametrize("what", ["FSDP", "DEEPSPEED", "PARALLELISM_CONFIG"])
def test_a_launcher_that_shards_is_refused(lab: Lab, what: str) -> None:
    lab.patch.setenv(f"ACCELERATE_USE_{what}", "true")
    with pytest.raises(InputError, match="every rank holds the whole model here"):
        lab.run()
    assert not lab.out.exists()


def test_a_launcher_that_compiles_is_refused(lab: Lab) -> None:
    lab.patch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    with pytest.raises(InputError, match="torch_compile=true is how"):
        lab.run()
    lab.patch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
    lab.run(max_steps=1)


def test_an_encoder_of_frozen_weights_is_refused(lab: Lab) -> None:
    encoder = SentenceEncoder.from_pretrained(lab.model, pooling="mean", device="cpu")
    own = config(lab.folder, max_steps=1, head="none")
    with pytest.raises(InputError, match="is frozen: nothing can be trained"):
        running.train(encoder.requires_grad_(False), text_rows(ROWS), own, lab.folder / "frozen")
    assert not (lab.folder / "frozen").exists()


def test_what_a_run_writes_down_is_a_recipe(lab: Lab) -> None:
    lab.run(max_steps=1, report_to=["tensorboard"], run_name="010", lr_scheduler_type="cosine")
    again = build_config(str(lab.out / "train_config.yaml"))
    assert (again.run_name, again.lr_scheduler_type, again.learning_rate) == ("010", "cosine", 1e-3)
    assert again.model_dump(exclude={"cache_dir"}) == lab.config.model_dump(exclude={"cache_dir"})


def test_a_further_setting_has_their_default() -> None:
    """But for what this kit has always set otherwise."""
    theirs = {field.name: field for field in dataclasses.fields(TrainingArguments)}
    ours = {"logging_first_step", "ddp_find_unused_parameters"}
    for name, field in Further.model_fields.items():
        if name not in ours:
            assert field.default == theirs[name].default, name
