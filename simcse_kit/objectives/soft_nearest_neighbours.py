"""Soft nearest neighbours: how surely a random neighbour is of one's own class."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from simcse_kit.objectives.contrast_terms import LEAST
from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.labelled import both_views, pairs_that_count
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def soft_nearest_neighbours(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.1,
    uncounted: Tensor | None = None,
) -> Tensor:
    """The mean, over the ``i`` that share their class with another, of

        −log( Σ_{j ≠ i, y_j = y_i} exp(−‖x_i − x_j‖² / T) / Σ_{k ≠ i} exp(−‖x_i − x_k‖² / T) )

    of unit vectors. One near neighbour of the class will do, where supervised contrast wants all:
    classes may have several clusters. With T = 2τ it is that loss's inside form less ``ln |P_i|``.

    Source: Frosst, Papernot, Hinton, Analyzing and Improving Representations with the Soft Nearest
    Neighbor Loss (ICML 2019), eq. 1.

    Args:
        embeddings: ``(N, D)``, any scale.
        labels: int ``(N,)``.
        temperature: T > 0, in squared distance.
        uncounted: bool ``(N, N)``, pairs that count on neither side.

    Returns:
        Scalar in nats, at least 0; 0 too where no class has two texts.
    """
    logits = (2 * cosines(embeddings, embeddings) - 2) / temperature
    candidates, same = pairs_that_count(labels, uncounted)
    everyone = logits.masked_fill(~candidates, LEAST).logsumexp(1)
    terms = everyone - logits.masked_fill(~same, LEAST).logsumexp(1)
    has_other = same.any(1)
    return terms.masked_fill(~has_other, 0).sum() / has_other.sum().clamp(min=1)


class SoftNearestNeighbours(Objective):
    """`soft_nearest_neighbours` of both views of every row."""

    NEEDS = frozenset({"labels"})

    class Settings(PartSettings):
        temperature: Float = Field(
            0.1, gt=0, description="T, by which squared distances are divided; twice a cosine's τ."
        )
        own_twin: bool = Field(
            False,
            description="Whether the other view of a text counts as a neighbour. It is the nearest "
            "of all, and one near neighbour will do, so little would be learnt.",
        )

    def forward(self, batch: Embedded) -> Tensor:
        embeddings, labels, uncounted = both_views(batch, self.settings.own_twin)
        return soft_nearest_neighbours(
            embeddings, labels, temperature=self.settings.temperature, uncounted=uncounted
        )
