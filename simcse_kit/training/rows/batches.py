"""What the batches of a run are made of: tokens, views, and what the data tell of each row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcse_kit.data import Rows, TokenStore
from simcse_kit.encoder import SentenceEncoder, position_limit
from simcse_kit.parts import Context, Spec
from simcse_kit.training.checks import tokens_folder
from simcse_kit.training.distributed import is_main, one_a_machine_first, world_size
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.training.rows.learnable import tell_cut
from simcse_kit.training.rows.prompts import prompted
from simcse_kit.training.rows.views import build_views, link_rows
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.views import View, vocabulary_of


def build_collator(
    model: ContrastiveModel, rows: Rows, config: TrainConfig, context: Context
) -> ViewCollator:
    """Tokenise the rows' texts, and say how a batch of them is made.

    Raises InputError for texts that the encoder cannot read, or views that the settings misstate.
    """
    encoder = model.encoder
    views, text_ids = build_views(rows, config)
    link_rows(model, rows, text_ids)
    texts = prompted(rows, encoder, config)
    with one_a_machine_first():
        store = TokenStore.build(
            texts,
            encoder.tokenizer,
            config.max_length,
            cache_dir=tokens_folder(config),
            show_progress=is_main(),
        )
    encoder.vocabulary.check(store)
    if is_main():
        limit = position_limit(encoder.backbone)
        tell_cut(texts, store, encoder.tokenizer, config.max_length, limit)
    return ViewCollator(
        store,
        views,
        text_ids,
        # a GPU wants batches of few shapes
        pad_id=encoder.pad_id if encoder.device.type == "cuda" else None,
        narrow=world_size() == 1,
        sides=model.sides,
        edits=_edits(encoder, config, context),
        seed=config.seed,
        columns=known_columns(rows),
    )


def _edits(encoder: SentenceEncoder, config: TrainConfig, context: Context) -> dict[int, View]:
    """The views that change tokens, by the column they are of."""
    specs: Mapping[int, Spec | None] = {0: config.anchor_view, 1: config.positive_view}
    chosen = {column: spec for column, spec in specs.items() if spec is not None}
    if not chosen:
        return {}
    known = vocabulary_of(encoder.tokenizer, config.max_length)
    return {column: spec.build(context.but(vocabulary=known)) for column, spec in chosen.items()}


def known_columns(rows: Rows) -> dict[str, np.ndarray]:
    """What is known of each row, by the names of `simcse_kit.objectives.Embedded`'s fields."""
    known: dict[str, np.ndarray] = {}
    if rows.labels is not None:
        known["labels"] = np.unique(np.array(rows.labels), return_inverse=True)[1].astype(np.int64)
    if rows.scores is not None:
        known["scores"] = rows.scores.astype(np.float32)
    return known
