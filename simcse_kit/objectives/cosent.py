"""CoSENT: of two graded pairs the higher graded is the nearer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from simcse_kit.errors import InputError
from simcse_kit.objectives.cosines import full_precision, paired_cosines
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def cosent(left: Tensor, right: Tensor, scores: Tensor, *, scale: float = 20.0) -> Tensor:
    """``log( 1 + Σ_{y_i > y_j} exp(λ (c_j − c_i)) )``: of two pairs the higher graded is nearer.

    Depends on the order of the scores alone, as Spearman's correlation does, so any scale will do.

    Source: Su, CoSENT (2022), https://kexue.fm/archives/8847.

    Args:
        left, right: ``(B, D)``, any scale; the pairs' two sides.
        scores: ``(B,)``.
        scale: λ, the reciprocal of a temperature.

    Returns:
        Scalar, at least 0; 0 where all scores are equal.
    """
    return ranked_by(paired_cosines(left, right), scores, scale)


def ranked_by(similarities: Tensor, scores: Tensor, scale: float) -> Tensor:
    """CoSENT of any similarities of the pairs, ``(B,)``."""
    differences = scale * (similarities - similarities[:, None])  # (i, j): s_j − s_i
    above = scores[:, None] > scores
    wanted = differences.masked_fill(~above, -torch.inf).reshape(-1)
    return torch.cat([wanted.new_zeros(1), wanted]).logsumexp(0)


def check_ranked(objective: str, scores: np.ndarray) -> None:
    """Raise InputError for scores ``(rows,)`` that rank no pair above another."""
    if len(scores) and scores.min() == scores.max():
        raise InputError(
            f"objective {objective}: all {len(scores):,} pairs have the score {scores[0]:g}, and "
            "it learns from which of two pairs has the higher one; give pairs of several scores, "
            "or train on the columns anchor and positive"
        )


class CoSENT(Objective):
    """`cosent` of graded pairs."""

    NEEDS = frozenset({"scores"})

    class Settings(PartSettings):
        scale: Float = Field(
            20.0, gt=0, description="Cosines are multiplied by it, the reciprocal of a temperature."
        )

    @classmethod
    def check_data(cls, settings: Any, known: Mapping[str, np.ndarray]) -> None:
        """Raise InputError where all scores are equal."""
        check_ranked("cosent", known["scores"])

    def forward(self, batch: Embedded) -> Tensor:
        scores = batch.needed("scores")
        return cosent(batch.anchors, batch.positives, scores, scale=self.settings.scale)
