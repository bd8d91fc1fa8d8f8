"""By what cosines are divided, where it is no constant: over the steps, or by how hard rows are."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["linear", "cosine"]

#: τ is not learned below it: CLIP's bound, a scale of at most 100.
LEAST_LEARNED = 0.01
#: Hardness never makes a row's τ smaller than this share of it.
_LEAST_FACTOR = 0.1


def scheduled(start: float, end: float, step: int, steps: int, schedule: Schedule) -> float:
    """τ of `step` (from 0) of `steps`: `start` in the first and `end` in the last.

        linear:  start + (end − start) · x
        cosine:  end + (start − end) · (1 + cos πx) / 2      with x = step / (steps − 1)

    Source of cooling and warming τ by a cosine: Kukleva et al., Temperature Schedules (ICLR 2023).
    """
    x = min(1.0, step / max(1, steps - 1))
    share = x if schedule == "linear" else (1 - math.cos(math.pi * x)) / 2
    return start + (end - start) * share


def adapted(temperature: Tensor | float, by: Tensor, strength: float, origin: float) -> Tensor:
    """``τ · max(0.1, 1 + k · (A − A₀))``, larger where `by` is larger; no gradient through A.

    Source: Huang et al., Model-Aware Contrastive Learning (ICML 2023), without their
    reweighting. There A is the mean cosine of the batch's positives; the bound is ours.

    Args:
        temperature: τ.
        by: A, a cosine; any shape, which is the answer's.
        strength: k of at least 0; `origin`: A₀.
    """
    return temperature * (1 + strength * (by.detach() - origin)).clamp(min=_LEAST_FACTOR)


@torch.no_grad()
def hardness_of_negatives(cosines: Tensor, left_out: Tensor, temperature: Tensor | float) -> Tensor:
    """A row's mean cosine with its negatives as its gradient weighs them: ``Σ_j r_ij s_ij`` with

        r_ij = exp(s_ij / τ) / Σ_k exp(s_ik / τ)

    the relative penalty of Wang & Liu (CVPR 2021), eq. 6.

    Args:
        cosines: ``(B, C)``.
        left_out: bool ``(B, C)``, True is no negative of the row's.

    Returns:
        ``(B,)``; 0 for a row without negatives.
    """
    logits = (cosines / temperature).masked_fill(left_out, -torch.inf)
    return (logits.softmax(1).nan_to_num(0) * cosines).sum(1)
