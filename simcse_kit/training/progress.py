"""What a run says while it trains: a line an evaluation, and the bar on a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from transformers import (
    IntervalStrategy,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

logger = logging.getLogger(__name__)

# What an evaluation's line and the bar call the figures, in their order.
_SHOWN = {
    "eval_spearman": "dev Spearman {:.2f}",
    "eval_recall@1": "dev recall@1 {:.2f}",
    "eval_mrr": "MRR {:.2f}",
    "eval_alignment": "alignment {:.3f}",
    "eval_uniformity": "uniformity {:.3f}",
}
_POINTS = 10  # lines of a run that has no evaluations to speak of


def evaluation_line(state: TrainerState, figures: Mapping[str, float], key: str) -> str:
    """One evaluation in a line: the step, the loss since the one before, the dev figures.

    Args:
        state: of the Trainer, its best figure already that of this evaluation where it is best.
        figures: of the dev set; `key` is the one that chooses.
    """
    losses = (entry["loss"] for entry in reversed(state.log_history) if "loss" in entry)
    loss = next(losses, None)
    said = [] if loss is None else [f"loss {loss:.4g}"]
    for name, text in _SHOWN.items():
        if name in figures:
            said.append(text.format(figures[name]))
        if name == key:
            said[-1] += f" ({_best(state)})"
    return f"step {state.global_step} of {state.max_steps}: {', '.join(said)}"


def _best(state: TrainerState) -> str:
    if state.best_global_step == state.global_step:
        return "best so far"
    return f"best {state.best_metric:.2f} at step {state.best_global_step}"


class Milestones(TrainerCallback):
    """Every evaluation has a loss beside it, and the last step is always evaluated.

    A run without a dev set says its loss some ten times.
    """

    def __init__(self, has_dev: bool) -> None:
        self.has_dev = has_dev
        self._next = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        state.compute_steps(args, state.max_steps)  # a checkpoint's intervals are of its settings

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        at_end = state.global_step >= state.max_steps
        if at_end and self.has_dev and args.eval_strategy == IntervalStrategy.STEPS:
            control.should_evaluate = True
        if control.should_evaluate or at_end:
            control.should_log |= args.logging_strategy != IntervalStrategy.NO

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if self.has_dev or not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        if state.global_step >= min(self._next, state.max_steps):
            self._next = state.global_step + state.max_steps / _POINTS
            logger.info(
                "step %d of %d: loss %.4g", state.global_step, state.max_steps, logs["loss"]
            )


class QuietProgress(ProgressCallback):
    """The bar on stderr, with the last figures beside it rather than printed to stdout."""

    def __init__(self) -> None:
        super().__init__()
        self._figures: dict[str, str] = {}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if state.is_world_process_zero and self.training_bar is not None and logs:
            shown = {"loss": "loss", "eval_spearman": "dev", "eval_recall@1": "dev"}
            self._figures |= {
                name: f"{logs[key]:.4g}" for key, name in shown.items() if key in logs
            }
            self.training_bar.set_postfix(self._figures)


def above_the_bar(args: TrainingArguments) -> AbstractContextManager[None]:
    """While this is open, what is logged to a terminal is written above the bar, not through it."""
    loggers = [logging.getLogger(), logging.getLogger("simcse_kit")]
    speaking = [
        each
        for each in loggers
        if any(getattr(h, "stream", None) in (sys.stdout, sys.stderr) for h in each.handlers)
    ]
    if args.disable_tqdm or not speaking:
        return contextlib.nullcontext()
    from tqdm.contrib.logging import logging_redirect_tqdm

    return logging_redirect_tqdm(speaking)
