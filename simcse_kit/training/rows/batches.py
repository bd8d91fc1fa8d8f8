"""What the batches of a run are made of: tokens, views, and what the data tell of each row."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from simcse_kit.compute import use_cutoff
from simcse_kit.data import Rows, TokenStore
from simcse_kit.encoder import (
    SentenceEncoder,
    Teacher,
    TeacherVectors,
    position_limit,
    without_template,
)
from simcse_kit.errors import InputError
from simcse_kit.parts import Context, Spec
from simcse_kit.training.checks import tokens_folder
from simcse_kit.training.distributed import is_main, one_a_machine_first, world_size
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.training.rows.learnable import tell_cut
from simcse_kit.training.rows.prompts import prompted, prompts_of
from simcse_kit.training.rows.templated import Templates
from simcse_kit.training.rows.views import build_views, link_rows
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.views import Pairing, View, Within, frame_of, vocabulary_of

logger = logging.getLogger(__name__)


def build_collator(
    model: ContrastiveModel,
    rows: Rows,
    config: TrainConfig,
    context: Context,
    vectors: Vectors,
    pairing: Pairing | None = None,
    dataset: int = 0,
) -> ViewCollator:
    """Tokenise the rows' texts, and say how a batch of them is made.

    Args:
        dataset: which of the model's goals is theirs.

    Raises InputError for texts that the encoder cannot read, or views that the settings misstate.
    """
    encoder = model.encoder
    views, text_ids = build_views(rows, config)
    link_rows(model.goals[dataset], rows, text_ids)
    texts = prompted(rows, encoder, config)
    templates, bare = Templates.of(encoder, config), without_template(encoder.tokenizer)
    with one_a_machine_first():
        store = TokenStore.build(
            texts,
            bare,
            config.max_length,
            cache_dir=tokens_folder(config),
            show_progress=is_main(),
        )
    encoder.vocabulary.check(store)
    templates.check_masked(store, encoder)
    if is_main():
        limit = position_limit(encoder.backbone)
        tell_cut(texts, store, bare, config.max_length, limit)
    if pairing is not None:
        groups = pairing.groups()
        if groups is not None and text_ids is not None:
            model.goals[dataset].group(groups, text_ids)
        if is_main():
            logger.info("%s: %s", rows.source, pairing.told())
    edits = _edits(encoder, config, context, templates.added)
    return ViewCollator(
        store,
        views,
        text_ids,
        # a GPU wants batches of few shapes
        pad_id=encoder.pad_id if encoder.device.type == "cuda" else None,
        narrow=world_size() == 1,
        sides=model.sides,
        edits=edits,
        templates=templates,
        pairing=pairing,
        rows=None if pairing is None else pairing.rows(),
        seed=config.seed,
        columns=known_columns(rows),
        teachers=vectors.teachers,
        guide=vectors.guide,
    )


def _edits(
    encoder: SentenceEncoder, config: TrainConfig, context: Context, added: int
) -> dict[int, View]:
    """The views that change tokens, by the column they are of; prompts stay as they are."""
    specs: Mapping[int, Spec | None] = {0: config.anchor_view, 1: config.positive_view}
    chosen = {column: spec for column, spec in specs.items() if spec is not None}
    if not chosen:
        return {}
    limit, tokenizer = position_limit(encoder.backbone), without_template(encoder.tokenizer)
    room = None if limit is None else limit - added
    vocabulary = vocabulary_of(tokenizer, config.max_length, room)
    frames = {
        column: frame_of(partial(_tokenised, tokenizer), prompt, vocabulary)
        for column, prompt in enumerate(prompts_of(encoder, config))
    }

    def built(width: int = 0) -> dict[int, View]:
        views: dict[int, View] = {}
        for column, spec in chosen.items():
            frame = frames[column]
            known = context.but(vocabulary=frame.known_to(vocabulary))
            view: View = spec.build(known.but(width=width) if width else known)
            views[column] = Within(view, frame) if frame.added else view
        return views

    views = built()
    if not any(view.cuts for view in views.values()):
        return views
    return built(use_cutoff(encoder.backbone, encoder.name))


def _tokenised(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(texts)["input_ids"]
    return ids


def pairing_of(rows: Rows, config: TrainConfig) -> Pairing | None:
    """What chooses the positives, where the data do not.

    Raises InputError for rows that it cannot choose among.
    """
    if config.pairing is None:
        return None
    known = Context(rows=len(rows), seed=config.seed, documents=rows.documents)
    pairing: Pairing = config.pairing.build(known)
    return pairing


@dataclass(frozen=True)
class Vectors:
    """What other encoders make of the data's texts."""

    teachers: TeacherVectors | None = None
    guide: TeacherVectors | None = None

    @classmethod
    def of(cls, rows: Rows, config: TrainConfig, device: torch.device) -> Vectors:
        """Those of the settings' teachers and guide, computed or found where they are kept."""
        if not config.teachers and config.guide is None:
            return cls()

        guide = [] if config.guide is None else [config.guide]
        for each in (*config.teachers, *guide):
            if each.is_file and config.eval_split is not None:
                raise InputError(
                    f"teacher {each.model}: holds a vector for each text of the data, of which "
                    "eval_split holds some out; give the dev set apart (--eval-data), or an "
                    "encoder as the teacher"
                )

        def made(teachers: Sequence[Teacher]) -> TeacherVectors | None:
            if not teachers:
                return None
            with one_a_machine_first():
                return TeacherVectors(
                    teachers,
                    rows.texts(),
                    anchors=len(rows),
                    cache_dir=tokens_folder(config),
                    device=device,
                    show_progress=is_main(),
                )

        return cls(made(config.teachers), made(guide))

    def told(self) -> dict[str, list[str]]:
        """What a run's file tells of them, equal for equal teachers whatever the machine."""
        both = {"teachers": self.teachers, "guide": self.guide}
        return {name: [*each.keys] for name, each in both.items() if each is not None}


def known_columns(rows: Rows) -> dict[str, np.ndarray]:
    """What is known of each row, by the names of `simcse_kit.objectives.Embedded`'s fields."""
    known: dict[str, np.ndarray] = {}
    if rows.labels is not None:
        known["labels"] = _numbered(rows.labels)
    if rows.scores is not None:
        known["scores"] = rows.scores.astype(np.float32)
    return known


def _numbered(labels: Sequence[str]) -> np.ndarray:
    """The place of each label among the different ones, sorted, int64 ``(N,)``."""
    places = {label: place for place, label in enumerate(sorted(set(labels)))}
    return np.fromiter((places[label] for label in labels), np.int64, len(labels))
