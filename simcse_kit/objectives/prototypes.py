"""Clusters as classes: embeddings against prototypes that k-means finds in the data."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.errors import InputError, key_error
from simcse_kit.objectives.clusters import (
    even_share,
    find_clusters,
    has_collapsed,
    nearest_prototype,
    tell_collapsed,
)
from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Context, Float, Int, PartSettings


@full_precision
def prototype_contrast(
    embeddings: Tensor, prototypes: Tensor, own: Tensor, *, concentration: Tensor | float = 0.05
) -> Tensor:
    """The mean over ``i`` of ``−log( exp(s_ic / φ_c) / Σ_k exp(s_ik / φ_k) )``, c the own cluster.

    Source: Li et al., Prototypical Contrastive Learning (ICLR 2021), eq. 11 (ProtoNCE), over all
    prototypes in place of a draw of them.

    Args:
        embeddings: ``(B, D)``, any scale.
        prototypes: ``(K, D)``, any scale; detach them where they are centroids.
        own: int ``(B,)``, the cluster of each.
        concentration: φ > 0, one for all or ``(K,)``: smaller for tight clusters.

    Returns:
        Scalar in nats; equal prototypes of equal φ give ``ln K``.
    """
    return F.cross_entropy(cosines(embeddings, prototypes) / concentration, own)


def concentrations(
    distances: Tensor,
    own: Tensor,
    clusters: int,
    *,
    temperature: float = 0.05,
    smooth: float = 10.0,
) -> Tensor:
    """``φ_c = Σ_z ‖z − c‖ / ( Z log(Z + α) )``, scaled so that their mean is the temperature.

    Source: Li et al. (ICLR 2021), eq. 12, and their code: a cluster of fewer than two texts, of
    which nothing is known, takes the largest φ of the others, and what lies below the 10th or above
    the 90th percentile is taken there, so that no φ is near 0.

    Args:
        distances: ``(N,)``, of each text to its own centroid.
        own: int ``(N,)``, below `clusters`.
        smooth: α, against small clusters that seem tight by chance.

    Returns:
        ``(clusters,)``, the temperature everywhere where no cluster has two texts.
    """
    count = torch.bincount(own, minlength=clusters).to(distances.dtype)
    total = distances.new_zeros(clusters).index_add_(0, own, distances)
    known = (count > 1) & (total > 0)
    if not known.any():
        return torch.full_like(total, temperature)
    phi = total / (count * torch.log(count + smooth)).clamp(min=torch.finfo(total.dtype).tiny)
    phi = torch.where(known, phi, phi[known].max())
    low, high = torch.quantile(phi, phi.new_tensor([0.1, 0.9]))
    phi = phi.clamp(low, high)
    return phi / phi.mean() * temperature


class Prototypes(Objective):
    """`prototype_contrast` of both views with the centroids of several k-means, their mean.

    The paper has instance discrimination alone for the first 20 of 200 epochs, which is what
    `first_refresh` is for: clusters of an encoder whose vectors still share a direction hold them
    to it.

    A text is of the cluster whose centroid is nearest to the mean of its two views. Beside
    InfoNCE at weight 1 it is Prototypical Contrastive Learning; alone it is clustering without
    instance discrimination, which may collapse.
    """

    REFRESHES = True

    class Settings(PartSettings):
        clusters: tuple[Int, ...] = Field(
            (100, 250, 500),
            min_length=1,
            description="How many clusters k-means makes of the texts, of each granularity.",
        )
        temperature: Float = Field(
            0.05,
            gt=0,
            description="Mean of the clusters' concentrations φ, by which cosines are divided: a "
            "tight cluster has a smaller one.",
        )
        refresh_every: Int = Field(
            500, ge=1, description="Optimizer steps from one k-means to the next."
        )
        first_refresh: Int = Field(
            0,
            ge=0,
            description="Optimizer step before which the first k-means is made. Until then it adds "
            "nothing: the other objectives first spread the space that clusters are found in.",
        )
        sample: Int = Field(
            10_000, ge=2, description="Texts that k-means is given, drawn from the data."
        )

        @field_validator("clusters")
        @classmethod
        def _are_clusters(cls, value: tuple[int, ...]) -> tuple[int, ...]:
            if min(value) < 2:
                raise key_error("clusters", f"clusters must be of 2 or more each, not {value}")
            return value

        @model_validator(mode="after")
        def _sample_holds_them(self) -> Self:
            if self.sample < max(self.clusters):
                raise key_error(
                    "sample",
                    f"sample {self.sample} is fewer texts than {max(self.clusters)} clusters",
                )
            return self

    centroids: Tensor  # (ΣK, D) unit vectors, those of the first granularity first
    concentration: Tensor  # φ, (ΣK,)
    shares: Tensor  # of the texts in each cluster at the last refresh, (ΣK,)

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self.refresh_every, self.sample = self.settings.refresh_every, self.settings.sample
        self.first_refresh = self.settings.first_refresh
        most, rows = max(self.settings.clusters), self.context.rows
        if rows and rows < most:
            raise InputError(
                f"prototypes: clusters {most} is more than the {rows} rows of the data; give fewer"
            )
        first, steps = self.first_refresh, self.context.steps
        if first >= steps > 0:
            raise InputError(
                f"prototypes: first_refresh {first} is never reached in {steps} steps; lower it"
            )
        total = sum(self.settings.clusters)
        self.register_buffer("centroids", torch.zeros(total, self.context.width))
        self.register_buffer("concentration", torch.full((total,), self.settings.temperature))
        self.register_buffer("shares", torch.zeros(total))
        self._is_known = self._is_early = False
        self._has_warned = False

    def refresh(self, embeddings: np.ndarray, row_numbers: np.ndarray) -> None:
        """K-means for each granularity, with a warning (once) where one cluster has most texts."""
        for number, place in enumerate(self._places()):
            size = place.stop - place.start
            seed = int(np.random.SeedSequence((self.context.seed, number)).generate_state(1)[0])
            found = find_clusters(embeddings, size, seed)
            own, distances = torch.from_numpy(found.own), torch.from_numpy(found.distances)
            phi = concentrations(distances, own, size, temperature=self.settings.temperature)
            shares = np.bincount(found.own, minlength=size) / len(found.own)
            self.centroids[place].copy_(torch.from_numpy(found.centroids))
            self.concentration[place].copy_(phi)
            self.shares[place].copy_(torch.from_numpy(shares))
            if has_collapsed(shares) and not self._has_warned:
                self._has_warned = True
                tell_collapsed("prototypes", f"{len(found.own):,} texts", shares)

    def begin_step(self, step: int, steps: int) -> None:
        """Raise RuntimeError, for a trainer's author, where `refresh` was never called."""
        self._is_early = step < self.first_refresh
        if self._is_early:
            return
        if not self._is_known and not bool(self.shares.any()):
            raise RuntimeError("Prototypes.refresh has to be called before the first step")
        self._is_known = True

    def forward(self, batch: Embedded) -> Tensor:
        sides = (batch.anchors, batch.positives)
        if self._is_early:
            return 0 * (batch.anchors.sum() + batch.positives.sum())
        width = batch.anchors.shape[-1]  # fewer under Matryoshka
        views = torch.stack(sides).detach()
        terms = []
        for place in self._places():
            centroids = self.centroids[place, :width]
            own = nearest_prototype(views, centroids)
            phi = self.concentration[place]
            terms += [prototype_contrast(x, centroids, own, concentration=phi) for x in sides]
        return torch.stack(terms).mean()

    def told(self) -> dict[str, float]:
        """Of the last refresh: the largest cluster's share, and how evenly clusters are used."""
        if self._is_early:
            return {}
        shares = self.shares.cpu().numpy()
        parts = [shares[place] for place in self._places()]
        return {
            "largest_cluster": float(max(part.max() for part in parts)),
            "cluster_evenness": min(even_share(part) for part in parts),
        }

    def _places(self) -> list[slice]:
        """Where the clusters of each granularity stand in the buffers."""
        ends = np.cumsum(self.settings.clusters).tolist()
        return [
            slice(end - size, end) for end, size in zip(ends, self.settings.clusters, strict=True)
        ]
