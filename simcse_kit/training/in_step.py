"""Tells the parts of the model when a step begins and ends, and has them refreshed in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from simcse_kit.compute import PackedBatch, token_batches
from simcse_kit.encoder import evaluating
from simcse_kit.objectives import Objective
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.views import Side

#: Tokens a batch of `embed_rows`.
_TOKENS = 8192


class StepsOfParts(TrainerCallback):
    """Schedules move before a step, averages follow after it, before anything is saved.

    All of it depends on the step alone, so a resumed run goes on as if it had not stopped.

    Args:
        sets: of each data set, what gives float32 ``(N, D)`` for numbers of rows, as `encode` does,
            for objectives that look at the whole data every so many steps; and how many rows.
    """

    def __init__(
        self,
        model: ContrastiveModel,
        sets: Sequence[tuple[Callable[[np.ndarray], np.ndarray], int]],
    ) -> None:
        self.model = model
        self.sets = sets

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        step = state.global_step
        for goal, (embed, rows) in zip(self.model.goals, self.sets, strict=True):
            for objective in goal.objectives():
                if objective.REFRESHES and _is_due(objective, step):
                    chosen = _some(rows, objective.sample, args.seed, step)
                    objective.refresh(embed(chosen), chosen)
        self.model.begin_step(step, state.max_steps)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.model.after_step(state.global_step)


def _is_due(objective: Objective, step: int) -> bool:
    since = step - objective.first_refresh
    return since >= 0 and since % objective.refresh_every == 0


def _some(rows: int, sample: int, seed: int, step: int) -> np.ndarray:
    """Numbers of so many rows at most, in order; others at other steps."""
    if rows <= sample:
        return np.arange(rows)
    return np.sort(np.random.default_rng([seed, step]).choice(rows, sample, replace=False))


def embed_rows(model: ContrastiveModel, collator: ViewCollator, rows: np.ndarray) -> np.ndarray:
    """The anchors' texts of some rows as the objective sees them, without dropout or views.

    Args:
        rows: int64 ``(N,)``, numbers of those that are trained on.

    Returns:
        float32 ``(N, D)``, the same on every rank.
    """
    store, encoder = collator.store, model.encoder
    texts = collator.views(rows if collator.rows is None else collator.rows[rows])[:, 0]
    made = np.empty((len(rows), 0), dtype=np.float32)
    device = encoder.device
    with (
        evaluating(model),
        torch.no_grad(),
        torch.autocast(device.type, torch.bfloat16, enabled=encoder.precision == "bf16"),
    ):
        for places in token_batches(store.lengths[texts], _TOKENS, padded=not encoder.packed):
            side = collator.templates.around(0, Side(*store.gather(texts[places])))
            batch = PackedBatch.from_flat(side.ids, side.lengths).to(device)
            h = encoder(batch)
            z = h if model.projection is None else model.projection(h)
            if not made.size:
                made = np.empty((len(rows), z.shape[-1]), dtype=np.float32)
            made[places] = z.float().cpu().numpy()
    return made
