"""What each rank has of a batch, as all ranks' together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def itself(rows: Tensor) -> Tensor:
    """The rows of this rank alone."""
    return rows


def joined(given: dict[str, Any], joins: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """What is told of the rows, tensors ``(b, …)`` or several of them, of all ranks'."""
    return {
        name: tuple(map(joins, value)) if isinstance(value, list | tuple) else joins(value)
        for name, value in given.items()
    }


def projected(
    rows: Tensor,
    projection: nn.Module | None,
    joins: Callable[[Tensor], Tensor],
    *,
    by_batch: bool,
) -> Tensor:
    """Rows ``(b, …, D)`` through a projection and joined with all ranks', in either order.

    Args:
        by_batch: `norms_by_batch` of the projection, asked once: in a step to be compiled it would
            break the graph.
    """
    if projection is None:
        return joins(rows)
    if by_batch:
        rows = joins(rows)
    changed: Tensor = projection(rows.flatten(0, -2)).unflatten(0, rows.shape[:-1])
    return changed if by_batch else joins(changed)


def norms_by_batch(module: nn.Module) -> bool:
    """Whether it computes with figures of the batch, which must be the joined one."""
    return any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in module.modules())
