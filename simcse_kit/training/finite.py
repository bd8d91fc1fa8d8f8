"""The length of a gradient; steps and weights that are no numbers are neither taken nor saved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from simcse_kit.compute.kernels import kernels


def norm_on_cpu(gradients: list[Tensor]) -> Tensor:
    """L2 norm of all of them together, on a CPU."""
    usual = all(each.dtype == torch.float32 and each.is_contiguous() for each in gradients)
    if usual and (ops := kernels()) is not None:
        return torch.tensor(ops.sum_of_squares(gradients)).sqrt()
    return get_total_norm(gradients)


def leave_out_unless_finite(optimizer: Any, norm: Tensor | float) -> Tensor:
    """Have the optimizer leave the coming step out where the gradient is not finite.

    The weights stay as they were, and so do the moments. Nothing waits for an accelerator: a fused
    optimizer reads there whether to do anything, as it does from a gradient scaler; one that is
    compiled has its learning rate there, which becomes 0 (its moments then age by a step, and
    `compiled_update.clip` keeps NaN from them). Any other is told by the gradients it has.

    Args:
        optimizer: as accelerate wraps it.
        norm: of all gradients together, of one value.

    Returns:
        Whether it is left out, bool ``()`` on the device.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    finite = torch.as_tensor(norm).isfinite()
    if all(group.get("fused") for group in inner.param_groups):
        inner.found_inf = (~finite).float()
    elif all(isinstance(group["lr"], Tensor) for group in inner.param_groups):
        for group in inner.param_groups:
            group["lr"].mul_(finite)
    elif not finite:
        for group in inner.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
    return ~finite


def all_finite(model: nn.Module) -> bool:
    """Whether every weight is a number."""
    with torch.no_grad():
        return bool(torch.stack([each.isfinite().all() for each in model.parameters()]).all())
