"""Whether the parts of a method go together: what can be said before a model or data are seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from simcse_kit.errors import key_error
from simcse_kit.parts import Spec

if TYPE_CHECKING:
    from simcse_kit.objectives import Objective
    from simcse_kit.training.keys.source import Keys
    from simcse_kit.training.settings.fields import Settings
    from simcse_kit.views import View

#: Settings without which a method is plain InfoNCE; then no part need be imported to be checked.
_METHOD = {"objective", "auxiliaries", "keys", "negatives", "teachers", "guide"}


def check_method(config: Settings) -> None:
    """Raise a complaint, with the reason, for parts that exclude each other."""
    for refuse in (_matryoshka, _head, _sides, _both_sides, _sampler, _pairing, _datasets):
        refuse(config)
    if config.model_fields_set & _METHOD:
        for refuse in (_whole, _further, _teachers):
            refuse(config)


def objectives_of(config: Settings) -> list[tuple[Spec, type[Objective]]]:
    """The objective and what is added to it, each with its class."""
    specs = [config.objective, *config.auxiliaries]
    return [(spec, cast("type[Objective]", spec.part)) for spec in specs]


def needs_of_objectives(config: Settings) -> frozenset[str]:
    """What all of them together cannot do without."""
    needs = [part.needs(spec.settings) for spec, part in objectives_of(config)]
    return frozenset().union(*needs)


def uses_of_objectives(config: Settings) -> frozenset[str]:
    """What one of them at least needs, or looks at where it is."""
    uses = [part.USES for _, part in objectives_of(config)]
    return needs_of_objectives(config).union(*uses)


def is_named(config: Settings, key: str) -> bool:
    """Whether a part is another than where nothing is set, or is set otherwise."""
    part, default = getattr(config, key), type(config).model_fields[key].default
    if part is None or default is None:
        return part is not default
    return bool(part.name != default.name or (part.given and part.settings != default.settings))


def parts_of(config: Settings) -> Iterator[tuple[str, Spec]]:
    """Every part that there is, with the setting that names it."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Spec):
                yield name, each


def files_of(config: Settings) -> list[Path]:
    """Files that the parts read."""
    return [path for spec in _set_parts(config) for path in spec.part.files(spec.settings)]


def check_parts(config: Settings) -> None:
    """Raise InputError for what a part needs whatever the model and data: its file, for one."""
    for spec in _set_parts(config):
        spec.part.check(spec.settings)


def _set_parts(config: Settings) -> Iterator[Spec]:
    """The parts that were set; what nobody set reads no file, and need not be imported."""
    for name, spec in parts_of(config):
        if name == "auxiliaries" or spec.given or is_named(config, name):
            yield spec


def _head(config: Settings) -> None:
    if config.head == "none" and is_named(config, "projection"):
        raise key_error(
            "projection",
            f"projection {config.projection.name} is of the head, and head is 'none'; set head to "
            "'train_only' or 'keep', or leave projection out",
        )


def _whole(config: Settings) -> None:
    part = cast("type[Objective]", config.objective.part)
    if config.matryoshka_dims and part.WHOLE:
        raise key_error(
            "matryoshka_dims",
            f"matryoshka_dims cut embeddings, and objective {config.objective.name} compares whole "
            "ones with the teachers'; follow their similarities (objective=similarity_kl), or put "
            f"{config.objective.name} into auxiliaries, which are not cut",
        )


def _further(config: Settings) -> None:
    """Keys and further negatives are of use to some objective."""
    if "queue" in uses_of_objectives(config):
        return
    names = ", ".join(spec.name for spec, _ in objectives_of(config))
    if config.negatives is not None:
        raise key_error(
            "negatives",
            f"negatives {config.negatives.name} are given, and no objective ({names}) looks at "
            "further negatives; set one that does, such as info_nce, or leave negatives out",
        )
    if config.keys is not None and not cast("type[Keys]", config.keys.part).replaces_positives(
        config.keys.settings
    ):
        raise key_error(
            "keys",
            f"keys {config.keys.name} give further negatives, and no objective ({names}) looks at "
            "them; set one that does, such as info_nce, or leave keys out",
        )


def _teachers(config: Settings) -> None:
    twice = [each for n, each in enumerate(config.teachers) if each in config.teachers[:n]]
    if twice:
        raise key_error(
            "teachers",
            f"teachers names {twice[0].model!r} twice; give it more weight by teacher_weights of "
            "the objective, or leave one out",
        )
    for spec, _ in objectives_of(config):
        weights = getattr(spec.settings, "teacher_weights", None)
        if weights and config.teachers and len(weights) != len(config.teachers):
            raise key_error(
                "teachers",
                f"teacher_weights of {spec.name} names {len(weights)} weights, and teachers "
                f"{len(config.teachers)}; give one each",
            )


def _both_sides(config: Settings) -> None:
    anchor, positive = _placing(config.anchor_view), _placing(config.positive_view)
    if not anchor and not positive:
        return
    name = (anchor or positive)[0][1].name
    if [(place, spec.settings) for place, spec in anchor] != [
        (place, spec.settings) for place, spec in positive
    ]:
        raise key_error(
            "positive_view" if anchor else "anchor_view",
            f"view {name} places a row's two texts by each other, so anchor_view and positive_view "
            "must both have it, with the same settings and at the same place of a compose",
        )
    if config.pairing is not None:
        raise key_error(
            "pairing",
            f"pairing {config.pairing.name} takes another text as the positive, and view {name} "
            "places two parts of one text; leave one out",
        )


