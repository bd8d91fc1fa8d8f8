"""Several ranks (torchrun, accelerate launch) that train as one process on the joined batch.

Every rank gathers all ranks' embeddings and computes the whole objective on them, so that any
objective can be used and none knows of ranks; no rank needs another's gradient then, because
each passes on the part of the joint gradient that belongs to its own rows. What ranks must agree
on to stay in step (the best model, stopping) is computed on one and sent, or reduced over all.
All functions do nothing of note in a single process.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def world_size() -> int:
    """How many ranks there are; 1 where torch.distributed is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number among the ranks, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this process is rank 0, the one that writes and speaks."""
    return rank() == 0


def launched_together() -> bool:
    """Whether a launcher started this process as one of several (its environment says so)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


class _JoinRows(torch.autograd.Function):
    """All ranks' rows; backward, this rank's part of the gradient times the number of ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = _all_rows(rows)
        first = sum(len(part) for part in parts[: rank()])
        ctx.own = slice(first, first + len(rows))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every rank holds the gradient of the one joint loss L, and the parameters' is the sum
        # over ranks of ∂L/∂rows · ∂rows/∂θ. DDP makes a mean of it; the factor undoes that, here
        # and not at the loss, for the objective's own parameters get ∂L/∂θ whole on every rank.
        return gradients[0][ctx.own] * world_size()


def _all_rows(rows: Tensor) -> list[Tensor]:
    """Every rank's ``(b, …)``; b may differ from rank to rank."""
    own = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(sizes, own)
    counts = [int(size) for size in sizes]
    # ranks can only exchange tensors of one shape
    filler = [0, 0] * (rows.dim() - 1) + [0, max(counts) - len(rows)]
    padded = F.pad(rows, filler).contiguous()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return [part[:count] for part, count in zip(parts, counts, strict=True)]


def join_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks, in the order of the ranks, differentiable.

    For a loss that every rank computes on the joined rows, gradients averaged over ranks (as DDP
    averages them) equal those of one process that has all the rows; the loss is the same on every
    rank, and not multiplied by anything.

    Args:
        rows: ``(b, …)``; b may differ between ranks, the rest of the shape and the dtype not.

    Returns:
        ``(sum of all b, …)``; `rows` itself in a single process.
    """
    if world_size() == 1:
        return rows
    joined: Tensor = (
        _JoinRows.apply(rows) if rows.is_floating_point() else torch.cat(_all_rows(rows))
    )
    return joined


@torch.no_grad()
def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over ranks of a tensor of one shape, without gradient, the same bits on each."""
    if world_size() > 1:
        values = values.detach().clone()
        dist.all_reduce(values)
    return values


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean over ranks of a floating tensor, without gradient, the same bits on each."""
    return sum_over_ranks(values) / world_size() if world_size() > 1 else values


def _device() -> torch.device:
    """Where a collective's tensors must lie: NCCL and its like take their own device's alone."""
    device = torch.device("cpu")
    if dist.get_backend() not in ("gloo", "mpi"):
        device = torch.accelerator.current_accelerator() or device
    return device


def any_rank(flag: bool) -> bool:
    """Whether the flag is true on any rank; all ranks wait for each other."""
    if world_size() == 1:
        return flag
    return bool(sum_over_ranks(torch.tensor(int(flag), device=_device())) > 0)


def max_over_ranks(number: int) -> int:
    """The greatest of all ranks' numbers; all ranks wait for each other."""
    if world_size() == 1:
        return number
    sent = torch.tensor(number, device=_device())
    dist.all_reduce(sent, op=dist.ReduceOp.MAX)
    return int(sent)


def wait_for_all() -> None:
    """Go on once every rank has come this far."""
    any_rank(False)


def from_main(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What rank 0 computes, on every rank; the others wait for it.

    Args:
        compute: called on rank 0 alone; its result must be JSON (floats arrive unchanged).
    """
    if world_size() == 1:
        return compute()
    sent = json.dumps(compute()).encode() if is_main() else b""
    size = sum_over_ranks(torch.tensor(len(sent), device=_device()))
    message = torch.zeros(int(size), dtype=torch.uint8, device=_device())
    if is_main():
        message.copy_(torch.frombuffer(bytearray(sent), dtype=torch.uint8))
    dist.broadcast(message, src=0)
    received: dict[str, Any] = json.loads(bytes(message.tolist()))
    return received


def leave() -> None:
    """Close the connection to the other ranks; the process must have no more to do with them.

    A process that ends without it can die of SIGABRT after all its work is done, and the launcher
    calls the whole run failed: a gloo thread frees the last collective's tensor, needs Python's
    lock for that, and Python is already shutting down (pytorch PR 179291). Not for a process
    that failed: others may wait in a collective, and NCCL would wait for them here.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def one_a_machine_first() -> Iterator[None]:
    """One rank of each machine runs the block first, the others find its results in the cache."""
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if not first:
        wait_for_all()
    yield
    if first:
        wait_for_all()
