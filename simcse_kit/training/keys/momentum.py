"""MoCo's keys: a momentum encoder and a first-in-first-out queue of what it gave."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from simcse_kit.compute import PackedBatch
from simcse_kit.encoder import SentenceEncoder, evaluating
from simcse_kit.errors import key_error
from simcse_kit.parts import Context, Float, Int, PartSettings
from simcse_kit.training.keys.source import Keys
from simcse_kit.training.moving_average import MovingAverage


class Momentum(Keys):
    """Keys from a slow copy of the encoder, ``θ_k ← m θ_k + (1 − m) θ_q``, and a queue of them.

    The queue is empty at the start, for random vectors would be negatives of no text; the copy is
    taken after the weights are loaded. The text form (ESimCSE) takes positives from the trained
    encoder and the queue from the copy; the original (MoCo) takes both from the copy. The queue
    takes in every batch, also those that are accumulated to one step: the later meet the earlier.

    Source: He et al., Momentum Contrast (CVPR 2020), eq. 2 and algorithm 1; Wu et al., ESimCSE
    (COLING 2022), eq. 5 and 6; the predictor is BYOL's and MoCo v3's.
    """

    class Settings(PartSettings):
        momentum: Float = Field(
            0.99, ge=0, lt=1, description="m: how slowly the copy follows. 0.995 in long runs."
        )
        queue_length: Int = Field(
            160, ge=0, description="Keys that are kept as negatives. 0: none, the copy alone."
        )
        positives: Literal["encoder", "momentum"] = Field(
            "encoder", description="What embeds positives: the trained encoder, or the copy (MoCo)."
        )
        dropout: bool = Field(False, description="Whether the copy computes with dropout.")
        predictor: bool = Field(
            False, description="Two more layers on the anchors' side, in training alone."
        )

        @model_validator(mode="after")
        def _of_use(self) -> Self:
            if self.queue_length == 0 and self.positives == "encoder":
                raise key_error(
                    "queue_length",
                    "queue_length is 0 and positives is 'encoder', so nothing is compared with the "
                    "copy; set a length, or positives to 'momentum'",
                )
            return self

    @classmethod
    def replaces_positives(cls, settings: Any) -> bool:
        return bool(settings.positives == "momentum")

    queue: Tensor
    queue_texts: Tensor
    filled: Tensor

    def __init__(self, context: Context | None = None, /, **settings: object) -> None:
        super().__init__(context, **settings)
        own = self.settings
        width = self.context.width
        self.predictor = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            if own.predictor
            else None
        )
        self.register_buffer("queue", torch.zeros(own.queue_length, width))
        self.register_buffer("queue_texts", torch.full((own.queue_length,), -1))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self._count: int | None = None  # `filled`, once read: a device is asked but once

    def start(self, encoder: SentenceEncoder, projection: nn.Module | None) -> None:
        self.encoder = MovingAverage(encoder, self.settings.momentum)
        self.projection = (
            None if projection is None else MovingAverage(projection, self.settings.momentum)
        )

    def query(self, anchors: Tensor) -> Tensor:
        return anchors if self.predictor is None else self.predictor(anchors)

    @torch.no_grad()
    def encode(self, batch: PackedBatch) -> Tensor:
        with nullcontext() if self.settings.dropout else evaluating(self.encoder):
            keys: Tensor = self.encoder.copy(batch)
        return keys

    @property
    def head(self) -> nn.Module | None:
        return None if self.projection is None else self.projection.copy

    def earlier(self) -> tuple[Tensor, Tensor] | None:
        if self._count is None:
            self._count = int(self.filled)
        if self._count == 0:
            return None
        # clones: the next batch is written over them before the backward pass
        return self.queue[-self._count :].clone(), self.queue_texts[-self._count :].clone()

    @torch.no_grad()
    def remember(self, keys: Tensor, texts: Tensor) -> None:
        length = self.settings.queue_length
        if length == 0:
            return
        # one batch that is no number would else be met for as long as the queue is
        keys = F.normalize(keys.detach().float().nan_to_num(0, 0, 0), dim=-1)
        self.queue.copy_(torch.cat([self.queue, keys])[-length:])
        self.queue_texts.copy_(torch.cat([self.queue_texts, texts])[-length:])
        if self._count is None:
            self._count = int(self.filled)
        self._count = min(length, self._count + len(keys))
        self.filled.fill_(self._count)

    def after_step(self, encoder: SentenceEncoder, projection: nn.Module | None, step: int) -> None:
        self.encoder.follow(encoder, step)
        if self.projection is not None and projection is not None:
            self.projection.follow(projection, step)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._count = None
        super()._load_from_state_dict(*args, **kwargs)
