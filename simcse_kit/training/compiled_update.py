"""The end of a training step through torch.compile: the clipped gradients and the optimizer's step.

Forward, loss and backward are compiled where the model is (`ContrastiveModel.compile_step`). What
follows them works on the same tensors in every step, so it is one graph for the norm and the
scaling, and one for the update. In inductor's mode ``reduce-overhead`` they are CUDA graphs that
read the gradients where the backward graph left them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def clip(gradients: list[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients in place to a joint L2 norm of at most `max_norm`; the norm before.

    As `torch.nn.utils.clip_grad_norm_` does; but where the norm is not finite they become 0.
    """
    norm = get_total_norm(gradients)
    torch._foreach_mul_(gradients, torch.clamp(max_norm / (norm + 1e-6), max=1.0))
    for gradient in gradients:
        gradient.nan_to_num_(0.0, 0.0, 0.0)
    return norm


def compile_update(optimizer: Optimizer, **settings: Any) -> None:
    """Make `optimizer.step` compiled, in place; its checkpoints load with and without it.

    The learning rate becomes a tensor beside the weights, which schedulers fill: a number that
    changes would be another graph each time. An optimizer that cannot be captured (it has no
    ``capturable``) is left as it is.

    Args:
        settings: of `torch.compile`.
    """
    if any("capturable" not in group for group in optimizer.param_groups):
        return
    for group in optimizer.param_groups:
        device = group["params"][0].device
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
        # the fused kernel is no operator that a compiler could join with others
        group.update(fused=False, foreach=True, capturable=True)
    compiled = torch.compile(optimizer.step, **settings)
    optimizer.step = compiled  # type: ignore[method-assign, assignment]


class CompiledUpdate(TrainerCallback):
    """Compiles clipping and the optimizer's step of a run of one process, as it begins.

    Not before, since a checkpoint's optimizer brings its options with it.

    Attributes:
        clip: as the function, compiled.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.clip: Callable[[list[Tensor], float], Tensor] = torch.compile(clip, **settings)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        compile_update(optimizer.optimizer, **self.settings)  # what accelerate wraps
