"""InfoNCE that knows labels: texts of an anchor's class are no negatives of it."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from simcse_kit.objectives.contrast_terms import LEAST
from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings

Positives = Literal["own", "all"]


@full_precision
def label_info_nce(
    anchors: Tensor,
    candidates: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.05,
    positives: Positives = "all",
    false_negatives: Tensor | None = None,
) -> Tensor:
    """The mean over anchors ``i``, and over each one's positives ``P_i``, of

        −log( exp(s_ip / τ) / ( exp(s_ip / τ) + Σ_{n: y_n ≠ y_i} exp(s_in / τ) ) )

    with ``s_ij`` the cosine of anchor ``i`` and candidate ``j``. ``P_i`` are all candidates of the
    class, or the own one alone: then it is InfoNCE with the class masked. Positives do not compete,
    as they do in supervised contrast; to draw one of them at each step has this for its mean.

    Source: van den Oord, Li, Vinyals, Representation Learning with Contrastive Predictive Coding
    (2018), eq. 4, for each positive of a class with the negatives of other classes; in this form
    pytorch-metric-learning's ``NTXentLoss`` takes labels (there the mean is over pairs).

    Args:
        anchors, candidates: ``(B, D)``, any scale: two views of the rows.
        labels: int ``(B,)``.
        temperature: τ > 0.
        false_negatives: bool ``(B, B)``, further candidates that are no negatives of an anchor.

    Returns:
        Scalar in nats, at least 0; 0 where all texts are of one class.
    """
    logits = cosines(anchors, candidates) / temperature
    same = labels[:, None] == labels
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    negative = ~same if false_negatives is None else ~(same | false_negatives)
    against = logits.masked_fill(~negative, LEAST).logsumexp(1, keepdim=True)
    positive = own if positives == "own" else same
    terms = (torch.logaddexp(logits, against) - logits).masked_fill(~positive, 0)
    return (terms.sum(1) / positive.sum(1)).mean()


class LabelInfoNCE(Objective):
    """`label_info_nce` of labelled rows' two views."""

    NEEDS = frozenset({"labels"})

    class Settings(PartSettings):
        temperature: Float = Field(0.05, gt=0, description="τ, by which the cosines are divided.")
        positives: Positives = Field(
            "all",
            description="What an anchor is drawn to: all texts of its label, or its own other view "
            "alone, with those of its label for no negatives.",
        )

    def forward(self, batch: Embedded) -> Tensor:
        mask = batch.false_negatives
        return label_info_nce(
            batch.anchors,
            batch.positives,
            batch.needed("labels"),
            temperature=self.settings.temperature,
            positives=self.settings.positives,
            false_negatives=None if mask is None else mask[:, : len(batch.anchors)],
        )
