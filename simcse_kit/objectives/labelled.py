"""Labelled rows as losses of labels see them: both views of every row, one below the other."""

from __future__ import annotations

import torch
from torch import Tensor

from simcse_kit.objectives.objective import Embedded


def both_views(batch: Embedded, own_twin: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Anchors above positives, their labels, and which pairs count on no side.

    Equal texts with different labels count on no side: nothing could tell them apart.

    Args:
        own_twin: whether the two views of a row count for each other.

    Returns:
        ``(2B, D)``; int64 ``(2B,)``; bool ``(2B, 2B)``, or None where all pairs count.
    """
    own = batch.needed("labels")
    rows = len(own)
    embeddings = torch.cat([batch.anchors, batch.positives])
    labels = own.repeat(2)
    uncounted = None
    if batch.false_negatives is not None:
        equal = batch.false_negatives[:, :rows]
        equal = equal | equal.T
        uncounted = (equal & (own[:, None] != own)).repeat(2, 2)
    if not own_twin:
        twins = torch.eye(rows, dtype=torch.bool, device=labels.device).repeat(2, 2)
        uncounted = twins if uncounted is None else uncounted | twins
    return embeddings, labels, uncounted


def pairs_that_count(labels: Tensor, uncounted: Tensor | None) -> tuple[Tensor, Tensor]:
    """Candidates of each of N texts, all but itself, and those of its label: bool ``(N, N)``."""
    candidates = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    if uncounted is not None:
        candidates &= ~uncounted
    return candidates, candidates & (labels[:, None] == labels)


def without_positive(labels: Tensor) -> Tensor:
    """Which rows of ``(N,)`` labels are the only one of their class, and so no anchors: bool."""
    return (labels[:, None] == labels).sum(1) == 1
