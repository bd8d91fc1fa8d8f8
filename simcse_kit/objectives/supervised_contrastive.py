"""Supervised contrastive loss: every text of an anchor's class is its positive."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from simcse_kit.objectives.contrast_terms import LEAST
from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.labelled import both_views, pairs_that_count, without_positive
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Context, Float, PartSettings

Form = Literal["outside", "inside"]


@full_precision
def supervised_contrastive(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.05,
    form: Form = "outside",
    uncounted: Tensor | None = None,
) -> Tensor:
    """The mean, over the anchors ``i`` that have a positive, of

        outside:  −1/|P_i| Σ_{p ∈ P_i} log( exp(s_ip / τ) / Σ_{a ≠ i} exp(s_ia / τ) )
        inside:   −log( 1/|P_i| Σ_{p ∈ P_i} exp(s_ip / τ) / Σ_{a ≠ i} exp(s_ia / τ) )

    with ``s`` the cosine and ``P_i`` the others of ``i``'s class. The first, in which every
    positive counts alike, is the better one of the paper; the second is never above it.

    Source: Khosla et al., Supervised Contrastive Learning (NeurIPS 2020), eq. 2 and 3; without the
    factor τ/τ_base of their code.

    Args:
        embeddings: ``(N, D)``, any scale: all views of all rows, one below the other.
        labels: int ``(N,)``.
        temperature: τ > 0.
        uncounted: bool ``(N, N)``, pairs that are neither positives nor in the sum of all.

    Returns:
        Scalar in nats; 0 where no class has two texts. Constant embeddings give ``ln(N − 1)``.
    """
    logits = cosines(embeddings, embeddings) / temperature
    candidates, positive = pairs_that_count(labels, uncounted)
    logits = logits.masked_fill(~candidates, LEAST)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    count = positive.sum(1)
    if form == "outside":
        terms = log_share.masked_fill(~positive, 0).sum(1) / count.clamp(min=1)
    else:
        inside = log_share.masked_fill(~positive, LEAST).logsumexp(1)
        terms = inside - count.clamp(min=1).to(inside.dtype).log()
    has_positive = count > 0
    return -terms.masked_fill(~has_positive, 0).sum() / has_positive.sum().clamp(min=1)


class SupervisedContrastive(Objective):
    """`supervised_contrastive` of both views of every row: 2B anchors, each with 2B − 1 candidates.

    Wants batches with several rows a label (``batch_sampler: group_by_label``): a row whose label
    no other row of the batch has learns from its own twin alone, or nothing without `own_twin`.
    """

    NEEDS = frozenset({"labels"})
    alone: Tensor  # rows of the last batch whose label no other row of it has

    class Settings(PartSettings):
        temperature: Float = Field(0.05, gt=0, description="τ, by which the cosines are divided.")
        form: Form = Field(
            "outside",
            description="Where the mean over an anchor's positives stands: outside the logarithm, "
            "where all count alike, or inside, where the nearest counts most.",
        )
        own_twin: bool = Field(
            True,
            description="Whether the other view of a text is a positive of it. false: only other "
            "texts of its label are, and an anchor without one is left out.",
        )

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self.register_buffer("alone", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, batch: Embedded) -> Tensor:
        embeddings, labels, uncounted = both_views(batch, self.settings.own_twin)
        self.alone.copy_(without_positive(labels[: len(batch.anchors)]).sum())
        return supervised_contrastive(
            embeddings,
            labels,
            temperature=self.settings.temperature,
            form=self.settings.form,
            uncounted=uncounted,
        )

    def told(self) -> dict[str, float]:
        """Rows of the last batch that no other row of it shares a label with."""
        return {"rows_alone_in_label": float(self.alone)}
