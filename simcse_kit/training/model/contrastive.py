"""The model that is trained: encoder, projection head and objective, joined as the papers do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from simcse_kit.compute import PackedBatch, set_dropout
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.objectives import Embedded, Objective
from simcse_kit.training.distributed import join_rows, launched_together
from simcse_kit.training.keys.source import Keys
from simcse_kit.training.model.collapse import batch_geometry
from simcse_kit.training.model.goal import Goal
from simcse_kit.training.model.grad_cache import encode_in_chunks
from simcse_kit.training.model.joined import itself, joined, norms_by_batch, projected
from simcse_kit.training.model.masked_lm import MaskedLanguageModel
from simcse_kit.training.moving_average import MovingAverage


@dataclass(frozen=True)
class Sides:
    """Which columns of a row the encoder embeds, together and with which dropout.

    Attributes:
        passes: columns (0 the anchor, 1 the positive, 2… hard negatives) that are encoded at once;
            the last pass takes every column from its first on.
        dropout: of each pass; None: the encoder's own.
        keys: whether the positives go to the keys' encoder.
        keys_give_positives: and to it alone.
    """

    passes: tuple[tuple[int, ...], ...] = ((0,),)
    dropout: tuple[float | None, ...] = (None,)
    keys: bool = False
    keys_give_positives: bool = False


class ContrastiveModel(nn.Module):
    """What is trained: encoder, train-only projection, and an objective for each data set.

    The parts' own parameters and state (learned temperature, projection, queue, momentum encoder,
    averaged weights) live here, so that the Trainer's checkpoints carry them; only the encoder, or
    its average, is saved as the model.

    Args:
        encoder: gives ``(sequences, D)`` for a packed batch.
        goal: what batches are trained for.
        further: the same of each further data set.
        projection: between the two in training only, or None.
        keys: further keys, or None.
        average: the moving average of the encoder that is kept as the model, or None.
        masked_lm: auxiliary loss, added `masked_lm_weight` times, or None.
        mini_batch_size: rows (each with all its views) that are encoded at a time, with the
            gradient of the whole batch (`simcse_kit.training.model.grad_cache`); None: all.
        gather_negatives: on several ranks, compute the objective on the joined batch
            (`simcse_kit.training.distributed`).
        positive_dropout: of the positives' and hard negatives' pass, where it is a pass of its own.
    """

    #: Or the Trainer would count "labels" as tokens, and not divide by the batches it accumulates.
    accepts_loss_kwargs = False

    def __init__(
        self,
        encoder: SentenceEncoder,
        goal: Goal,
        *,
        further: Sequence[Goal] = (),
        projection: nn.Module | None = None,
        keys: Keys | None = None,
        average: MovingAverage | None = None,
        masked_lm: MaskedLanguageModel | None = None,
        masked_lm_weight: float = 0.0,
        mini_batch_size: int | None = None,
        gather_negatives: bool = True,
        positive_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.goals = (goal, *further)  # a tuple: their state is named below
        self.objective, self.auxiliaries = goal.objective, goal.auxiliaries
        self.negatives = goal.negatives
        self.further = nn.ModuleList(further)
        self.projection = projection
        self.norms_by_batch = projection is not None and norms_by_batch(projection)
        self.keys = keys
        self.average = average
        self.masked_lm = masked_lm
        self.masked_lm_weight = masked_lm_weight
        self.mini_batch_size = mini_batch_size
        self.gather_negatives = gather_negatives
        self.positive_dropout = positive_dropout
        self._is_compiled = False

    @property
    def kept(self) -> SentenceEncoder:
        """The encoder that is judged and saved."""
        return self.encoder if self.average is None else cast(SentenceEncoder, self.average.copy)

    @property
    def sides(self) -> Sides:
        """What the collator packs together."""
        keys = self.keys is not None
        if self.keys is not None and self.keys.gives_positives:
            return Sides(keys=keys, keys_give_positives=True)
        if self.positive_dropout is not None:
            return Sides(((0,), (1,)), (None, self.positive_dropout), keys)
        return Sides(keys=keys)

    def release(self) -> None:
        """Once training is over: let what is kept be trained further."""
        if self.average is not None:
            self.average.release()

    def objectives(self) -> Iterator[Objective]:
        """All of all data sets."""
        for goal in self.goals:
            yield from goal.objectives()

    def told(self) -> dict[str, float]:
        """What the parts have for the log; those of a further data set with its number."""
        return {
            f"{key}_{dataset + 1}" if dataset else key: value
            for dataset, goal in enumerate(self.goals)
            for key, value in goal.told().items()
        }

    def compile_step(self, **settings: Any) -> None:
        """Train through torch.compile, weights and checkpoints as they were.

        Batches must be laid out: every size of row is a graph of its own, forward and backward,
        from the tokens to the loss and its figures, and inductor's mode ``reduce-overhead`` makes
        CUDA graphs of them. Where ranks exchange embeddings, tokens are predicted (never the same
        number of them), or a part is not the same at every step (it draws, counts, or norms by the
        batch), the graphs are of the encoder alone.

        Args:
            settings: of `torch.compile`.
        """
        # at the default limit of 8 graphs dynamo would run further sizes of row uncompiled
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        part = "_contrast" if self._is_one_graph() else "_encode"
        setattr(self, part, torch.compile(getattr(self, part), dynamic=False, **settings))
        self._is_compiled = True

    def _is_one_graph(self) -> bool:
        """Whether all of a step, from tokens to loss, is the same graph at every step."""
        if self.gather_negatives and launched_together():
            return False
        beside = (self.masked_lm, self.keys, self.negatives)
        if any(each is not None for each in beside):
            return False
        if self.norms_by_batch:
            return False
        return all(each.is_one_graph for each in self.objectives())

    def activation_checkpointing_enable(self, **settings: Any) -> None:
        """Recompute the backbone's layers in the backward pass (the Trainer asks for it)."""
        backbone = self.encoder.backbone
        new_name = getattr(backbone, "activation_checkpointing_enable", None)
        (new_name or backbone.gradient_checkpointing_enable)(**settings)

    gradient_checkpointing_enable = activation_checkpointing_enable  # its name in older versions

    def begin_step(self, step: int, steps: int) -> None:
        """Tell the parts that optimizer step `step` (from 0) of `steps` begins."""
        for goal in self.goals:
            goal.begin_step(step, steps)

    def after_step(self, step: int) -> None:
        """Let what follows the weights do so, after optimizer step `step` (from 1)."""
        if self.keys is not None:
            self.keys.after_step(self.encoder, self.projection, step)
        if self.average is not None:
            self.average.follow(self.encoder, step)

    def forward(
        self,
        batch: PackedBatch | Sequence[PackedBatch],
        text_ids: Tensor | None = None,
        key_batch: PackedBatch | None = None,
        dataset: int = 0,
        emptied: Sequence[tuple[PackedBatch, Tensor]] | None = None,
        **given: Any,
    ) -> dict[str, Any]:
        """One step's loss.

        Args:
            batch: ``B·V`` sequences, the ``V`` views of a row side by side: anchor, positive,
                hard negatives; or one such batch for each of `sides.passes`.
            text_ids: int ``(B, V)``, equal for equal texts, below 0 where a row lacks a hard
                negative, to mask false negatives; or None.
            key_batch: the ``B`` positives for the keys' encoder, or None.
            dataset: which one all rows are of.
            emptied: of each pass, templates without a text, and which ``(B, V)`` of them gives
                what is subtracted from each embedding (PromptBERT, section 4.3); or None.
            given: what the data tell of the rows, by the names of `Embedded`'s fields.

        Returns:
            ``loss`` scalar, ``figures`` as in `batch_geometry`, both of the joined batch where
            ranks gather; ``rows`` B.
        """
        batches = [batch] if isinstance(batch, PackedBatch) else list(batch)
        # without text numbers a row has two views, in one pass or one each
        rows = len(batches[0]) * len(batches) // 2 if text_ids is None else len(text_ids)
        chunks = 1 if self.mini_batch_size is None else -(-rows // self.mini_batch_size)
        if self._is_compiled:
            torch.compiler.cudagraph_mark_step_begin()
        loss, figures = self._contrast(
            self.goals[dataset], batches, text_ids, key_batch, emptied, given, rows, chunks
        )
        if self.masked_lm is not None:
            auxiliary = self.masked_lm(self.encoder.backbone, batches[0], chunks)
            loss = loss + self.masked_lm_weight * auxiliary
        return {"loss": loss, "figures": figures, "rows": rows}

    def _encode(self, batch: PackedBatch) -> Tensor:
        embeddings: Tensor = self.encoder(batch)
        return embeddings

    def _contrast(
        self,
        goal: Goal,
        batches: list[PackedBatch],
        text_ids: Tensor | None,
        key_batch: PackedBatch | None,
        emptied: Sequence[tuple[PackedBatch, Tensor]] | None,
        given: dict[str, Any],
        rows: int,
        chunks: int,
    ) -> tuple[Tensor, Tensor]:
        """What a batch is trained for, and its figures."""
        padded = not self.encoder.packed
        # (B·V, D) a pass, each copy with its own dropout mask: one forward, or one a chunk
        h = [
            encode_in_chunks(encode, batch, chunks, padded=padded).unflatten(0, (rows, -1))
            for encode, batch in zip(self._encoders(), batches, strict=True)
        ]
        if emptied is not None:
            each = zip(h, self._encoders(), emptied, strict=True)
            h = [whole - encode(empty)[numbers] for whole, encode, (empty, numbers) in each]
        z = h[0] if len(h) == 1 else torch.cat(h, dim=1)  # (B, V, D)
        joins = join_rows if self.gather_negatives else itself
        z = projected(z, self.projection, joins, by_batch=self.norms_by_batch)
        text_ids = None if text_ids is None else joins(text_ids)
        keys = None
        if key_batch is not None and self.keys is not None:
            keys = self.keys.encode(key_batch)
            keys = projected(keys, self.keys.head, joins, by_batch=self.norms_by_batch)
        embedded = self._embedded(goal, z, keys, text_ids, joined(given, joins))
        loss: Tensor = goal(embedded)
        if keys is not None and self.keys is not None and text_ids is not None:
            self.keys.remember(keys, text_ids[:, 1])
        return loss, batch_geometry(embedded.anchors, embedded.positives)

    def _encoders(self) -> list[Callable[[PackedBatch], Tensor]]:
        """How each pass is encoded."""
        rates = self.sides.dropout
        return [
            self._encode if rate is None else partial(self._encode_with_dropout, rate)
            for rate in rates
        ]

    def _encode_with_dropout(self, rate: float, batch: PackedBatch) -> Tensor:
        # here, and not around the pass: a chunk is encoded once more in the backward pass
        with _dropout(self.encoder, rate):
            return self._encode(batch)

    def _embedded(
        self,
        goal: Goal,
        z: Tensor,
        keys: Tensor | None,
        text_ids: Tensor | None,
        given: dict[str, Any],
    ) -> Embedded:
        """What a batch has become, from the embeddings ``(B, V, D)`` of all its passes."""
        anchors, positives, first = z[:, 0], z[:, 1:2], 2
        if self.keys is not None:
            anchors = self.keys.query(anchors)
            if self.keys.gives_positives and keys is not None:
                positives, first = keys.unsqueeze(1).to(z.dtype), 1
        negatives = z[:, first:]
        earlier = None if self.keys is None else self.keys.earlier()
        return Embedded(
            anchors,
            positives[:, 0],
            negatives if negatives.shape[1] else None,
            goal.false_negatives(text_ids),
            goal.between_anchors(text_ids),
            None if earlier is None else earlier[0],
            None if earlier is None or text_ids is None else goal.of_own(text_ids, earlier[1]),
            **given,
        )


@contextmanager
def _dropout(encoder: SentenceEncoder, rate: float) -> Iterator[None]:
    """All dropout rates of the backbone at one value for a while."""
    (own,) = encoder.dropout_rates()
    set_dropout(encoder.backbone, rate)
    try:
        yield
    finally:
        set_dropout(encoder.backbone, own)