def _placing(view: Spec | None) -> list[tuple[tuple[int, ...], Spec]]:
    """What of a view is for both sides, with its place."""
    return [each for each in _in_turn(view) if cast("type[View]", each[1].part).BOTH_SIDES]


def _in_turn(view: Spec | None) -> Iterator[tuple[tuple[int, ...], Spec]]:
    """A view and those that it is made of, with their places."""
    if view is None:
        return
    yield (), view
    for place, inner in enumerate(getattr(view.settings, "views", ())):
        yield from (((place, *further), spec) for further, spec in _in_turn(inner))


def _pairing(config: Settings) -> None:
    if config.pairing is not None and config.batch_sampler == "no_duplicates":
        raise key_error(
            "batch_sampler",
            "batch_sampler 'no_duplicates' looks at the texts of each row, and pairing "
            f"{config.pairing.name} chooses others in every epoch; leave one out",
        )


def _matryoshka(config: Settings) -> None:
    dims, weights = config.matryoshka_dims, config.matryoshka_weights
    if not dims:
        if weights:
            raise key_error("matryoshka_weights", "matryoshka_weights needs matryoshka_dims")
        return
    if min(dims) < 1 or len(set(dims)) < len(dims):
        raise key_error("matryoshka_dims", f"matryoshka_dims must be different and above 0: {dims}")
    if weights and (len(weights) != len(dims) or min(weights) <= 0):
        raise key_error(
            "matryoshka_weights",
            f"matryoshka_weights must be {len(dims)} numbers above 0, one for each of "
            f"matryoshka_dims, not {weights}",
        )
    if config.head == "train_only":
        raise key_error(
            "matryoshka_dims",
            "matryoshka_dims cut the embeddings that are saved, and head 'train_only' trains "
            "others; set head to 'none' or 'keep'",
        )


def both_sided(config: Settings) -> str | None:
    """The name of a view that places two parts of one text, where there is one."""
    named = (spec for _, spec in _placing(config.anchor_view))
    return next((spec.name for spec in named), None)


def _sides(config: Settings) -> None:
    keys = config.keys
    if (
        config.positive_dropout is not None
        and keys is not None
        and cast("type[Keys]", keys.part).replaces_positives(keys.settings)
    ):
        raise key_error(
            "positive_dropout",
            "positive_dropout is of positives that the trained encoder embeds, and here keys "
            f"{keys.name} give them; leave one out",
        )
    if config.positive_dropout is not None and config.gradient_checkpointing:
        raise key_error(
            "positive_dropout",
            "positive_dropout and gradient_checkpointing exclude each other: layers would be "
            "recomputed with the other side's dropout; leave one out, or save memory by "
            "mini_batch_size",
        )
    if config.positive_dropout is not None and config.torch_compile:
        raise key_error(
            "positive_dropout",
            "positive_dropout and torch_compile exclude each other: a captured graph has one "
            "dropout rate; leave one out",
        )


def _sampler(config: Settings) -> None:
    if config.batch_sampler != "group_by_label":
        if config.samples_per_label != type(config).model_fields["samples_per_label"].default:
            raise key_error(
                "samples_per_label",
                "samples_per_label is of batch_sampler 'group_by_label', and batch_sampler is "
                f"{config.batch_sampler!r}; set that, or leave samples_per_label out",
            )
        return
    if config.group_window > 1:
        raise key_error(
            "group_window",
            "group_window and batch_sampler 'group_by_label' both say which rows make a batch; "
            "leave one out",
        )
    if config.per_device_train_batch_size % config.samples_per_label:
        raise key_error(
            "samples_per_label",
            f"per_device_train_batch_size {config.per_device_train_batch_size} is no multiple of "
            f"samples_per_label {config.samples_per_label}, of which batch_sampler "
            "'group_by_label' makes batches",
        )


def _datasets(config: Settings) -> None:
    """What several data sets in one run exclude."""
    in_turn = config.multi_dataset_batch_sampler == "round_robin"
    if in_turn and not config.datasets:
        raise key_error(
            "multi_dataset_batch_sampler",
            "multi_dataset_batch_sampler says how the batches of datasets follow each other, and "
            "there are no datasets; give some, or leave it out",
        )
    if not config.datasets:
        return
    shared = [each.data for each in config.datasets if each.share != 1]
    if in_turn and shared:
        raise key_error(
            "datasets",
            f"data set {shared[0]}: share is of multi_dataset_batch_sampler 'proportional'; in "
            "turn all data sets have equally many batches; leave one out",
        )
    for key, why in {
        "keys": "a queue would hold keys of one data set as negatives of another's rows",
        "eval_split": "held-out texts may stand in the other data sets; give --eval-data",
        "torch_compile": "a captured graph computes the objective of one data set",
    }.items():
        if getattr(config, key):
            raise key_error(key, f"{key} and datasets exclude each other: {why}; leave one out")
