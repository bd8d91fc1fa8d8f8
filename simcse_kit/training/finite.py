"""Steps and weights that hold no NaN: the others are neither taken nor saved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def leave_out_unless_finite(optimizer: Any, norm: Tensor | float) -> bool:
    """Have the optimizer leave the coming step out where the gradient is not finite.

    Its moments and weights stay as they were. To know costs nothing on a CPU; on an accelerator
    the fused optimizer reads it there, as it does from a gradient scaler, and others wait for it.

    Args:
        optimizer: as accelerate wraps it.
        norm: of all gradients together, of one value.

    Returns:
        Whether it is left out, as far as is known without waiting.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    finite = torch.as_tensor(norm).isfinite()
    if finite.device.type != "cpu" and all(group.get("fused") for group in inner.param_groups):
        inner.found_inf = (~finite).float()
        return False
    if finite:
        return False
    for group in inner.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    return True


def all_finite(model: nn.Module) -> bool:
    """Whether every weight is a number."""
    with torch.no_grad():
        return bool(torch.stack([each.isfinite().all() for each in model.parameters()]).all())
