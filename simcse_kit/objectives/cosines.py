"""Cosines as every objective takes them: in fp32 whatever the encoder computed in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional as F

_P = ParamSpec("_P")


def full_precision(loss: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """Compute `loss` outside autocast, its floating-point tensors in fp32 (float64 stays)."""

    @wraps(loss)
    def computed(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        with torch.autocast(given[0].device.type, enabled=False):
            wide = {key: widened(value) for key, value in kwargs.items()}
            return loss(*map(widened, args), **wide)

    return computed


def widened(value: Any) -> Any:
    """A floating-point tensor in fp32 (float64 stays); anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    return value


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Of all of `left` ``(…, N, D)`` with all of `right` ``(…, M, D)``: ``(…, N, M)``."""
    return F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).mT


def paired_cosines(left: Tensor, right: Tensor) -> Tensor:
    """Of each row of ``(…, D)`` with its partner: ``(…,)``."""
    return (F.normalize(left, dim=-1) * F.normalize(right, dim=-1)).sum(-1)
