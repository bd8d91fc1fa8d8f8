"""What the rows of one data set are trained for: objectives, and what is no negative among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simcse_kit.objectives import (
    Embedded,
    Negatives,
    Objective,
    equal_text_mask,
    linked_text_mask,
)


class Goal(nn.Module):
    """The objective of a data set, what is added to it, and which of its texts belong together.

    Args:
        objective: gives a scalar for what a batch has become (`simcse_kit.objectives.Embedded`).
        auxiliaries: further objectives and their weights in the sum.
        negatives: further negatives, or None.
        matryoshka: leading numbers of the embeddings that the objective is taken on too, and the
            weight of each; empty: on all of them alone (Kusupati et al., NeurIPS 2022, eq. 1).
        weight: of the sum, where there are several data sets.
        device: of the embeddings.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        auxiliaries: Sequence[tuple[Objective, float]] = (),
        negatives: Negatives | None = None,
        matryoshka: Sequence[tuple[int, float]] = (),
        weight: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.objective = objective
        self.added = tuple(auxiliaries)
        self.auxiliaries = nn.ModuleList([each for each, _ in auxiliaries])  # for their state
        self.negatives = negatives
        self.matryoshka = tuple(matryoshka)
        self.weight = weight
        self.device = device
        self.links = torch.empty(0, dtype=torch.int64)
        self.texts = 0
        self.groups: Tensor | None = None

    def objectives(self) -> Iterator[Objective]:
        """The objective and what is added to it."""
        yield self.objective
        yield from (each for each, _ in self.added)

    def link(self, links: np.ndarray, texts: int) -> None:
        """Take no candidate for a negative that the data pair with the anchor in another row.

        Args:
            links, texts: as of `simcse_kit.data.linked_texts`: pairs of text numbers, and how many
                texts are numbered.
        """
        self.links = torch.from_numpy(links).to(self.device)
        self.texts = texts

    def group(self, groups: np.ndarray, text_ids: np.ndarray) -> None:
        """Take no candidate for a negative that is of the anchor's group.

        Args:
            groups: int64 ``(rows,)``, of rows of one text each.
            text_ids: int64 ``(rows,)``: numbers of the texts; of equal ones the last row's group
                stands for all.
        """
        table = np.zeros(int(text_ids.max()) + 1, dtype=np.int64)
        table[text_ids] = groups
        self.groups = torch.from_numpy(table).to(self.device)

    def begin_step(self, step: int, steps: int) -> None:
        """Tell the parts that optimizer step `step` (from 0) of `steps` begins."""
        for each in (*self.objectives(), self.negatives):
            if each is not None:
                each.begin_step(step, steps)

    def told(self) -> dict[str, float]:
        """What the parts have for the log."""
        return {key: value for each in self.objectives() for key, value in each.told().items()}

    def forward(self, embedded: Embedded) -> Tensor:
        """The objective on all dimensions asked for, and what is added to it: a scalar."""
        if self.negatives is not None:
            embedded = self.negatives.added_to(embedded)
        if self.matryoshka:
            parts = [
                weight * self.objective(embedded.map_embeddings(partial(_leading, width)))
                for width, weight in self.matryoshka
            ]
            loss = torch.stack(parts).sum()
        else:
            loss = self.objective(embedded)
        for auxiliary, weight in self.added:
            loss = loss + weight * auxiliary(embedded)
        return loss if self.weight == 1 else self.weight * loss

    def false_negatives(self, text_ids: Tensor | None) -> Tensor | None:
        """Candidates that the data do not mean as negatives: equal texts, and linked ones."""
        if text_ids is None:
            return None
        mask = equal_text_mask(text_ids)
        if len(self.links):
            mask |= linked_text_mask(text_ids, self.links, self.texts)
        if self.groups is not None:  # of single texts: positives are all the candidates
            mask |= self._of_group(text_ids, text_ids[:, 1])
        return mask

    def between_anchors(self, text_ids: Tensor | None) -> Tensor | None:
        """The same of other rows' anchors as candidates, where an objective asks for it."""
        if text_ids is None or not any(each.wants_between_anchors for each in self.objectives()):
            return None
        return self.of_own(text_ids, text_ids[:, 0])

    def of_own(self, text_ids: Tensor, candidates: Tensor) -> Tensor:
        """Which candidates ``(N,)`` are a row's own texts or linked with its anchor, ``(B, N)``."""
        own = (text_ids[:, :2, None] == candidates).any(1)
        if self.groups is not None:
            own = own | self._of_group(text_ids, candidates)
        if not len(self.links):
            return own
        keys = text_ids[:, :1] * self.texts + candidates
        places = torch.searchsorted(self.links, keys).clamp_(max=len(self.links) - 1)
        return own | (self.links[places] == keys)

    def _of_group(self, text_ids: Tensor, candidates: Tensor) -> Tensor:
        """Which candidates ``(N,)`` are of the anchor's group, ``(B, N)``."""
        assert self.groups is not None
        return self.groups[text_ids[:, :1]] == self.groups[candidates]


def _leading(width: int, embeddings: Tensor) -> Tensor:
    """The first numbers of ``(…, D)``, of unit length as a cut embedding is compared."""
    return F.normalize(embeddings[..., :width], dim=-1)
