"""Methods of every kind of part, and some of their steps by hand: in one process, or on two ranks.

A step is what the Trainer makes of it, without the Trainer: parts told when it begins and ends,
gradients (their mean over ranks, which DDP takes), and plain gradient descent, so that what differs
by rounding still differs by rounding after some steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments, set_seed

from simcse_kit.data import Rows
from simcse_kit.parts import Context
from simcse_kit.training.in_step import StepsOfParts, embed_rows
from simcse_kit.training.loading import load_to_train
from simcse_kit.training.model.building import build_model
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.rows.batches import Vectors, build_collator, pairing_of
from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.training.settings.config import TrainConfig
from training_rows import sentences

BATCH = 8  # rows of all ranks
STEPS = 4
ROWS = BATCH * STEPS

#: What the tests' own encoders become by `teacher`.
TEACHER = {"model": "TEACHER", "pooling": "mean"}

_INFO_NCE = {"name": "info_nce"}
_MOMENTUM = {"name": "momentum", "momentum": 0.8}
_BATCH_NORM = {"name": "mlp", "norm": "batch", "width": 12}

#: Kind of rows and settings, each with what the others lack.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("text", {}),
    "queue": ("text", {"keys": {**_MOMENTUM, "queue_length": 11}}),
    "keys for positives": (
        "pairs with negatives",
        {
            "keys": {**_MOMENTUM, "queue_length": 20, "positives": "momentum", "predictor": True},
            "projection": _BATCH_NORM,
        },
    ),
    "learned temperature": (
        "pairs with negatives",
        {"objective": {**_INFO_NCE, "learn_temperature": True, "hard_negative_weight": 2.0}},
    ),
    "all texts": ("text", {"objective": {**_INFO_NCE, "negatives": "all"}, "projection": "mlp"}),
    "options": (
        "pairs",
        {
            "objective": {
                **_INFO_NCE,
                "symmetric": True,
                "mixed": 0.2,
                "gaussian": 5,
                "decoupled": True,
                "margin": 5.0,
                "final_temperature": 0.3,
            }
        },
    ),
    "noise": (
        "text",
        {
            "negatives": {"name": "noise", "count": 6},
            "objective": {**_INFO_NCE, "final_temperature": 0.2},
        },
    ),
    "prototypes": (
        "text",
        {
            "auxiliaries": [
                {"name": "prototypes", "clusters": [2, 3], "refresh_every": 2, "sample": 20}
            ],
            "projection": _BATCH_NORM,
        },
    ),
    "swapped": (
        "text",
        {
            "auxiliaries": [{"name": "swapped", "prototypes": 4, "frozen_steps": 1}],
            "keys": {**_MOMENTUM, "queue_length": 10},
        },
    ),
    "whole space": (
        "text",
        {
            "objective": "align_uniform",
            "auxiliaries": [{"name": "decorrelation", "weight": 0.01}, "variance_covariance"],
            "ema_decay": 0.8,
        },
    ),
    "labels": (
        "labelled",
        {"objective": "supervised_contrastive", "auxiliaries": ["soft_nearest_neighbours"]},
    ),
    "scores": ("scored", {"objective": "cosent", "auxiliaries": ["angle", "pearson"]}),
    "matryoshka": (
        "text",
        {"matryoshka_dims": [16, 5], "head": "none", "auxiliaries": ["swapped"]},
    ),
    "views": (
        "text",
        {
            "anchor_view": {"name": "compose", "views": ["deletion", "character_noise"]},
            "positive_view": "repetition",
        },
    ),
    "cut-offs": (
        "pairs",
        {
            "anchor_view": {"name": "token_cutoff", "rate": 0.3},
            "positive_view": {"name": "feature_cutoff", "rate": 0.3},
            "keys": {**_MOMENTUM, "queue_length": 9},
        },
    ),
    "neighbours": ("text", {"pairing": {"name": "neighbour", "direction": "both"}}),
    "teachers": (
        "text",
        {
            "teachers": [TEACHER],
            "auxiliaries": [{"name": "similarity_kl", "shuffle": 0.2}, "teacher_cosine"],
        },
    ),
    "guide": (
        "pairs with negatives",
        {"guide": TEACHER, "objective": {**_INFO_NCE, "guide_margin": 0.0}},
    ),
    "adapters": (
        "text",
        {
            "lora": {"r": 2, "target_modules": ["query", "value", "dense"]},
            "keys": {**_MOMENTUM, "queue_length": 8},
            "ema_decay": 0.8,
        },
    ),
    "students": ("text", {"student_layers": [0, 2], "ema_decay": 0.5}),
}


def rows_of(kind: str) -> Rows:
    """32 rows, in which texts repeat."""
    texts = sentences(3 * ROWS)
    texts[20], texts[ROWS + 3] = texts[1], texts[ROWS + 17]
    if kind in ("text", "labelled"):
        labels = [str(row % 5) for row in range(ROWS)] if kind == "labelled" else None
        rows = Rows(kind, {"text": texts[:ROWS]}, labels, None, "texts", 0, 0)
        return replace(rows, documents=np.arange(ROWS) // 5)
    names = ("sentence1", "sentence2") if kind == "scored" else ("anchor", "positive", "negative")
    columns = {name: texts[n * ROWS : (n + 1) * ROWS] for n, name in enumerate(names)}
    if kind == "pairs":
        del columns["negative"]
    scores = np.arange(ROWS) % 6.0 if kind == "scored" else None
    rows_kind = "scored" if kind == "scored" else "pairs"
    return Rows(rows_kind, columns, None, scores, "pairs", 0, 0)


def settings_of(folder: Path, teacher: str, method: str, **own: Any) -> TrainConfig:
    """A method's, with `own` on top."""
    found: dict[str, Any] = {"dropout": 0.0, "pooling": "mean", "bf16": False, "use_cpu": True}
    found |= {"cache_dir": folder / "cache", "report_to": []}
    found |= METHODS[method][1] | own
    named = {**TEACHER, "model": teacher}
    for key, value in (("teachers", [named]), ("guide", named)):
        if key in found:
            found[key] = value
    return TrainConfig(**found)


