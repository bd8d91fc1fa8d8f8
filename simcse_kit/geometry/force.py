"""Where the force of InfoNCE lies: on which of an anchor's negatives, for each temperature."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry.intervals import student_interval
from simcse_kit.geometry.negatives import check_temperature, perplexities
from simcse_kit.geometry.rows import Unmeasurable, unit_rows

if TYPE_CHECKING:
    from torch import Tensor

#: Bands of hardness: an anchor's nearest negative; beyond it up to 5 %, and up to 20 %, of its
#: negatives, rounded up; and the rest of them.
BANDS = ("hardest", "to_5_percent", "to_20_percent", "rest")
_PERCENT = (5, 20)
_FEW_BATCHES = 4  # too few means to tell their spread


@dataclass(frozen=True)
class Mean:
    """A mean over batches, with Student's interval where there are four of them or more."""

    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Force:
    """What one temperature does. Means over anchors, and then over batches.

    For an anchor with the positive's cosine s⁺ and negatives' s_j, p = softmax((s⁺, s_1, …)/τ) and
    r_j = p_j / Σ_k p_k over the negatives.

    Attributes:
        temperature: τ.
        effective_negatives: exp H(r), from 1 to the number of negatives.
        shares: Σ r_j over each of `BANDS`; together 1.
        positive: p⁺; saturation: 1 − p⁺, near 0 where the anchor has learnt what it can.
        pull: (1 − p⁺)/τ: the gradient on the positive's cosine, and on all negatives' together.
        effective_anchors: exp H of the anchors' shares of a batch's Σ (1 − p⁺).
        loss: −ln p⁺, in nats.
    """

    temperature: float
    effective_negatives: Mean
    shares: dict[str, Mean]
    positive: Mean
    saturation: Mean
    pull: Mean
    effective_anchors: Mean
    loss: Mean


@dataclass(frozen=True)
class Forces:
    """`Force` for each temperature, from the smallest on, and what all of them are of.

    Attributes:
        batches, anchors: how many batches, and anchors with a negative in all of them.
        alone: anchors without a negative, which are left out.
        negatives: mean number of an anchor's negatives.
        even: share of the negatives that are in each of `BANDS`, which a force that is spread
            evenly would have there.
        cosines: means of the "positive", the "hardest" negative and all of the "negatives", and the
            "spread" of an anchor's negatives, their standard deviation.
    """

    at: tuple[Force, ...]
    batches: int
    anchors: int
    alone: int
    negatives: float
    even: dict[str, float]
    cosines: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self)


def forces(
    batches: Iterable[tuple[Any, Any, Any]], temperatures: Sequence[float], *, level: float = 0.95
) -> Forces:
    """Where the gradient of InfoNCE lies in some batches, for each temperature.

    The gradient on the cosine of an anchor with its negative j is p_j/τ, so that of all its
    negatives j has the share r_j, the relative penalty: a softmax that a small τ gives to the
    nearest and a large one spreads over all.

    Source: Wang & Liu, Understanding the Behaviour of Contrastive Loss (CVPR 2021,
    arXiv:2012.09740), eq. 3, 4 and 6; effective numbers: Hill 1973, order 1.

    Args:
        batches: of each its anchors (B, D), its candidates (C, D), C ≥ B, the i-th that of anchor
            i, and a mask bool (B, C), True where a candidate is no negative, or None. The own
            positive may be True or not.
        temperatures: each > 0.
        level: of the intervals, which are over disjoint batches of rows.

    Raises:
        InputError: no temperature, one that is not positive, shapes that do not fit, or rows that
            have no direction; `Unmeasurable` where no anchor has a negative.
    """
    ordered = sorted({check_temperature(each) for each in temperatures})
    if not ordered:
        raise InputError("There is no temperature; give at least one.")
    found = [_of_batch(*batch, ordered) for batch in batches]
    counts = [(int(each["anchors"][0]), int(each["alone"][0])) for each in found]
    measured = [each for each, (anchors, _) in zip(found, counts, strict=True) if anchors]
    if not measured:
        raise Unmeasurable(
            "No anchor of these batches has a negative: all texts are equal, or linked with each "
            "other."
        )
    means = {name: np.stack([each[name] for each in measured]) for name in measured[0]}

    def mean(name: str, place: int) -> Mean:
        values = means[name][:, place]
        if len(values) < _FEW_BATCHES:
            return Mean(float(values.mean()), None)
        low, high = student_interval(values, level)
        return Mean(float(values.mean()), (max(0.0, low), high))  # nothing here is below 0

    at = tuple(
        Force(
            temperature,
            effective_negatives=mean("effective_negatives", place),
            shares={band: mean(band, place) for band in BANDS},
            positive=mean("positive", place),
            saturation=mean("saturation", place),
            pull=mean("pull", place),
            effective_anchors=mean("effective_anchors", place),
            loss=mean("loss", place),
        )
        for place, temperature in enumerate(ordered)
    )
    constant = {
        name: float(means[name].mean()) for name in means if name.startswith(("even", "cos"))
    }
    return Forces(
        at,
        batches=len(measured),
        anchors=sum(anchors for anchors, _ in counts),
        alone=sum(alone for _, alone in counts),
        negatives=float(means["negatives"].mean()),
        even={band: constant[f"even {band}"] for band in BANDS},
        cosines={
            name: constant[f"cosine {name}"]
            for name in ("positive", "hardest", "negatives", "spread")
        },
    )


