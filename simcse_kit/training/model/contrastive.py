"""The model that is trained: encoder, projection head and objective, and what they are fed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simcse_kit.compute import PackedBatch, use_fast_dropout
from simcse_kit.data import Rows, linked_texts, text_numbers, told_links
from simcse_kit.encoder import Head, SentenceEncoder
from simcse_kit.objectives import InfoNCE, equal_text_mask, linked_text_mask
from simcse_kit.training.distributed import is_main, join_rows, launched_together
from simcse_kit.training.model.collapse import batch_geometry
from simcse_kit.training.model.grad_cache import encode_in_chunks
from simcse_kit.training.model.masked_lm import MaskedLanguageModel
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.views import dropout_twins, given_columns

logger = logging.getLogger(__name__)


class ContrastiveModel(nn.Module):
    """What is trained: encoder, train-only projection and objective.

    The objective's own parameters and the projection live here, so that the Trainer's
    checkpoints carry them; only the encoder is saved as the model.

    Args:
        encoder: gives ``(sequences, D)`` for a packed batch.
        objective: gives a scalar for anchors, positives, hard negatives and a mask.
        projection: between the two in training only, or None.
        masked_lm: auxiliary loss, added `masked_lm_weight` times, or None.
        mini_batch_size: rows (each with all its views) that are encoded at a time, with the
            gradient of the whole batch (`simcse_kit.training.model.grad_cache`); None: all.
        gather_negatives: on several ranks, compute the objective on the joined batch
            (`simcse_kit.training.distributed`).
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        objective: InfoNCE,
        *,
        projection: nn.Module | None = None,
        masked_lm: MaskedLanguageModel | None = None,
        masked_lm_weight: float = 0.0,
        mini_batch_size: int | None = None,
        gather_negatives: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.projection = projection
        self.masked_lm = masked_lm
        self.masked_lm_weight = masked_lm_weight
        self.mini_batch_size = mini_batch_size
        self.gather_negatives = gather_negatives
        self.links = torch.empty(0, dtype=torch.int64)
        self.texts = 0
        self._is_compiled = False

    def link(self, links: np.ndarray, texts: int) -> None:
        """Take no candidate for a negative that the data pair with the anchor in another row.

        Args:
            links, texts: as of `simcse_kit.data.linked_texts`: pairs of text numbers, and how many
                texts are numbered.
        """
        self.links = torch.from_numpy(links).to(self.encoder.device)
        self.texts = texts

    def compile_step(self, **settings: Any) -> None:
        """Train through torch.compile, weights and checkpoints as they were.

        Batches must be laid out: every size of row is a graph of its own, forward and backward,
        from the tokens to the loss and its figures, and inductor's mode ``reduce-overhead`` makes
        CUDA graphs of them. Where ranks exchange embeddings, or tokens are predicted (never the
        same number of them), the graphs are of the encoder alone.

        Args:
            settings: of `torch.compile`.
        """
        # at the default limit of 8 graphs dynamo would run further sizes of row uncompiled
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
        joined = self.gather_negatives and launched_together()
        part = "_encode" if joined or self.masked_lm is not None else "_contrast"
        setattr(self, part, torch.compile(getattr(self, part), dynamic=False, **settings))
        self._is_compiled = True

    def activation_checkpointing_enable(self, **settings: Any) -> None:
        """Recompute the backbone's layers in the backward pass (the Trainer asks for it)."""
        backbone = self.encoder.backbone
        new_name = getattr(backbone, "activation_checkpointing_enable", None)
        (new_name or backbone.gradient_checkpointing_enable)(**settings)

    gradient_checkpointing_enable = activation_checkpointing_enable  # its name in older versions

    def forward(self, batch: PackedBatch, text_ids: Tensor | None = None) -> dict[str, Any]:
        """One step's loss.

        Args:
            batch: ``B·V`` sequences, the ``V`` views of a row side by side: anchor, positive,
                hard negatives.
            text_ids: int ``(B, V)``, equal for equal texts, below 0 where a row lacks a hard
                negative, to mask false negatives; or None.

        Returns:
            ``loss`` scalar, ``figures`` as in `batch_geometry`, both of the joined batch where
            ranks gather; ``rows`` B.
        """
        views = 2 if text_ids is None else text_ids.shape[1]
        rows = len(batch) // views
        chunks = 1 if self.mini_batch_size is None else -(-rows // self.mini_batch_size)
        if self._is_compiled:
            torch.compiler.cudagraph_mark_step_begin()
        loss, figures = self._contrast(batch, text_ids, rows, views, chunks)
        if self.masked_lm is not None:
            auxiliary = self.masked_lm(self.encoder.backbone, batch, chunks)
            loss = loss + self.masked_lm_weight * auxiliary
        return {"loss": loss, "figures": figures, "rows": rows}

    def _encode(self, batch: PackedBatch) -> Tensor:
        embeddings: Tensor = self.encoder(batch)
        return embeddings

    def _contrast(
        self, batch: PackedBatch, text_ids: Tensor | None, rows: int, views: int, chunks: int
    ) -> tuple[Tensor, Tensor]:
        """The objective of a batch, and its figures."""
        # (B·V, D), each copy with its own dropout mask: one forward, or one a chunk
        h = encode_in_chunks(self._encode, batch, chunks, padded=not self.encoder.packed)
        z = h if self.projection is None else self.projection(h)
        z = z.unflatten(0, (rows, views))  # (B, V, D)
        if self.gather_negatives:
            z = join_rows(z)
            text_ids = None if text_ids is None else join_rows(text_ids)
        anchors, positives = z[:, 0], z[:, 1]
        negatives = z[:, 2:] if views > 2 else None
        loss = self.objective(anchors, positives, negatives, self._false_negatives(text_ids))
        return loss, batch_geometry(anchors, positives)

    def _false_negatives(self, text_ids: Tensor | None) -> Tensor | None:
        """Candidates that the data do not mean as negatives: equal texts, and linked ones."""
        if text_ids is None:
            return None
        mask = equal_text_mask(text_ids)
        if len(self.links):
            mask |= linked_text_mask(text_ids, self.links, self.texts)
        return mask


def build_model(encoder: SentenceEncoder, config: TrainConfig) -> ContrastiveModel:
    """Add what is trained beside the backbone, freshly initialised as Hugging Face does.

    All of it is fp32, whatever it was stored or given in: in half precision most of an optimizer's
    small steps would be rounded away. What computes in half precision casts as it goes.
    """
    for dtype in {each.dtype for each in encoder.parameters()} - {torch.float32}:
        given = str(dtype).removeprefix("torch.")
        logger.info("%s is given in %s; it is trained in fp32", encoder.name, given)
    use_fast_dropout(encoder.backbone)
    width = encoder.dimension
    projection = None
    if config.head == "keep" and encoder.head is None:
        width = encoder.width  # `truncate_dim` cuts what comes out of it
    if config.head == "train_only" or (config.head == "keep" and encoder.head is None):
        head = Head(width, width)
        spread = getattr(encoder.backbone.config, "initializer_range", 0.02)
        nn.init.normal_(head.linear.weight, std=spread)
        nn.init.zeros_(head.linear.bias)
        head.to(encoder.device)
        if config.head == "keep":
            encoder.head = head
        else:
            projection = head
    masked_lm = None
    if config.mlm_weight > 0:
        masked_lm = MaskedLanguageModel(encoder, config.mlm_probability).to(encoder.device)
    model = ContrastiveModel(
        encoder,
        InfoNCE(config.temperature, config.hard_negative_weight),
        projection=projection,
        masked_lm=masked_lm,
        masked_lm_weight=config.mlm_weight,
        mini_batch_size=config.mini_batch_size,
        gather_negatives=config.gather_negatives,
    )
    return model.float()


def link_rows(model: ContrastiveModel, rows: Rows, text_ids: np.ndarray | None) -> None:
    """Tell the model which texts several rows pair, and say how many there are.

    Args:
        text_ids: of `build_views`; None where no text stands in two places.
    """
    if rows.kind == "text" or text_ids is None:
        return
    anchors, positives = text_ids[: len(rows)], text_ids[len(rows) : 2 * len(rows)]
    texts = int(text_ids.max()) + 1
    links = linked_texts(anchors, positives, texts)
    if len(links):
        model.link(links, texts)
        if is_main():
            logger.info(
                "%s: %s; none of them counts as a negative",
                *(rows.source, told_links(links, texts)),
            )


def build_views(
    rows: Rows, config: TrainConfig
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray | None]:
    """The view function of these rows, and the numbers of their texts.

    Numbers are equal for equal texts, and -1 for a hard negative that a row lacks.
    """
    if rows.kind == "text":
        columns, views = 2, dropout_twins
    else:
        columns = len(rows.columns)
        views = partial(given_columns, columns=columns, total=len(rows))
    text_ids = text_numbers(rows.texts())
    if not config.mask_equal_texts:
        text_ids = np.where(text_ids < 0, -1, np.arange(len(text_ids)))
    all_differ = int(text_ids.max()) + 1 == len(text_ids)
    # with two views the numbers serve the mask alone; with more they also tell how many there are
    return views, None if all_differ and columns == 2 else text_ids
