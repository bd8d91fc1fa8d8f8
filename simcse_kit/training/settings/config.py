"""The settings of a training run checked, and built from a recipe and what is set on top.

What settings there are: `simcse_kit.training.settings.fields`. The same names stand in recipes
(YAML) and in ``--set key=value``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import (
    ConfigDict,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from simcse_kit.data import at_home
from simcse_kit.errors import InputError, explain_settings, key_error
from simcse_kit.parts import Spec
from simcse_kit.training.settings.arguments import Further
from simcse_kit.training.settings.dotted import (
    PARTS,
    SHORT,
    flat,
    full_name,
    nested,
    overlaid,
    root,
    set_twice,
)
from simcse_kit.training.settings.fields import Settings
from simcse_kit.training.settings.hugging_face import (
    check_choice,
    check_needs,
    check_trackers,
    refusal,
    training_arguments,
)
from simcse_kit.training.settings.methods import check_method, needs_of_objectives
from simcse_kit.training.settings.recipe_files import SettingsLoader, load_recipe
from simcse_kit.training.settings.templates import check_templates

if TYPE_CHECKING:
    from transformers import TrainingArguments


class TrainConfig(Further, Settings):
    """Every setting of a run, with the defaults of SimCSE's unsupervised BERT-base.

    What becomes of the other fields of `transformers.TrainingArguments` stands in
    `simcse_kit.training.settings.arguments`. Raises `pydantic.ValidationError`; `build_config`
    turns that into one sentence.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )

    # Where each setting was given, as `build_config` knows it.
    _origin: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _know_every_name(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        for key in settings:
            if root(str(key)) not in cls.model_fields and key not in SHORT:
                raise refusal(str(key), [*cls.model_fields, *SHORT])
        if (twice := set_twice(settings)) is not None:
            raise key_error(twice, f"{twice} is set twice, under two of its names")
        return nested(settings, cls.default_parts())

    @classmethod
    def default_parts(cls) -> dict[str, str]:
        """Names of the parts that a run has where none is named."""
        defaults = {key: cls.model_fields[key].default for key in PARTS}
        return {key: part.name for key, part in defaults.items() if isinstance(part, Spec)}

    @field_validator("report_to", mode="before")
    @classmethod
    def _list_of_trackers(cls, value: object) -> object:
        if value is None or value == "none":
            return []
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("report_to")
    @classmethod
    def _usable_trackers(cls, value: list[str]) -> list[str]:
        if value not in ([], ["tensorboard"]):  # spares the import
            check_trackers(value)
        return value

    @field_validator("lr_scheduler_type", "optim", "torch_compile_backend")
    @classmethod
    def _one_of_theirs(cls, value: str, info: Any) -> str:
        if value != cls.model_fields[info.field_name].default:  # spares the import
            check_choice(info.field_name, value)
        return value

    @field_validator("eval_split")
    @classmethod
    def _share_or_number(cls, value: float | None) -> float | None:
        if value is not None and value >= 1 and value != int(value):
            raise key_error(
                "eval_split",
                f"eval_split must be a share of the rows below 1, or a whole number of rows, not "
                f"{value:g}",
            )
        return value

    @field_validator("warmup_steps")
    @classmethod
    def _share_or_steps(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            said = (
                f"must be a share of the steps below 1, or a whole number of steps, not {value:g}"
            )
            raise key_error("warmup_steps", f"warmup_steps {said}")
        return value

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, value: int) -> int:
        if value != -1 and value < 1:
            raise key_error(
                "max_steps", f"max_steps must be 1 or more, or -1 to train by epochs, not {value}"
            )
        return value

    @field_validator("per_device_train_batch_size")
    @classmethod
    def _some_negatives(cls, value: int) -> int:
        if value < 2:
            raise key_error(
                "per_device_train_batch_size",
                f"per_device_train_batch_size must be at least 2, not {value}: the other rows of "
                "the batch are the negatives of InfoNCE",
            )
        return value

    @field_validator("cache_dir")
    @classmethod
    def _home(cls, value: Path | None) -> Path | None:
        return None if value is None else at_home(value)

    @model_validator(mode="after")
    def _agree(self) -> TrainConfig:
        self._check()
        return self

    def _check(self) -> None:
        """Complain of settings that do not go together, of each data set's too."""
        if self.head == "keep" and self.pooling == "cls_before_pooler":
            raise key_error(
                "head",
                "head 'keep' contradicts pooling 'cls_before_pooler', which is the vector before "
                "the head; set pooling to 'cls', or head to 'train_only'",
            )
        if self.bf16 and self.fp16:
            raise key_error("fp16", "bf16 and fp16 are both true; choose one")
        if self.torch_compile and self.mini_batch_size is not None:
            raise key_error(
                "torch_compile",
                "torch_compile and mini_batch_size exclude each other: chunks that are encoded "
                "twice cannot share a captured graph; leave one out",
            )
        if self.torch_compile and self.gradient_accumulation_steps > 1:
            # torch's issues 96693 and 169545: CUDA graphs write over gradients that are kept
            raise key_error(
                "torch_compile",
                "torch_compile and gradient_accumulation_steps exclude each other: a captured "
                "graph's gradients last one batch; leave one out",
            )
        if self.batch_sampler == "no_duplicates" and self.group_window > 1:
            raise key_error(
                "group_window",
                "group_window and batch_sampler 'no_duplicates' both say which rows make a batch; "
                "leave one out",
            )
        if self.batch_sampler == "no_duplicates" and not self.mask_equal_texts:
            raise key_error(
                "batch_sampler",
                "batch_sampler 'no_duplicates' looks for equal texts, which mask_equal_texts=false "
                "says to overlook; leave one out",
            )
        check_needs(self)
        check_method(self)
        check_templates(self)
        for given, own in zip(self.datasets, self.of_each_dataset()[1:], strict=False):
            try:
                own._check()
            except PydanticCustomError as error:
                said = (error.context or {})["sentence"]
                raise key_error("datasets", f"data set {given.data}: {said}") from None

    def of_each_dataset(self) -> list[TrainConfig]:
        """The settings that each data set is trained with; itself where there is one alone.

        Of several, those have teachers and a guide alone whose objectives ask for them.
        """
        if not self.datasets:
            return [self]
        alone = {"datasets": [], "multi_dataset_batch_sampler": "proportional"}
        changes: list[dict[str, Any]] = [{}, *(each.own() for each in self.datasets)]
        made = [self.model_copy(update=alone | own) for own in changes]
        for key, none in (("teachers", []), ("guide", None)):
            if not getattr(self, key):
                continue
            asking = [key in needs_of_objectives(each) for each in made]
            if any(asking):  # else it is for nothing, which is said of the first
                made = [
                    each if asks or key in own else each.model_copy(update={key: none})
                    for each, asks, own in zip(made, asking, changes, strict=True)
                ]
        return made

    def weights(self) -> list[float]:
        """What the losses of each data set are multiplied by."""
        return [1.0, *(each.weight for each in self.datasets)]

    def shares(self) -> list[float]:
        """Of each data set's batches, how many an epoch has."""
        return [1.0, *(each.share for each in self.datasets)]

    def to_training_arguments(
        self, output_dir: str | Path, *, bf16: bool | None = None, **extra: Any
    ) -> TrainingArguments:
        """Build the Trainer's arguments; `extra` has the last word.

        `bf16` is the precision resolved for this machine, used where the setting says "auto".
        Raises InputError when transformers refuses the settings.
        """
        return training_arguments(self, output_dir, bf16, extra)

    def for_length(self, steps: int) -> TrainConfig:
        """With what follows from the run's length and was not set: when to evaluate and save."""
        own = {"eval_steps": (steps // 10, 125), "save_steps": (steps // 2, 500)}
        follow = {
            key: max(1, min(wanted, most))
            for key, (wanted, most) in own.items()
            if getattr(self, key) is None
        }
        return self.model_copy(update=follow)

    def origin(self, key: str) -> str | None:
        """Where a setting was given ("--set …", "recipe …"); "" in Python, None for a default."""
        key = full_name(key)
        outer, dot, name = key.partition(".")
        if dot and outer in PARTS:
            part = getattr(self, outer)
            return self._origin.get(key, "") if part is not None and name in part.given else None
        if key not in self.model_fields_set or (key in PARTS and not self._is_named(key)):
            return None
        return self._origin.get(key, "")

    def _is_named(self, key: str) -> bool:
        """Whether a part is another than the default's, or was named."""
        default = type(self).model_fields[key].default
        part = getattr(self, key)
        same = None not in (part, default) and part.name == default.name
        return not same or key in self._origin


def build_config(
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
) -> TrainConfig:
    """Return the settings of a recipe (a name or a YAML file) with ``key=value`` changes on top.

    Args:
        options: settings given by options of their own, ``{"pooling": "mean"}`` for
            ``--pooling mean``; None stands for an option that was not given.

    Raises InputError in one sentence that names the place and the key.
    """
    defaults = TrainConfig.default_parts()
    below = {} if recipe is None else flat(load_recipe(recipe, defaults))
    above: dict[str, object] = {}
    origin = dict.fromkeys(below, f"recipe {recipe}")
    given = [(*_parse_override(text), f"--set {text}") for text in overrides]
    given += [
        (key, value, f"--{key.replace('_', '-')} {value}")
        for key, value in (options or {}).items()
        if value is not None
    ]
    for name, value, said in given:
        for key, each in flat({name: value}).items():
            if key in above:
                raise InputError(f"{origin[key]} and {said} both set {key}; give one of them")
            above[key], origin[key] = each, said
    settings = overlaid(below, above, defaults)
    try:
        config = TrainConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(explain_settings(error, origin)) from None
    config._origin.update({key: origin[key] for key in settings})
    return config


def _parse_override(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise InputError(f"--set {text}: write it as key=value, for instance --set max_steps=500")
    try:
        return key, yaml.load(value, SettingsLoader)
    except yaml.YAMLError:
        raise InputError(f"--set {text}: the value of {key} is not valid YAML") from None
