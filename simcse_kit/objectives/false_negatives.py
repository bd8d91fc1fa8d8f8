"""Which candidates of a batch are no negatives of an anchor, by their texts or a guide's vectors.

By texts, not by embeddings: dropout makes the embeddings of equal texts differ. Candidates stand in
the column order of `simcse_kit.objectives.info_nce`: the positives of all rows, then the hard
negatives of row 0, of row 1, ….
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simcse_kit.objectives.cosines import cosines, paired_cosines

#: Pairs of anchor and candidate looked up at a time: bounds memory for batches of thousands.
_AT_A_TIME = 1 << 20


def candidate_texts(text_ids: Tensor) -> Tensor:
    """The texts of all candidates, int ``(B·(1 + K),)``, of text numbers ``(B, 2 + K)``."""
    return torch.cat([text_ids[:, 1], text_ids[:, 2:].reshape(-1)])


def equal_text_mask(text_ids: Tensor) -> Tensor:
    """Candidates that read as a row's own anchor or positive, and places without a candidate.

    Args:
        text_ids: int ``(B, 2 + K)``: equal numbers for equal texts of anchor, positive and hard
            negatives; below 0 where a row has fewer hard negatives than K.

    Returns:
        bool ``(B, B·(1 + K))``; the own positive, at ``(i, i)``, is among what is True.
    """
    candidates = candidate_texts(text_ids)
    own = (text_ids[:, 0, None] == candidates) | (text_ids[:, 1, None] == candidates)
    return own | (candidates < 0)


def linked_text_mask(text_ids: Tensor, links: Tensor, texts: int) -> Tensor:
    """Candidates that some row of the data, in this batch or not, pairs with the anchor's text.

    A question with two answers stands in two rows; each answer is a positive of both, and would
    else be pushed away from the question by the other row.

    Args:
        text_ids: int64 ``(B, 2 + K)``, numbers below `texts`; what is below 0 may be True or not.
        links: int64 ``(L,)``, sorted, ``u · texts + v`` for texts ``u`` and ``v`` that a row pairs,
            both ways round (`simcse_kit.data.linked_texts`).
        texts: how many texts are numbered.

    Returns:
        bool ``(B, B·(1 + K))``. Shapes depend on those of the arguments alone, and nothing waits
        for the device.
    """
    candidates = candidate_texts(text_ids)
    at_once = max(1, _AT_A_TIME // len(candidates))
    masks = []
    for anchors in text_ids[:, 0].split(at_once):
        keys = anchors[:, None] * texts + candidates  # (b, B·(1 + K))
        places = torch.searchsorted(links, keys).clamp_(max=len(links) - 1)
        masks.append(links[places] == keys)
    return torch.cat(masks)


@dataclass(frozen=True)
class Guided:
    """What a guide model's cosines g say is no negative: any of

        g_ij > g_ii⁺ − margin             closer than the positive, less a margin (GISTEmbed)
        g_ij > g_ii⁺ − margin · |g_ii⁺|   the same, `relative`
        g_ij ≥ at_least                   simply close (DCLR)

    Sources: Solatorio, GISTEmbed (2024, arXiv:2402.16829), the relative margin as in
    sentence-transformers' GISTEmbedLoss; Zhou et al., DCLR (ACL 2022).

    Attributes:
        margin: None asks for no comparison with the positive.
        at_least: None asks for no bound.
    """

    margin: float | None = None
    relative: bool = False
    at_least: float | None = None


@torch.no_grad()
def guided_mask(anchors: Tensor, positives: Tensor, candidates: Tensor, guided: Guided) -> Tensor:
    """Candidates that the guide does not take for negatives.

    Args:
        anchors: the guide's vectors ``(B, T)``, any scale; `positives` ``(B, T)`` of the anchors'
            own, `candidates` ``(C, T)``.

    Returns:
        bool ``(B, C)``; a candidate that is the own positive may be True.
    """
    at_once = max(1, _AT_A_TIME // max(1, len(candidates)))
    masks = []
    for some, own in zip(anchors.split(at_once), positives.split(at_once), strict=True):
        close = cosines(some, candidates)  # (b, C)
        mask = torch.zeros_like(close, dtype=torch.bool)
        if guided.at_least is not None:
            mask |= close >= guided.at_least
        if guided.margin is not None:
            positive = paired_cosines(some, own)[:, None]
            margin = guided.margin * (positive.abs() if guided.relative else 1)
            mask |= close > positive - margin
        masks.append(mask)
    return torch.cat(masks)
