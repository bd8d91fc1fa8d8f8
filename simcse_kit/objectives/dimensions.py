"""Columns of a batch as losses of dimensions see them."""

from __future__ import annotations

import torch
from torch import Tensor


def correlations(anchors: Tensor, positives: Tensor) -> Tensor:
    """Of each dimension of the anchors ``(B, D)`` with each of the positives', ``(D, D)``."""
    return standard_columns(anchors).T @ standard_columns(positives) / len(anchors)


def standard_columns(side: Tensor) -> Tensor:
    """Columns of ``(B, D)`` with mean 0 and standard deviation 1 over the batch; constant ones 0.

    Batch norm without its ``ε``: what is constant but for rounding counts as constant.
    """
    centred = side - side.mean(0)
    variance = centred.pow(2).mean(0)
    least = torch.finfo(side.dtype).eps ** 2 * side.pow(2).mean(0)
    return centred / torch.where(variance > least, variance, torch.inf).sqrt()