def _of_batch(
    anchors: Any, candidates: Any, left_out: Any, temperatures: Sequence[float]
) -> dict[str, np.ndarray]:
    """Means over the anchors that have a negative, an array by name: (T,) by temperature, or (1,).

    Of a batch without such an anchor, no more than how many there are.
    """
    cosines, positive, mask = _compared(anchors, candidates, left_out)
    count = (~mask).sum(dim=1)
    some = count > 0
    numbers = {"anchors": some.sum(), "alone": (~some).sum()}
    told = {name: np.array([int(number)]) for name, number in numbers.items()}
    if not bool(some.any()):
        return told
    cosines, positive, mask, count = cosines[some], positive[some], mask[some], count[some]
    nearest_first, order = cosines.masked_fill(mask, -math.inf).sort(dim=1, descending=True)
    mask = mask.gather(1, order)
    bands = _bands(count, nearest_first.shape[1])
    told |= _constants(nearest_first.masked_fill(mask, 0.0), positive, mask, count, bands)
    rows = [_at(each, nearest_first, positive, mask, bands) for each in temperatures]
    return told | {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _compared(anchors: Any, candidates: Any, left_out: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines (B, C) in float64, those of the positives (B,), and what is no negative (B, C)."""
    import torch

    left, right = (
        unit_rows(each, name).double()
        for each, name in ((anchors, "anchors"), (candidates, "candidates"))
    )
    if left.shape[1] != right.shape[1] or len(right) < len(left):
        raise InputError(
            f"Candidates must be an array (C, D), the positive of each anchor first: with anchors "
            f"{tuple(left.shape)} not {tuple(right.shape)}."
        )
    cosines = torch.nn.functional.normalize(left) @ torch.nn.functional.normalize(right).T
    mask = torch.zeros_like(cosines, dtype=torch.bool)
    if left_out is not None:
        known = torch.as_tensor(left_out, dtype=torch.bool, device=mask.device)
        if known.shape != mask.shape:
            raise InputError(
                f"The mask must be {tuple(mask.shape)}, anchors by candidates, not "
                f"{tuple(known.shape)}."
            )
        mask |= known
    mask.fill_diagonal_(True)
    return cosines, cosines.diagonal().clone(), mask


def _bands(count: Tensor, columns: int) -> Tensor:
    """Which of `BANDS` the k-th nearest of `count` (B,) negatives is in, int (B, columns)."""
    import torch

    ends = [torch.ones_like(count)]
    for percent in _PERCENT:
        ends.append(torch.maximum(ends[-1], (count * percent + 99) // 100))  # rounded up
    places = torch.arange(columns, device=count.device)
    return torch.stack([places >= end[:, None] for end in ends]).sum(dim=0)


def _constants(
    cosines: Tensor, positive: Tensor, mask: Tensor, count: Tensor, bands: Tensor
) -> dict[str, np.ndarray]:
    """What no temperature changes, of cosines (B, C) nearest first and 0 where there is none."""
    mean = cosines.sum(dim=1) / count
    squares = ((cosines - mean[:, None]) ** 2).masked_fill(mask, 0.0).sum(dim=1)
    found = {
        "negatives": count.double(),
        "cosine positive": positive,
        "cosine hardest": cosines[:, 0],
        "cosine negatives": mean,
        "cosine spread": (squares / count).sqrt(),
    }
    for band, name in enumerate(BANDS):
        found[f"even {name}"] = ((bands == band) & ~mask).sum(dim=1) / count
    return {name: np.array([float(values.double().mean())]) for name, values in found.items()}


def _at(
    temperature: float, cosines: Tensor, positive: Tensor, mask: Tensor, bands: Tensor
) -> dict[str, float]:
    """Means over the anchors at one temperature; `cosines` (B, C) nearest first, −∞ if masked."""
    import torch

    logits, own = cosines / temperature, positive / temperature
    of_negatives = logits.logsumexp(dim=1)
    total = torch.logaddexp(own, of_negatives)
    log_shares = logits - of_negatives[:, None]
    shares = log_shares.exp()
    log_saturation = of_negatives - total
    saturation = log_saturation.exp()
    anchors = log_saturation.log_softmax(dim=0)[None]
    found = {
        "effective_negatives": perplexities(log_shares, mask),
        "positive": (own - total).exp(),
        "saturation": saturation,
        "pull": saturation / temperature,
        "effective_anchors": perplexities(anchors, torch.zeros_like(anchors, dtype=torch.bool)),
        "loss": total - own,
    }
    for band, name in enumerate(BANDS):
        found[name] = shares.masked_fill(bands != band, 0.0).sum(dim=1)
    return {name: float(values.mean()) for name, values in found.items()}
