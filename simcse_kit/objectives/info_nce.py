"""InfoNCE, and what the field made of it: the contrast of a text's positive with its negatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from simcse_kit.errors import InputError
from simcse_kit.objectives.candidates import Candidates, Direction, mixed_negatives
from simcse_kit.objectives.contrast_terms import (
    LEAST,
    contrast,
    debiased,
    focal,
    hard_sum,
    self_paced,
    with_margin,
)
from simcse_kit.objectives.cosines import paired_cosines, widened
from simcse_kit.objectives.draws import BatchDraws
from simcse_kit.objectives.false_negatives import Guided
from simcse_kit.objectives.info_nce_settings import ContrastSettings
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.objectives.temperature import (
    LEAST_LEARNED,
    adapted,
    hardness_of_negatives,
    scheduled,
)
from simcse_kit.parts import Context

#: Logits held at a time. A larger matrix is taken by rows, each block's logits made again in the
#: backward pass: the loss is a sum over anchors, and a batch of 4096 would hold several of 67 MB.
_AT_A_TIME = 1 << 20


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.05,
    hard_negative_weight: float = 1.0,
    false_negatives: Tensor | None = None,
    queue: Tensor | None = None,
    queue_false_negatives: Tensor | None = None,
) -> Tensor:
    """The InfoNCE loss of a batch: the mean over anchors ``i`` of

        −log( exp(s_ii / τ) / ( Σ_j exp(s_ij / τ) + Σ_j Σ_k α^[j=i] exp(s⁻_ijk / τ) ) )

    with ``s`` the cosine of anchor ``i`` and positive ``j``, ``s⁻`` that of anchor ``i`` and the
    ``k``-th hard negative of row ``j``: every row's hard negatives are negatives of every anchor,
    and the weight α counts the anchor's own (``ln α`` added to its logit). A queue's keys are
    further terms of the sum, as in MoCo (He et al., CVPR 2020), eq. 1.

    Source: Gao, Yao, Chen: SimCSE (EMNLP 2021), eq. 1 (in-batch negatives, τ), eq. 5 (hard
    negatives) and the appendix on their weight α.

    Args:
        anchors: ``(B, D)``, any scale; cosines and loss are computed in fp32 (float64 stays).
        positives: ``(B, D)``; row ``i`` belongs to anchor ``i``.
        negatives: ``(B, K, D)`` or ``(B, D)`` hard negatives.
        temperature: τ > 0, a scalar.
        hard_negative_weight: α > 0.
        false_negatives: bool ``(B, B)`` or ``(B, B + B·K)``, columns as
            ``[positives, negatives of row 0, negatives of row 1, …]``; True takes a candidate out
            of an anchor's sum. The own positive always stays.
        queue: ``(Q, D)``, Q may be 0; `queue_false_negatives`: bool ``(B, Q)`` of it.

    Returns:
        Scalar loss in nats; constant embeddings give ``ln`` of the number of candidates.
    """
    dtype = torch.promote_types(anchors.dtype, torch.float32)
    rows = len(anchors)
    parts = [positives]
    if negatives is not None:
        parts.append(negatives.reshape(-1, positives.shape[-1]))
    if queue is not None:
        parts.append(queue.to(positives.dtype))
    with torch.autocast(anchors.device.type, enabled=False):
        anchors, candidates = (
            F.normalize(embeddings.to(dtype), dim=-1) for embeddings in (anchors, torch.cat(parts))
        )
        total = in_blocks(
            partial(
                _summed,
                candidates=candidates,
                given=0 if negatives is None else len(parts[1]),
                log_weight=0.0 if negatives is None else math.log(hard_negative_weight),
                rows=rows,
            ),
            len(candidates),
            anchors / temperature,
            false_negatives,
            queue_false_negatives,
        )
        return total / rows


def in_blocks(
    summed: Callable[..., Tensor], columns: int, anchors: Tensor, *by_row: Tensor | None
) -> Tensor:
    """``summed(0, anchors, *by_row)``, a sum over rows, some of them at a time.

    Args:
        summed: of the number of the first row, and of those rows of `anchors` and `by_row`.
        columns: of the matrix that `summed` makes of its rows.
    """
    rows = len(anchors)
    at_once = max(1, _AT_A_TIME // columns)
    if rows <= at_once:
        return summed(0, anchors, *by_row)
    blocks = []
    for first in range(0, rows, at_once):
        own = slice(first, first + at_once)
        some = [None if each is None else each[own] for each in by_row]
        blocks.append(checkpoint(summed, first, anchors[own], *some, use_reentrant=False))
    return reduce(torch.add, blocks)


def _summed(
    first: int,
    anchors: Tensor,
    false_negatives: Tensor | None,
    queue_false_negatives: Tensor | None,
    *,
    candidates: Tensor,
    given: int,
    log_weight: float,
    rows: int,
) -> Tensor:
    """The terms of `info_nce` summed over a block of anchors.

    Args:
        anchors: ``(b, D)`` unit vectors over τ, the rows from `first` on of a batch of `rows`.
        false_negatives: bool ``(b, rows)`` or ``(b, rows·(1 + K))``.
        queue_false_negatives: bool ``(b, Q)``.
        candidates: ``(rows·(1 + K) + Q, D)`` unit vectors, in `info_nce`'s order.
        given: ``rows·K``.
        log_weight: ``ln α``.
    """
    logits = anchors @ candidates.T  # (b, rows·(1 + K) + Q), changed in place from here on
    block = torch.arange(len(anchors), device=logits.device)
    own = block + first
    if log_weight:
        weigh_own(logits[:, rows : rows + given], own, rows, log_weight)
    if false_negatives is not None:
        mask = false_negatives.index_put((block, own), false_negatives.new_tensor(False))
        logits[:, : mask.shape[1]].masked_fill_(mask, -torch.inf)
    if queue_false_negatives is not None:
        logits[:, rows + given :].masked_fill_(queue_false_negatives, -torch.inf)
    return F.cross_entropy(logits, own, reduction="sum")


def weigh_own(given: Tensor, own: Tensor, rows: int, log_weight: float) -> None:
    """Add ``ln α`` to each row's logits of its own hard negatives, in place.

    Args:
        given: ``(b, rows·K)`` of all hard negatives, those of row 0 first.
        own: ``(b,)``, which row each is.
    """
    block = torch.arange(len(given), device=given.device)
    logits = given.unflatten(1, (rows, -1))
    logits.index_put_((block, own), given.new_tensor(log_weight), accumulate=True)


class InfoNCE(Objective):
    """`info_nce` with its settings bound, and its kin: what of it each setting changes is said
    there, and as a formula in `contrast_terms`, `candidates`, `temperature`, `false_negatives`.

    Defaults are SimCSE's. Anchors without a negative count 0, or with `decoupled` not at all.
    """

    USES = frozenset({"negatives", "queue"})
    Settings = ContrastSettings
    settings: ContrastSettings

    @classmethod
    def needs(cls, settings: ContrastSettings) -> frozenset[str]:
        guided = settings.guide_margin is not None or settings.guide_threshold is not None
        return cls.NEEDS | {"guide"} if guided else cls.NEEDS

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        own = self.settings
        self.log_scale: nn.Parameter | None = None
        if own.learn_temperature:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(own.temperature)))
        self._scheduled = own.temperature
        self._draws = BatchDraws(self.context.seed)
        self._is_plain = own.is_plain()
        self._guided: Guided | None = None
        if own.guide_margin is not None or own.guide_threshold is not None:
            self._guided = Guided(own.guide_margin, own.guide_relative, own.guide_threshold)

    def begin_step(self, step: int, steps: int) -> None:
        own = self.settings
        self._draws.begin(step)
        if own.final_temperature is not None:
            self._scheduled = scheduled(
                own.temperature, own.final_temperature, step, steps, own.temperature_schedule
            )
        if self.log_scale is not None:
            with torch.no_grad():  # as CLIP does: clamped in `forward` it would not come back
                self.log_scale.clamp_(max=-math.log(LEAST_LEARNED))

    @property
    def is_one_graph(self) -> bool:
        return self._is_plain and self.settings.final_temperature is None

    @property
    def wants_between_anchors(self) -> bool:
        own = self.settings
        return own.symmetric or own.same_side or own.negatives == "all"

    def told(self) -> dict[str, float]:
        """The temperature, where it is no constant."""
        moves = self.log_scale is not None or self.settings.final_temperature is not None
        return {"temperature": torch.as_tensor(self.temperature).item()} if moves else {}

    @property
    def temperature(self) -> float | Tensor:
        """τ as it stands at this step, before it adapts to a batch."""
        return self._scheduled if self.log_scale is None else (-self.log_scale).exp()

    def forward(self, batch: Embedded) -> Tensor:
        """The loss of a batch.

        Raises:
            InputError: a guide is asked for, and the batch has no vectors of one.
        """
        if self._guided is not None and batch.guide is None:
            raise InputError(
                "guide_margin and guide_threshold compare by a guide model's vectors, and this "
                "batch has none; name a model as guide"
            )
        own = self.settings
        with torch.autocast(batch.anchors.device.type, enabled=False):
            wide = batch.map_embeddings(widened)
            temperature = self.temperature
            if own.adaptive_temperature and own.adaptive_to == "alignment":
                alignment = paired_cosines(wide.anchors, wide.positives).mean()
                temperature = adapted(
                    temperature, alignment, own.adaptive_temperature, own.adaptive_origin
                )
            if self._is_plain:
                return info_nce(
                    wide.anchors,
                    wide.positives,
                    wide.negatives,
                    temperature=temperature,
                    hard_negative_weight=own.hard_negative_weight,
                    false_negatives=batch.false_negatives,
                    queue=wide.queue,
                    queue_false_negatives=batch.queue_false_negatives,
                )
            generator = self._draws.next() if own.gaussian else None
            candidates = Candidates(wide, self._guided, own.gaussian, generator)
            return self._mean(candidates, temperature)

    def _mean(self, candidates: Candidates, temperature: float | Tensor) -> Tensor:
        """The mean over the anchors of all directions."""
        directions = [candidates.to_positives(self.settings.same_side)]
        if self.settings.negatives == "all":
            directions = [*candidates.to_all()]
        elif self.settings.symmetric:
            directions.append(candidates.to_anchors())
        sums = [
            in_blocks(
                partial(self._summed, direction=direction, temperature=temperature),
                direction.left_out.shape[1],
                direction.anchors,
                direction.left_out,
                mixed_negatives(direction, self.settings.mixed) if self.settings.mixed else None,
            )
            for direction in directions
        ]
        total, anchors = reduce(torch.add, sums)
        return total / anchors.clamp(min=1)

    def _summed(
        self,
        first: int,
        anchors: Tensor,
        left_out: Tensor,
        mixed: Tensor | None,
        *,
        direction: Direction,
        temperature: float | Tensor,
    ) -> Tensor:
        """Loss and number of a block of anchors, ``(2,)``.

        Args:
            anchors: ``(b, D)``, the rows from `first` on; `left_out` bool ``(b, C)`` and `mixed`
                ``(b, D)`` of theirs.
            temperature: τ, a scalar.
        """
        own, rows = self.settings, len(direction.anchors)
        block = torch.arange(len(anchors), device=anchors.device)
        row = block + first
        cosines = direction.cosines(anchors, row)  # (b, C)
        positive = cosines[block, row]
        left_out = left_out.index_put((block, row), left_out.new_tensor(True))
        if own.threshold is not None:
            left_out = left_out | (cosines > own.threshold)
        if mixed is not None:  # one more column; none where the other row's text is no negative
            cosines = torch.cat([cosines, (anchors * mixed).sum(1, keepdim=True)], dim=1)
            left_out = torch.cat([left_out, left_out[block, (row + 1) % rows, None]], dim=1)
        by_row = anchors.new_ones(1) * temperature
        if own.adaptive_temperature and own.adaptive_to == "negatives":
            hard = hardness_of_negatives(cosines, left_out, temperature)
            by_row = adapted(temperature, hard, own.adaptive_temperature, own.adaptive_origin)
        if own.self_paced is not None:
            positive, cosines = self_paced(positive, cosines, own.self_paced)
        if own.margin:
            positive = with_margin(positive, own.margin)
        logits = cosines / by_row[:, None]
        if own.hard_negative_weight != 1 and direction.given:
            given = logits[:, rows : rows + direction.given]
            weigh_own(given, row, rows, math.log(own.hard_negative_weight))
        return self._of_logits(positive / by_row, logits, left_out, by_row)

    def _of_logits(
        self, positive: Tensor, logits: Tensor, left_out: Tensor, temperature: Tensor
    ) -> Tensor:
        """Loss and number of anchors, ``(2,)``.

        Args:
            positive: ``(b,)`` logits of positives; `logits` ``(b, C)`` of candidates, of which
                `left_out` are no negatives.
            temperature: what both are over, ``(1,)`` or ``(b,)``.
        """
        own = self.settings
        count = (~left_out).sum(1)
        log_sum = hard_sum(logits.masked_fill(left_out, LEAST), count, own.hardness)
        if own.debiased:
            log_sum = debiased(log_sum, positive, count, own.debiased, temperature)
        loss = contrast(log_sum, positive, decoupled=own.decoupled)
        if own.focal:
            loss = focal(loss, own.focal)
        counted = count > 0 if own.decoupled else torch.ones_like(count, dtype=torch.bool)
        return torch.stack([loss.masked_fill(~counted, 0).sum(), counted.sum().to(loss.dtype)])
