"""Whether what a method learns from is there: rows of its kind, teachers, a guide."""

from __future__ import annotations

import numpy as np

from simcse_kit.data import Rows, map_them
from simcse_kit.errors import InputError
from simcse_kit.objectives.objective import PROMISED
from simcse_kit.training.checks import joint_batch
from simcse_kit.training.distributed import world_size
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.settings.methods import (
    both_sided,
    check_parts,
    needs_of_objectives,
    objectives_of,
    uses_of_objectives,
)

#: What an objective may need of the rows, the kind of rows that has it, and how to have them.
_KINDS = {"labels": "labelled", "scores": "scored"}
_HOW = {
    "labels": "give rows with the columns text and label",
    "scores": "give pairs with the columns sentence1, sentence2 and score",
}
#: What of the settings an objective may need: which setting, and how to have it.
_BESIDE = {
    "teachers": (
        "a teacher",
        "name an encoder or a file of vectors, for instance --set teachers=[FOLDER]",
    ),
    "guide": ("a guide", "name an encoder, for instance --set guide=FOLDER"),
}
#: What rows have beside their texts that training has no use for.
_EXTRA = {
    "labelled": ("labels", "supervised_contrastive"),
    "scored": ("scores", "cosent"),
}


def check_kind(rows: Rows, config: TrainConfig) -> None:
    """Raise InputError for a method that cannot learn from these rows, or from part of them."""
    check_parts(config)
    _check_beside(config)
    _check_ranks(config)
    _check_needs(rows, config)
    _check_rows(rows, config)
    _check_extra(rows, config)


def _check_beside(config: TrainConfig) -> None:
    """Teachers and a guide are there where an objective needs them, and only there."""
    for spec, part in objectives_of(config):
        needs = part.needs(spec.settings)
        if unknown := sorted(needs - PROMISED):
            raise InputError(
                f"objective {spec.name} needs {unknown[0]!r}, which batches may lack; its NEEDS "
                f"may name {', '.join(sorted(PROMISED))}"
            )
        for need, (one, how) in _BESIDE.items():
            if need in needs and not getattr(config, need):
                raise InputError(
                    f"objective {spec.name} learns from {one}, and there is none; {how}"
                )
        if "queue" in needs and config.keys is None and config.negatives is None:
            raise InputError(
                f"objective {spec.name} needs further negatives, and nothing gives them; set keys "
                "or negatives, for instance negatives=noise"
            )
    wanted = needs_of_objectives(config)
    if config.teachers and "teachers" not in wanted:
        raise InputError(
            "teachers are named, and no objective learns from them; set one that does, for "
            "instance auxiliaries=[{name: similarity_kl}]"
        )
    if config.guide is not None and "guide" not in wanted:
        raise InputError(
            "guide is named, and no objective asks it; set objective.guide_margin or "
            "objective.guide_threshold, or leave guide out"
        )


def _check_ranks(config: TrainConfig) -> None:
    """What ranks that keep their rows to themselves cannot have."""
    if config.keys is not None and not config.gather_negatives and world_size() > 1:
        raise InputError(
            "keys are those of all ranks, which gather_negatives=false keeps apart; leave one out"
        )
    batch = joint_batch(config)
    for spec, part in objectives_of(config):
        if batch < part.LEAST_ROWS:
            raise InputError(
                f"objective {spec.name} learns nothing from a batch of {batch} rows; set "
                f"per_device_train_batch_size to {part.LEAST_ROWS} or more"
            )


def _check_needs(rows: Rows, config: TrainConfig) -> None:
    """The rows have what each objective needs of them."""
    known = {}
    if rows.labels is not None:
        known["labels"] = np.asarray(rows.labels)
    if rows.scores is not None:
        known["scores"] = np.asarray(rows.scores)
    for spec, part in objectives_of(config):
        needs = part.needs(spec.settings)
        for need, kind in _KINDS.items():
            if need in needs and rows.kind != kind:
                raise InputError(
                    f"{rows.source}: objective {spec.name} learns from {need}, and {rows.kind} "
                    f"rows have none; {_HOW[need]}"
                )
        if "negatives" in needs and len(rows.columns) < 3:
            raise InputError(
                f"{rows.source}: objective {spec.name} learns from hard negatives, and these rows "
                "have none; give pairs with a column negative, or mine them (simcse-kit mine)"
            )
        try:
            part.check_data(spec.settings, known)
        except InputError as error:
            raise InputError(f"{rows.source}: {error}") from None


def _check_rows(rows: Rows, config: TrainConfig) -> None:
    """The rows are of the kind that pairing, views and sampler are for."""
    if config.pairing is not None and rows.kind != "text":
        raise InputError(
            f"{rows.source}: pairing chooses the positives of plain texts, and {rows.kind} rows "
            "have their own; leave it out"
        )
    if config.batch_sampler == "group_by_label" and rows.labels is None:
        raise InputError(
            f"{rows.source}: batch_sampler 'group_by_label' needs labels, and {rows.kind} rows "
            f"have none; {_HOW['labels']}"
        )
    if len(rows.columns) > 1 and (name := both_sided(config)) is not None:
        raise InputError(
            f"{rows.source}: view {name} places two parts of one text, and {rows.kind} rows have "
            "two texts; give rows of one text, or other views"
        )


def _check_extra(rows: Rows, config: TrainConfig) -> None:
    """Some objective looks at all that the rows have."""
    wanted = needs_of_objectives(config)
    if len(rows.columns) > 2 and "negatives" not in uses_of_objectives(config):
        anchor, positive, *_ = (rows.names.get(name, name) for name in rows.columns)
        raise map_them(
            f"{rows.source}: objective {config.objective.name} learns nothing from hard "
            "negatives; set one that does, for instance objective=info_nce, or to train on the "
            "pairs alone,",
            {"anchor": anchor, "positive": positive},
        )
    if rows.kind in ("text", "pairs") or rows.kind in {_KINDS[n] for n in wanted if n in _KINDS}:
        return
    extra, learns = _EXTRA[rows.kind]
    wrong = (
        f"{rows.source}: objective {config.objective.name} learns nothing from {extra}; set one "
        f"that does, for instance objective={learns}"
    )
    if not rows.names:
        raise InputError(f"{wrong}, or give the texts without them")
    texts = [rows.names[name] for name in rows.columns]
    alone = (
        {"text": texts[0]}
        if len(texts) == 1
        else dict(zip(("anchor", "positive"), texts, strict=True))
    )
    raise map_them(f"{wrong}; or to train on the texts whatever the {extra},", alone)
