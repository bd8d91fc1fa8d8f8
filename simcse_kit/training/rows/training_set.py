"""A data set that is trained on, with the settings that are its own: read and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from simcse_kit.data import Reading, Rows, Source, keep_rows
from simcse_kit.errors import InputError
from simcse_kit.parts import Context
from simcse_kit.training.checks import check_batch, joint_batch, tokens_place
from simcse_kit.training.distributed import is_main, world_size
from simcse_kit.training.rows.batches import Vectors, pairing_of
from simcse_kit.training.rows.by_label import ByLabel, check_labels, tell_one_label_batches
from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.training.rows.learnable import check_negatives
from simcse_kit.training.rows.linked_rows import NoDuplicates
from simcse_kit.training.rows.sampling import ByEpoch, Shuffled, WindowedByLength
from simcse_kit.training.rows.several import BatchesOfOne, batches_an_epoch
from simcse_kit.training.rows.suited import check_kind
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.views import Pairing


@dataclass(frozen=True)
class TrainingSet:
    """Rows, and the settings that they are trained with.

    Attributes:
        pairing: what chooses their positives, or None.
        count: of the rows, how many are trained on.
    """

    rows: Rows
    config: TrainConfig
    pairing: Pairing | None = None
    count: int = 0

    def checked(self) -> TrainingSet:
        """With its pairing; InputError where the rows teach nothing, or fill no batch."""
        rows, config = self.rows, self.config
        if rows.kind in ("text", "pairs"):
            check_negatives(rows, config)
        elif rows.kind == "labelled":
            by_label = config.batch_sampler == "group_by_label"
            check_labels(rows, joint_batch(config), config.samples_per_label if by_label else None)
        pairing = pairing_of(rows, config)
        count = len(rows) if pairing is None else len(pairing.rows())
        check_batch(rows, config, count)
        return replace(self, pairing=pairing, count=count)

    def context(self, steps: int, vectors: Vectors) -> Context:
        """What the parts may know of the run.

        Args:
            steps: optimizer steps of the run.
        """
        labels = self.rows.labels
        return Context(
            rows=len(self.rows),
            steps=steps,
            batch_size=joint_batch(self.config),
            classes=0 if labels is None else len(set(labels)),
            teacher_widths=() if vectors.teachers is None else vectors.teachers.widths,
            seed=self.config.seed,
        )

    def order(self, collator: ViewCollator, batch: int, seed: int) -> ByEpoch | None:
        """The order of its rows; None: any random one will do.

        Args:
            batch: rows a batch, of one rank.
        """
        config = self.config
        if config.batch_sampler == "group_by_label":
            each = config.samples_per_label
            order = ByLabel(collator.columns["labels"], batch * world_size(), each, seed)
            tell_one_label_batches(order, self.rows.source)
            return order
        if config.batch_sampler == "no_duplicates" and collator.text_ids is not None:
            texts = collator.text_ids[collator.views(np.arange(self.count))]
            return NoDuplicates(texts, batch * world_size(), seed)
        if config.group_window == 1:
            return None
        return WindowedByLength(collator.lengths(self.count), batch, config.group_window, seed)


def training_sets(rows: Rows, config: TrainConfig) -> list[TrainingSet]:
    """The rows that were given, and those of the settings' further data sets.

    Raises InputError for what cannot be read, or that its method cannot learn from.
    """
    further = further_rows(config)
    sets = [
        TrainingSet(*each) for each in zip([rows, *further], config.of_each_dataset(), strict=True)
    ]
    for each in sets:
        try:
            check_kind(each.rows, each.config)
        except InputError as error:
            if not further or each.rows.source in str(error):
                raise
            raise InputError(f"{each.rows.source}: {error}") from None
    return sets


def rows_of(
    data: Source | Rows,
    config: TrainConfig,
    columns: Mapping[str, str] | None = None,
    **reading: Unpack[Reading],
) -> Rows:
    """The rows that are given, or read; those of a large file stay on disk, where tokens do.

    Args:
        columns, reading: as of `read_rows`.
    """
    if isinstance(data, Rows):
        return data
    return _kept(data, config, columns, **reading)


#: Further data sets that were read, by what names them and where they are kept.
_read: ContextVar[dict[str, Rows] | None] = ContextVar("read", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Have the same rows of a further data set for all recipes, or seeds, of the block.

    They are read for the first one that names them, and let go at the end.
    """
    known = _read.get()
    before = _read.set({} if known is None else known)
    try:
        yield
    finally:
        _read.reset(before)


def further_rows(config: TrainConfig) -> list[Rows]:
    """Those of the settings' further data sets."""
    known = _read.get()
    found = []
    for each in config.datasets:
        named = [each.data, each.columns, each.split, str(tokens_place(config))]
        key = json.dumps(named, sort_keys=True)
        rows = None if known is None else known.get(key)
        if rows is None:
            rows = _kept(each.data, config, each.columns or None, split=each.split)
        if known is not None:
            known[key] = rows
        found.append(rows)
    return found


def _kept(data: Source, config: TrainConfig, columns: Mapping[str, str] | None, **how: Any) -> Rows:
    # before the ranks are joined, their launcher tells them apart
    shows = is_main() and os.environ.get("RANK", "0") == "0"
    return keep_rows(data, tokens_place(config), columns=columns, show_progress=shows, **how)


def batches_of(sets: Sequence[TrainingSet], config: TrainConfig) -> list[int]:
    """Batches of each data set in an epoch."""
    joint = config.per_device_train_batch_size * world_size()
    if config.multi_dataset_batch_sampler == "round_robin":
        return [min(each.count for each in sets) // joint] * len(sets)
    return batches_an_epoch([each.count for each in sets], config.shares(), joint)


def rows_an_epoch(sets: Sequence[TrainingSet], config: TrainConfig) -> int:
    """Rows that an epoch goes through."""
    if len(sets) == 1:
        return sets[0].count
    return sum(batches_of(sets, config)) * config.per_device_train_batch_size * world_size()


def order_of(
    sets: Sequence[TrainingSet],
    collators: Sequence[ViewCollator],
    config: TrainConfig,
    batch: int,
    seed: int,
) -> ByEpoch | None:
    """The order of all rows, those of several data sets numbered end to end.

    Args:
        batch: rows a batch, of one rank.
    """
    if len(sets) == 1:
        return sets[0].order(collators[0], batch, seed)
    seeds = np.random.SeedSequence(seed).generate_state(len(sets)).tolist()
    orders = [
        each.order(collator, batch, own) or Shuffled(each.count, own)
        for each, collator, own in zip(sets, collators, seeds, strict=True)
    ]
    in_turn = config.multi_dataset_batch_sampler == "round_robin"
    joint = batch * world_size()
    return BatchesOfOne(orders, batches_of(sets, config), joint, seed, in_turn=in_turn)
