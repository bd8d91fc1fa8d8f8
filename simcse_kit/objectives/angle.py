"""AnglE: graded pairs ranked by an angle in the complex plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.errors import InputError, key_error
from simcse_kit.objectives.cosent import check_ranked, cosent, ranked_by
from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def angle(left: Tensor, right: Tensor, scores: Tensor, *, scale: float = 20.0) -> Tensor:
    """CoSENT on AnglE's similarity, which does not flatten out near 1 and −1 as the cosine does.

    The halves of an embedding are the real and imaginary parts of complex numbers ``z`` (left) and
    ``w`` (right); the similarity is ``| Σ_k Re(z_k / w_k) + Im(z_k / w_k) |`` over the lengths'
    ratio, with the division as one of the whole vectors: ``z w* / ‖w‖²``.

    Source: Li, Li, AnglE-optimized Text Embeddings (ACL 2024), eq. 4 to 6, in the form of
    sentence-transformers' ``AnglELoss``.

    Args:
        left, right: ``(B, D)``; an odd D is filled up with a 0.
        scores: ``(B,)``.
        scale: λ.
    """
    even = (F.pad(side, (0, side.shape[-1] % 2)) for side in (left, right))
    (a, b), (c, d) = (F.normalize(side, dim=-1).chunk(2, dim=-1) for side in even)
    real, imaginary = a * c + b * d, b * c - a * d  # of unit vectors: no lengths to divide by
    return ranked_by((real.sum(-1) + imaginary.sum(-1)).abs(), scores, scale)


@full_precision
def partners_in_batch(
    left: Tensor,
    right: Tensor,
    positive: Tensor,
    *,
    scale: float = 20.0,
    same_as_partner: Tensor | None = None,
    same_side: Tensor | None = None,
) -> Tensor:
    """``−1/2B Σ_x log( exp(λ s(x, x⁺)) / Σ_{y ≠ x} exp(λ s(x, y)) )``, x of a positive pair.

    The sum below the line is over the batch's other ``2B − 1`` texts, those of pairs that are not
    positive included; divided by all ``2B``, so that a batch of few positives weighs little.

    Source: Li, Li, AnglE (ACL 2024), eq. 3, as their code computes it.

    Args:
        left, right: ``(B, D)``, any scale.
        positive: bool ``(B,)``, which pairs mean the same.
        same_as_partner: bool ``(B, B)``; True at (i, j) where ``right[j]`` is no negative of
            ``left[i]``, nor that of the other. The own partner always stays.
        same_side: bool ``(B, B)``; True where ``left[j]`` is no negative of ``left[i]``.

    Returns:
        Scalar in nats, at least 0; 0 where no pair is positive.
    """
    rows = len(left)
    texts = torch.cat([left, right])
    logits = scale * cosines(texts, texts)  # (2B, 2B)
    own = torch.arange(rows, device=logits.device)
    leave_out = torch.zeros_like(logits, dtype=torch.bool)
    if same_as_partner is not None:
        leave_out[:rows, rows:] = same_as_partner
        leave_out[rows:, :rows] = same_as_partner.T
    if same_side is not None:
        leave_out[:rows, :rows] = same_side
    partner = torch.cat([own + rows, own])
    leave_out = leave_out.scatter(1, partner[:, None], False)
    leave_out.fill_diagonal_(True)
    terms = F.cross_entropy(logits.masked_fill(leave_out, -torch.inf), partner, reduction="none")
    return terms.where(positive.repeat(2), terms.new_zeros(())).mean()


class AnglE(Objective):
    """``w_a angle + w_c cosent + w_b partners_in_batch``: `angle` alone, or the paper's sum."""

    NEEDS = frozenset({"scores"})

    class Settings(PartSettings):
        scale: Float = Field(
            20.0, gt=0, description="Similarities are multiplied by it in all three terms."
        )
        angle_weight: Float = Field(1.0, ge=0, description="Of the ranking by angles.")
        cosine_weight: Float = Field(
            0.0, ge=0, description="Of the ranking by cosines (CoSENT); 1 in the paper's sum."
        )
        in_batch_weight: Float = Field(
            0.0,
            ge=0,
            description="Of the contrast of each positive pair with the batch's other texts; 30 in "
            "the paper's sum for NLI.",
        )
        positive_score: Float = Field(
            1.0, description="The score from which on that contrast takes a pair as positive."
        )

        @model_validator(mode="after")
        def _some(self) -> Self:
            if self.angle_weight + self.cosine_weight + self.in_batch_weight == 0:
                raise key_error(
                    "angle_weight",
                    "angle_weight, cosine_weight and in_batch_weight are all 0; give one a weight",
                )
            return self

    @classmethod
    def check_data(cls, settings: Any, known: Mapping[str, np.ndarray]) -> None:
        """Raise InputError where no pair is ranked above another, or none is positive."""
        scores = known["scores"]
        if not settings.in_batch_weight:
            check_ranked("angle", scores)
            return
        least, highest = settings.positive_score, scores.max()
        if highest < least:
            raise InputError(
                f"objective angle: in_batch_weight contrasts pairs from the score {least:g} on "
                f"(positive_score), and the highest is {highest:g}; set objective.positive_score "
                "to the score from which on pairs mean the same"
            )
        if highest > least and "positive_score" not in settings.model_fields_set:
            raise InputError(
                f"objective angle: scores go up to {highest:g}, and in_batch_weight would take "
                f"every pair from {least:g} on for one of equal meaning; set "
                "objective.positive_score to the score from which on pairs mean the same"
            )

    @property
    def wants_between_anchors(self) -> bool:
        """Where the in-batch contrast counts."""
        return bool(self.settings.in_batch_weight)

    def forward(self, batch: Embedded) -> Tensor:
        given, scores = self.settings, batch.needed("scores")
        pairs = batch.anchors, batch.positives
        loss = scores.new_zeros((), dtype=torch.float32)
        if given.angle_weight:
            loss = loss + given.angle_weight * angle(*pairs, scores, scale=given.scale)
        if given.cosine_weight:
            loss = loss + given.cosine_weight * cosent(*pairs, scores, scale=given.scale)
        if given.in_batch_weight:
            masks = batch.false_negatives, batch.between_anchors
            loss = loss + given.in_batch_weight * partners_in_batch(
                *pairs,
                scores >= given.positive_score,
                scale=given.scale,
                same_as_partner=None if masks[0] is None else masks[0][:, : len(scores)],
                same_side=masks[1],
            )
        return loss
