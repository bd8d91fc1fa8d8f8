"""Whether templates, and pooling at their mask, go with the rest of a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simcse_kit.errors import key_error
from simcse_kit.parts import Spec

if TYPE_CHECKING:
    from simcse_kit.training.settings.fields import Settings


def check_templates(config: Settings) -> None:
    """Raise a complaint, with the reason, for templates that cannot be trained with."""
    for key in ("template", "positive_template"):
        text = getattr(config, key)
        if text and text.count("{}") != 1:
            raise key_error(key, f"{key} must hold {{}} once, where the text goes, not {text!r}")
        if text and config.pooling == "mask" and "[MASK]" not in text:
            raise key_error(
                key, f"pooling mask takes the vector at [MASK], and {key} {text!r} has none"
            )
    if config.pooling == "mask":
        _check_masks(config)
    if config.mlm_weight > 0 and (
        config.template or config.positive_template or config.pooling == "mask"
    ):
        raise key_error(
            "mlm_weight",
            "mlm_weight and template exclude each other: the masked-LM loss would have the "
            "template's own words and its [MASK] predicted; leave one out",
        )
    if config.template_debias:
        _check_debias(config)


def _check_masks(config: Settings) -> None:
    for key in ("anchor_view", "positive_view"):
        spec = getattr(config, key)
        if spec is not None and _masks(spec):
            raise key_error(
                key,
                f"{key} {spec.name} puts mask tokens into texts, and pooling mask would take them "
                "for the template's; take another view",
            )


def _masks(spec: Spec) -> bool:
    """Whether a view, or one of those that it is made of, puts mask tokens into texts."""
    inner = getattr(spec.settings, "views", ())
    return bool(getattr(spec.part, "MASKS", False)) or any(_masks(each) for each in inner)


def _check_debias(config: Settings) -> None:
    if config.template == "":
        raise key_error("template_debias", "template_debias subtracts a template; set template")
    if config.keys is not None:
        raise key_error(
            "template_debias",
            "template_debias and keys exclude each other: a queue's keys are what the encoder "
            "gives, without the subtraction; leave one out",
        )
    if config.torch_compile:
        raise key_error(
            "template_debias",
            "template_debias and torch_compile exclude each other: how many lengths a batch has, "
            "and so the shape of their pass, changes at every step; leave one out",
        )
    for spec in (config.objective, *config.auxiliaries):
        if getattr(spec.part, "REFRESHES", False):
            raise key_error(
                "template_debias",
                f"template_debias and objective {spec.name} exclude each other: its clusters are "
                "of what the encoder gives, without the subtraction; leave one out",
            )
