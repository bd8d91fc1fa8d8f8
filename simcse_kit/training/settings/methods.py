"""Whether the parts of a method go together: what can be said before a model or data are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simcse_kit.errors import key_error

if TYPE_CHECKING:
    from simcse_kit.training.settings.fields import Settings


def check_method(config: Settings) -> None:
    """Raise a complaint, with the reason, for parts that exclude each other."""
    for refuse in (_matryoshka, _sides, _sampler, _compiled):
        refuse(config)


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


def _sides(config: Settings) -> None:
    if config.positive_dropout is not None and config.torch_compile:
        raise key_error(
            "positive_dropout",
            "positive_dropout and torch_compile exclude each other: a captured graph has one "
            "dropout rate; leave one out",
        )


def _sampler(config: Settings) -> None:
    if config.batch_sampler != "group_by_label":
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


def _compiled(config: Settings) -> None:
    if config.torch_compile and config.keys is not None:
        raise key_error(
            "keys",
            "keys and torch_compile exclude each other: a captured graph cannot go on with a "
            "queue; leave one out",
        )
