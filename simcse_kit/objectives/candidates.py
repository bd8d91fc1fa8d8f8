"""Which texts a contrastive loss compares: each direction's anchors, candidates and masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.false_negatives import Guided, guided_mask
from simcse_kit.objectives.objective import Embedded


@dataclass(frozen=True)
class Texts:
    """Some texts: unit vectors ``(N, D)``, and the guide's ``(N, T)`` of them or None."""

    unit: Tensor
    guide: Tensor | None = None

    def __len__(self) -> int:
        return len(self.unit)


@dataclass(frozen=True)
class Direction:
    """Anchors, and what each is compared with.

    Attributes:
        anchors: ``(B, D)`` unit vectors.
        candidates: ``(C, D)`` unit vectors; anchor ``i``'s positive is the ``i``-th.
        left_out: bool ``(B, C)``, True is no negative of that anchor; the own positive may be
            True or not.
        given: how many of the candidates are given hard negatives; they follow the positives.
        between_positives: an anchor's sum has its positive's cosines with the other positives, too:
            B more columns of `left_out`, behind the candidates.
    """

    anchors: Tensor
    candidates: Tensor
    left_out: Tensor
    given: int = 0
    between_positives: bool = False

    def cosines(self, anchors: Tensor, row: Tensor) -> Tensor:
        """Of some anchors ``(b, D)``, which are those of the rows ``(b,)``: as `left_out`."""
        found = anchors @ self.candidates.T
        if not self.between_positives:
            return found
        positives = self.candidates[: len(self.anchors)]
        return torch.cat([found, positives[row] @ positives.T], dim=1)


class Candidates:
    """The texts of a batch, and the directions in which they are compared.

    Args:
        batch: as the objective sees it; its embeddings of any scale.
        guided: how its guide's vectors leave candidates out, or None.
        gaussian: random directions that are candidates of every anchor.
        generator: of the CPU, where they are drawn.
    """

    def __init__(
        self,
        batch: Embedded,
        guided: Guided | None = None,
        gaussian: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        rows, width = batch.anchors.shape
        guide = None if guided is None else batch.guide
        views = [None, None] if guide is None else [guide[:, 0], guide[:, 1]]
        self.guided = guided
        self.anchors = Texts(F.normalize(batch.anchors, dim=-1), views[0])
        self.positives = Texts(F.normalize(batch.positives, dim=-1), views[1])
        empty = batch.anchors.new_zeros(0, width)
        given = empty if batch.negatives is None else batch.negatives.reshape(-1, width)
        of_given = None if guide is None else guide[:, 2:].flatten(0, 1)
        self.given = Texts(F.normalize(given, dim=-1), of_given)
        queue = empty if batch.queue is None else batch.queue.to(given.dtype)
        noise = torch.randn(gaussian, width, generator=generator).to(empty)
        self.further = Texts(F.normalize(torch.cat([queue, noise]), dim=-1))

        def mask(known: Tensor | None, columns: int) -> Tensor:
            """Of `columns`, those beyond what is known being negatives of all."""
            known = empty.new_zeros(rows, 0, dtype=torch.bool) if known is None else known
            return F.pad(known, (0, columns - known.shape[1]))

        self.own = torch.eye(rows, dtype=torch.bool, device=empty.device)
        by_text = mask(batch.false_negatives, rows + len(given))
        self.left_out = by_text[:, :rows]
        self.given_left_out = by_text[:, rows:]
        self.further_left_out = mask(batch.queue_false_negatives, len(queue) + gaussian)
        self.between_anchors = mask(batch.between_anchors, rows) | self.own
        self.between_positives = self.left_out | self.left_out.T | self.own

    def to_positives(self, same_side: bool = False) -> Direction:
        """Anchors against positives, given hard negatives and what is further: SimCSE, MoCo.

        Args:
            same_side: also anchors against anchors, and positives against positives: GISTEmbed.
        """
        columns = [
            (self.positives, self.left_out),
            (self.given, self.given_left_out),
            (self.further, self.further_left_out),
        ]
        if not same_side:
            return self._direction(self.anchors, *columns)
        direction = self._direction(self.anchors, *columns, (self.anchors, self.between_anchors))
        positives = (self.positives, self.between_positives)
        more = self._left_out(self.positives, self.anchors, positives)
        return replace(
            direction,
            left_out=torch.cat([direction.left_out, more], dim=1),
            between_positives=True,
        )

    def to_anchors(self) -> Direction:
        """Positives against anchors alone: the other direction of CLIP."""
        return self._direction(self.positives, (self.anchors, self._back()))

    def to_all(self) -> tuple[Direction, Direction]:
        """Either view of a row against every other text: NT-Xent."""
        rest = (self.given, self.given_left_out), (self.further, self.further_left_out)
        return (
            self._direction(
                self.anchors,
                (self.positives, self.left_out),
                *rest,
                (self.anchors, self.between_anchors),
            ),
            self._direction(
                self.positives,
                (self.anchors, self._back()),
                *rest,
                (self.positives, self.between_positives),
            ),
        )

    def _back(self) -> Tensor:
        """Anchors that are no negatives of a row's positive: that of a row whose text it is, or
        one that reads as its own row's."""
        return self.left_out.T | self.between_anchors

    def _direction(self, anchors: Texts, *columns: tuple[Texts, Tensor]) -> Direction:
        """Of anchors, and of candidates with their masks by text, positives first."""
        return Direction(
            anchors.unit,
            torch.cat([texts.unit for texts, _ in columns]),
            self._left_out(anchors, columns[0][0], *columns),
            sum(len(texts) for texts, _ in columns if texts is self.given),
        )

    def _left_out(self, anchors: Texts, positives: Texts, *columns: tuple[Texts, Tensor]) -> Tensor:
        """The masks by text of `columns`, and those by the guide where it has vectors."""
        by_text = torch.cat([mask for _, mask in columns], dim=1)
        if self.guided is None or anchors.guide is None or positives.guide is None:
            return by_text
        by_guide = [
            torch.zeros_like(mask)
            if texts.guide is None
            else guided_mask(anchors.guide, positives.guide, texts.guide, self.guided)
            for texts, mask in columns
        ]
        return by_text | torch.cat(by_guide, dim=1)


def mixed_negatives(direction: Direction, share: float) -> Tensor:
    """A hard negative for each anchor, between its positive and another row's:

        normalize( λ h⁺_i + (1 − λ) h⁺_j )     j = i + 1, the first row after the last

    without gradient. Rows of a batch stand in no order, so the next is one at random.

    Source: Zhang et al., MixCSE (AAAI 2022); there λ = 0.2.

    Args:
        share: λ in (0, 1).

    Returns:
        ``(B, D)`` unit vectors.
    """
    positives = direction.candidates[: len(direction.anchors)].detach()
    return F.normalize(share * positives + (1 - share) * positives.roll(-1, 0), dim=-1)
