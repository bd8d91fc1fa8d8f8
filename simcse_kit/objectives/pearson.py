"""Pearson's correlation of cosines and grades as a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosent import check_ranked
from simcse_kit.objectives.cosines import full_precision, paired_cosines
from simcse_kit.objectives.objective import Embedded, Objective


@full_precision
def pearson(left: Tensor, right: Tensor, scores: Tensor) -> Tensor:
    """``1 − r`` of the pairs' cosines and scores, r being Pearson's correlation over the batch.

    Args:
        left, right: ``(B, D)``, B ≥ 2, any scale.
        scores: ``(B,)``; where all are equal, or all cosines, r is 0.

    Returns:
        Scalar in [0, 2].
    """
    found, wanted = (each - each.mean() for each in (paired_cosines(left, right), scores))
    return 1 - F.cosine_similarity(found, wanted, dim=0, eps=1e-12)


class Pearson(Objective):
    """`pearson` of graded pairs."""

    NEEDS = frozenset({"scores"})
    LEAST_ROWS = 3  # two pairs correlate with 1 or -1

    @classmethod
    def check_data(cls, settings: Any, known: Mapping[str, np.ndarray]) -> None:
        """Raise InputError where all scores are equal."""
        check_ranked("pearson", known["scores"])

    def forward(self, batch: Embedded) -> Tensor:
        return pearson(batch.anchors, batch.positives, batch.needed("scores"))
