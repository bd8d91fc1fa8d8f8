"""Optimizer and schedule, tried before anything is written: what would fail, or do nothing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from simcse_kit.training.model.contrastive import ContrastiveModel

logger = logging.getLogger(__name__)


def rehearse(arguments: TrainingArguments, model: ContrastiveModel, steps: int) -> None:
    """Raise InputError for what would fail in the run, or do nothing in it.

    Optimizer and schedule are made as the Trainer makes them, for one number, and the schedule is
    gone through.
    """
    if arguments.fp16 and arguments.device.type == "cpu":
        raise InputError("fp16 is for a GPU; on a CPU set bf16, or leave both out")
    if arguments.eval_delay and arguments.eval_strategy == "no":
        raise InputError("eval_delay is given but there is no dev set; give --eval-data too")
    if not any(weight.requires_grad for weight in model.parameters()):
        raise InputError(
            f"every weight of {model.encoder.name!r} is frozen: nothing can be trained"
        )
    backbone = model.encoder.backbone
    if arguments.activation_checkpointing and not backbone.supports_gradient_checkpointing:
        family = backbone.config.model_type
        raise InputError(f"gradient_checkpointing: {family} models have none; leave it out")
    rates = _rates(arguments, model, steps)
    wrong = [rate for rate in rates if not 0 <= rate < 1 + 1e-6]
    if wrong:
        raise InputError(
            f"lr_scheduler_type {arguments.lr_scheduler_type.value} takes the learning rate to "
            f"{wrong[0]:.3g} times learning_rate, which is the highest there is to be; change "
            "lr_scheduler_kwargs"
        )
    if not any(rates):
        logger.warning(
            "nothing will be learned: the learning rate is 0 at every step; look at warmup_steps, "
            "of %d steps in all, and lr_scheduler_kwargs",
            steps,
        )


def _rates(arguments: TrainingArguments, model: ContrastiveModel, steps: int) -> list[float]:
    """What the schedule multiplies learning_rate by, at up to a thousand of the steps."""
    import torch
    from transformers import Trainer, get_scheduler

    with _refusing(f"optim {arguments.optim.value} cannot be used"):
        kind, how = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
        optimizer = kind([torch.nn.Parameter(torch.zeros(1))], **how)
    with _refusing(f"lr_scheduler_type {arguments.lr_scheduler_type.value} cannot be used"):
        schedule: Any = get_scheduler(
            arguments.lr_scheduler_type,
            optimizer,
            arguments.get_warmup_steps(steps),
            steps,
            arguments.lr_scheduler_kwargs,
        )
        factor = schedule.lr_lambdas[0]
        return [factor(step) for step in range(0, steps, -(-steps // 1000))]


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Libraries' complaints about what they are given, as InputError."""
    try:
        yield
    except (ValueError, TypeError, ImportError, AssertionError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what}: {reason}") from error