def some_steps(
    encoder: str,
    settings: TrainConfig,
    kind: str,
    *,
    own: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
    wrapped: Callable[[nn.Module], nn.Module] = lambda model: model,
    change: Callable[[ContrastiveModel, ViewCollator], None] = lambda *_: None,
    steps: int = STEPS,
) -> dict[str, Tensor]:
    """Losses, figures, last gradients and all state of the model after some steps.

    Args:
        own: of a batch's rows those that this process has.
        wrapped: what DDP makes of the model.
        change: done before, to the model and what makes its batches.
    """
    set_seed(settings.seed)
    rows = rows_of(kind)
    loaded = load_to_train(encoder, settings)
    vectors = Vectors.of(rows, settings, loaded.device)
    context = Context(
        rows=len(rows),
        steps=steps,
        batch_size=BATCH,
        classes=len(set(rows.labels or ())),
        teacher_widths=() if vectors.teachers is None else vectors.teachers.widths,
        seed=settings.seed,
    )
    model = build_model(loaded, settings, context)
    pairing = pairing_of(rows, settings)
    collator = build_collator(model, rows, settings, context, vectors, pairing)
    count = len(rows) if pairing is None else len(pairing.rows())
    parts = StepsOfParts(model, [(partial(embed_rows, model, collator), count)])
    change(model, collator)
    trained = wrapped(model.train())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    precision = torch.autocast("cpu", torch.bfloat16, enabled=loaded.precision == "bf16")
    told = (TrainingArguments("none", use_cpu=True, seed=settings.seed), TrainerState())
    accumulated = settings.gradient_accumulation_steps
    losses, figures = [], []
    for step in range(steps):
        told[1].global_step, told[1].max_steps = step, steps
        parts.on_step_begin(*told, TrainerControl())
        optimizer.zero_grad()
        batch = np.arange(step * BATCH, (step + 1) * BATCH) * 3 % count
        for micro in np.split(batch, accumulated):
            with precision:
                outputs = trained(**collator(own(micro).tolist()))
            (outputs["loss"] / accumulated).backward()
            losses.append(outputs["loss"].detach())
            figures.append(outputs["figures"])
        optimizer.step()
        told[1].global_step = step + 1
        parts.on_step_end(*told, TrainerControl())
    found = dict(model.state_dict())
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    found |= {f"gradient of {name}": grad for name, grad in gradients.items()}
    found |= {"losses": torch.stack(losses), "figures": torch.stack(figures)}
    return {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in found.items()
    }


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor], apart: float) -> None:
    """Equal but for rounding, which may be a share `apart` of a tensor's largest number."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.endswith("key.bias"):
            continue  # softmax makes its gradient 0, so all there is of it is rounding
        if not value.is_floating_point():
            assert torch.equal(found[name], value), name
            continue
        scale = max(value.abs().max().item(), 1e-1)  # gradients before a batch norm are 0
        torch.testing.assert_close(
            found[name], value, atol=apart * scale, rtol=apart, msg=partial(_named, name)
        )


def _named(name: str, said: str) -> str:
    return f"{name}: {said}"
