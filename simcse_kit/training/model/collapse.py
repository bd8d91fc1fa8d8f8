"""What a training batch tells of the space, and the alarm when the space collapses.

A collapsed space maps every text to one point or one line. What is logged of it is the
participation ratio of the batch's embeddings, ``(Σλ)² / Σλ²`` over the eigenvalues λ of their
uncentred Gram matrix: the number of directions they spread over, 1 for a point or a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

#: What `batch_geometry` gives, in order.
BATCH_FIGURES = (
    "positive_cosine",
    "negative_cosine",
    "alignment",
    "uniformity",
    "participation_ratio",
)


#: Cosines computed at a time, so that a batch of thousands needs no room for all its pairs.
_AT_A_TIME = 1 << 20


@torch.no_grad()
def batch_geometry(anchors: Tensor, positives: Tensor) -> Tensor:
    """`BATCH_FIGURES` of a training batch, float32 ``(5,)`` on its device (no sync).

    Args:
        anchors: ``(B, D)`` embeddings as the objective sees them, dropout on.
        positives: ``(B, D)``.

    Alignment and uniformity as in Wang & Isola (ICML 2020) on unit vectors: the mean squared
    distance of the pairs, and ``log mean exp(-2 d²)`` over anchors ``i < j``.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        left = F.normalize(anchors.float(), dim=-1)
        right = F.normalize(positives.float(), dim=-1)
        rows = len(left)
        pairs = rows * (rows - 1)
        own = (left * right).sum(-1)
        crosses, squares, potentials = left.new_zeros(3)
        for block in left.split(max(1, _AT_A_TIME // rows)):
            crosses += (block @ right.T).sum()
            gram = (block @ left.T).clamp_(max=1.0)
            squares += gram.square().sum()
            potentials += gram.sub_(1).mul_(4).exp_().sum()
        positive = own.mean()
        negative = (crosses - own.sum()) / pairs
        potential = (potentials - rows) / pairs
        ratio = rows**2 / squares
        return torch.stack([positive, negative, 2 - 2 * positive, potential.log(), ratio])


#: Mean squared cosine of unrelated texts from which a space may have collapsed.
_COLLAPSED = 0.9
#: The same up to which it counts as healthy.
_HEALTHY = 1 / 3
#: Below so much short of 1, squared cosines are 1 and rounding.
_ROUNDING = 1e-3


class CollapseAlarm(TrainerCallback, ExportableState):
    """Tells from the steps' figures that the space has collapsed; its state is in checkpoints.

    The participation ratio of B unit vectors is B² over the sum of all B² squared cosines, of which
    B are 1. With m the mean of the others it is B / (1 + (B - 1) m). So no bound on the ratio fits
    every batch (one of two texts never exceeds 2), but one on m does: its expectation is the same
    for any B, 1 for a point or a line and 1 / D for random directions in D dimensions.

    How far m strays depends on B: two texts are one pair, whose squared cosine has a standard
    deviation of 0.35 in the plane, more than in any wider space. So a verdict looks at the mean of
    20 steps, which strays by 0.08 at most; the plane's 1/2 is five deviations below the 0.9 here.

    Encoders fresh from masked-LM training may begin at m = 0.98 and learn all the same, for they
    know a text by its positive, whose squared cosine is much nearer to 1. In a collapsed space both
    fall short of 1 by dropout's noise alone. The alarm wants less than a factor of two between
    them. Given pairs begin near it, and such encoders leave within some tens of steps at the full
    learning rate; so where a space was never healthy, more steps are looked at, after the warm-up.

    Args:
        rows: B, of the batch that the figures are of.
        patience: steps that a verdict looks at.
        patience_at_start: the same for a space that has not been healthy yet.
    """

    def __init__(self, rows: int, patience: int = 20, patience_at_start: int = 150) -> None:
        self.rows = rows
        self.patience = patience
        self.patience_at_start = max(patience, patience_at_start)
        self.warm_up = 0
        self.seen = 0
        self.was_healthy = False
        self.has_warned = False
        self.recent: list[tuple[float, float]] = []  # squared cosines a step: of others, of own

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Go on from a checkpoint's state, where there is one."""
        self.warm_up = args.get_warmup_steps(state.max_steps)
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.__dict__.update(saved["attributes"])

    def state(self) -> dict[str, Any]:
        """What the Trainer writes into a checkpoint."""
        names = ("seen", "was_healthy", "has_warned", "recent")
        return {"args": {}, "attributes": {name: getattr(self, name) for name in names}}

    def heed(self, steps: Sequence[Tensor]) -> str | None:
        """The first reason for an alarm in some more steps, or None; all of them count as seen.

        Args:
            steps: ``(batches, 1 + figures)`` each: loss and `BATCH_FIGURES` of what it accumulated.
        """
        batches = iter(torch.cat(list(steps)).tolist())  # at once: to read is to wait
        reasons = []
        for step in steps:
            own = list(islice(batches, len(step)))
            figures = [dict(zip(BATCH_FIGURES, values[1:], strict=True)) for values in own]
            reasons.append(self.check([values[0] for values in own], figures))
        return next(filter(None, reasons), None)

    def check(self, losses: Sequence[float], figures: Sequence[Mapping[str, float]]) -> str | None:
        """The reason for an alarm after one more step, or None.

        Args:
            losses, figures: of each batch that the step accumulated.
        """
        for loss in losses:
            if loss != loss or abs(loss) == float("inf"):
                return f"the loss is {loss}: lower learning_rate, or train with bf16=false"
        ratios = [each["participation_ratio"] for each in figures]
        others = fmean((self.rows / ratio - 1) / (self.rows - 1) for ratio in ratios)
        own = fmean(each["positive_cosine"] ** 2 for each in figures)
        self.recent = [*self.recent, (others, own)][-self.patience_at_start :]
        self.seen += 1
        if len(self.recent) >= self.patience:
            self.was_healthy |= fmean(m for m, _ in self.recent[-self.patience :]) <= _HEALTHY
        begins = 0 if self.was_healthy else self.warm_up
        steps = self.patience if self.was_healthy else self.patience_at_start
        if self.seen < begins + steps or not (
            _collapsed(self.recent[-steps:]) and _collapsed(self.recent[-self.patience :])
        ):
            return None
        cosine = fmean(each["negative_cosine"] for each in figures)
        return (
            f"the space has collapsed: for {steps} steps texts were about as near to others as to "
            f"their positives, and spread over {fmean(ratios):.2f} directions at last (mean cosine "
            f"of unrelated texts {cosine:.3f}); lower learning_rate, check that the texts differ, "
            "or raise temperature"
        )


def _collapsed(steps: Sequence[tuple[float, float]]) -> bool:
    others, own = (fmean(values) for values in zip(*steps, strict=True))
    return others > _COLLAPSED and 2 * (1 - own) + _ROUNDING > 1 - others
