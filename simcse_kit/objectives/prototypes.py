"""Clusters as classes: embeddings against prototypes, and balanced codes for them."""

from __future__ import annotations

import torch
from torch import Tensor

from simcse_kit.objectives.cosines import cosines, full_precision


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
    logits = cosines(embeddings, prototypes) / concentration
    return torch.nn.functional.cross_entropy(logits, own)


def concentrations(
    distances: Tensor,
    own: Tensor,
    clusters: int,
    *,
    temperature: float = 0.05,
    smooth: float = 10.0,
) -> Tensor:
    """``φ_c = Σ_z ‖z − c‖ / ( Z log(Z + α) )``, scaled so that their mean is the temperature.

    Source: Li et al. (ICLR 2021), eq. 12. A cluster of fewer than two texts, of which nothing is
    known, takes the largest φ of the others, as in their code.

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
    return phi / phi.mean() * temperature


def sinkhorn(scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft codes of a batch that use every prototype equally: ``exp(s / ε)``, scaled.

    Columns are scaled to the sum ``B / K`` and rows to 1, in turn; the codes that SwAV predicts.

    Source: Cuturi (NeurIPS 2013); Caron et al., SwAV (NeurIPS 2020), eq. 3 to 5 and algorithm 1.

    Args:
        scores: ``(B, K)`` cosines to the prototypes.
        epsilon: ε > 0; larger ones make all codes alike.

    Returns:
        ``(B, K)``, rows that sum to 1, without gradient.
    """
    with torch.no_grad():
        log_codes = scores.detach().to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
        for _ in range(iterations):
            log_codes = log_codes - log_codes.logsumexp(0)
            log_codes = log_codes - log_codes.logsumexp(1, keepdim=True)
        return log_codes.exp()


@full_precision
def swapped_prediction(
    anchors: Tensor,
    positives: Tensor,
    prototypes: Tensor,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Tensor:
    """Each view predicts the other's Sinkhorn codes: the mean cross-entropy of both ways.

    Source: Caron et al., SwAV (NeurIPS 2020), eq. 1 and 2.

    Args:
        anchors, positives: ``(B, D)``, any scale.
        prototypes: ``(K, D)``, learnt, any scale.

    Returns:
        Scalar in nats.
    """
    scores = [cosines(side, prototypes) for side in (anchors, positives)]
    codes = [sinkhorn(each, epsilon=epsilon, iterations=iterations) for each in scores]
    found = [(each / temperature).log_softmax(1) for each in scores]
    ways = [-(codes[1 - side] * found[side]).sum(1).mean() for side in (0, 1)]
    return (ways[0] + ways[1]) / 2
