"""Settings of a training run: declared, checked and explained in one place.

Names are `transformers.TrainingArguments`' where that class has the setting, and ours otherwise;
the same names stand in recipes (YAML) and in ``--set key=value``.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from simcse_kit.encoder import Pooling
from simcse_kit.errors import OTHER_NAMES, InputError, explain_settings, key_error, one_of
from simcse_kit.training.recipe_files import SettingsLoader, load_recipe

if TYPE_CHECKING:
    from transformers import TrainingArguments

Head = Literal["none", "train_only", "keep"]
Collapse = Literal["stop", "warn", "off"]
Layout = Literal["current", "legacy"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]

# Settings of TrainingArguments that a user may not give, each with the reason.
OWNED: dict[str, str] = {
    "output_dir": "it is given by --output-dir",
    "resume_from_checkpoint": "it is given by --resume",
    "do_train": "training is what the command does",
    "do_eval": "evaluation follows from --eval-data and eval_steps",
    "do_predict": "evaluation follows from --eval-data and eval_steps",
    "eval_strategy": "evaluation follows from --eval-data and eval_steps",
    "eval_on_start": "step 0 is evaluated whenever there is a dev set",
    "load_best_model_at_end": "the best step on dev is always kept apart from the last one",
    "metric_for_best_model": "the best step is the one with the highest dev Spearman",
    "greater_is_better": "the best step is the one with the highest dev Spearman",
    "remove_unused_columns": "the kit's own collator chooses the columns",
    "label_names": "a contrastive batch has no labels",
    "label_smoothing_factor": "the contrastive objective has no label smoothing",
    "dataloader_drop_last": "the last short batch has fewer negatives and is always dropped",
    "auto_find_batch_size": "the batch size is the number of negatives and must not change unseen",
    "local_rank": "the launcher sets it",
    "hub_token": "a token would be written into the run's files; log in with `hf auth login`",
}


def _not_a_bool(value: object) -> object:
    """YAML's ``yes`` must not become the number 1."""
    if isinstance(value, bool):
        raise ValueError("no number")
    return value


def _yaml_off(value: object) -> object:
    """YAML reads a bare ``off`` as false; here it is a name."""
    return "off" if value is False else value


Int = Annotated[int, BeforeValidator(_not_a_bool)]
Float = Annotated[float, BeforeValidator(_not_a_bool)]


class TrainConfig(BaseModel):
    """Every setting of a run, with the defaults of SimCSE's unsupervised BERT-base.

    Any other field of `transformers.TrainingArguments` is taken too and handed on, except those
    in `OWNED`. Raises `pydantic.ValidationError`; `build_config` turns that into one sentence.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    # The method. None leaves the choice to the checkpoint.
    pooling: Pooling | None = None
    head: Head = "train_only"  # SimCSE's linear + tanh over the pooled vector
    temperature: Float = Field(0.05, gt=0)
    max_length: Int = Field(32, ge=3)  # tokens, special tokens included
    dropout: Float | None = Field(None, ge=0, lt=1)
    hard_negative_weight: Float = Field(1.0, gt=0)  # alpha: adds ln alpha to the own negative
    mask_equal_texts: bool = True  # equal texts in a batch are no negatives of each other
    mini_batch_size: Int | None = Field(None, ge=1)  # rows encoded at a time (GradCache); None: all
    # batches out of which rows are grouped by length, for backbones that run padded; 1: none
    group_window: Int = Field(1, ge=1)
    gather_negatives: bool = True  # under torchrun: every rank's rows are negatives of every rank's
    mlm_weight: Float = Field(0.0, ge=0)  # the paper's 0.1 helps transfer, not STS
    mlm_probability: Float = Field(0.15, gt=0, lt=1)

    # The run.
    early_stopping_patience: Int | None = Field(None, ge=1)  # evaluations without a new best
    collapse: Annotated[Collapse, BeforeValidator(_yaml_off)] = "stop"
    layout: Layout = "current"  # of the saved sentence-transformers folder
    cache_dir: Path | None = None  # of the token store; None: ~/.cache/simcse_kit

    # Hugging Face's, with their meaning there.
    learning_rate: Float = Field(3e-5, gt=0)
    num_train_epochs: Float = Field(1.0, gt=0)
    max_steps: Int = -1
    per_device_train_batch_size: Int = 64
    gradient_accumulation_steps: Int = Field(1, ge=1)  # adds no negatives
    weight_decay: Float = Field(0.0, ge=0)
    warmup_steps: Float = Field(0, ge=0)
    lr_scheduler_type: str = "linear"
    max_grad_norm: Float = Field(1.0, ge=0)
    optim: str = "adamw_torch_fused"
    adam_beta1: Float = Field(0.9, ge=0, lt=1)
    adam_beta2: Float = Field(0.999, ge=0, lt=1)
    adam_epsilon: Float = Field(1e-8, gt=0)
    seed: Int = Field(42, ge=0)
    data_seed: Int | None = Field(None, ge=0)
    bf16: bool | None = None  # None: where the hardware multiplies it natively
    fp16: bool = False
    use_cpu: bool = False
    gradient_checkpointing: bool = False
    torch_compile: bool = False
    torch_compile_backend: str = "inductor"
    torch_compile_mode: CompileMode = "reduce-overhead"  # CUDA graphs
    dataloader_num_workers: Int = Field(0, ge=0)
    eval_steps: Int = Field(125, ge=1)
    logging_steps: Int = Field(25, ge=1)
    save_steps: Int = Field(500, ge=1)
    save_total_limit: Int | None = Field(2, ge=1)
    report_to: list[str] = ["tensorboard"]
    push_to_hub: bool = False
    hub_model_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _know_every_name(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        settings = dict(settings)
        for key in settings:
            if key in OWNED:
                raise key_error(key, f"'{key}' cannot be set: {OWNED[key]}")
            if key in cls.model_fields:
                continue
            settings[key] = _checked_by_hugging_face(key, settings[key], cls.model_fields)
        return settings

    @field_validator("report_to", mode="before")
    @classmethod
    def _list_of_trackers(cls, value: object) -> object:
        if value is None or value == "none":
            return []
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("report_to")
    @classmethod
    def _usable_trackers(cls, value: list[str]) -> list[str]:
        if value in ([], ["tensorboard"]):
            return value  # spares the import
        from transformers.integrations import get_available_reporting_integrations
        from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

        for name in value:
            if name not in INTEGRATION_TO_CALLBACK and name != "all":
                known = ["none", "all", *INTEGRATION_TO_CALLBACK]
                raise key_error("report_to", f"report_to {one_of(known, name)}")
            if name not in get_available_reporting_integrations() and name != "all":
                raise key_error("report_to", f"report_to {name} needs that package; install it")
        return value

    @field_validator("lr_scheduler_type", "optim")
    @classmethod
    def _one_of_hugging_faces(cls, value: str, info: Any) -> str:
        if value == cls.model_fields[info.field_name].default:
            return value  # spares the import
        where = {
            "lr_scheduler_type": ("transformers.trainer_utils", "SchedulerType"),
            "optim": ("transformers.training_args", "OptimizerNames"),
        }
        module, name = where[info.field_name]
        choices = [str(item.value) for item in getattr(importlib.import_module(module), name)]
        if value not in choices:
            raise key_error(info.field_name, f"{info.field_name} {one_of(choices, value)}")
        return value

    @field_validator("torch_compile_backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        if value == "inductor":
            return value  # spares the import
        from torch._dynamo import list_backends

        choices = [str(name) for name in list_backends(exclude_tags=())]
        if value not in choices:
            raise key_error(
                "torch_compile_backend", f"torch_compile_backend {one_of(choices, value)}"
            )
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
        return None if value is None else value.expanduser()

    @model_validator(mode="after")
    def _agree(self) -> TrainConfig:
        if self.head == "keep" and self.pooling == "cls_before_pooler":
            raise key_error(
                "head",
                "head 'keep' contradicts pooling 'cls_before_pooler', which is the vector before "
                "the head; set pooling to 'cls', or head to 'train_only'",
            )
        if self.bf16 and self.fp16:
            raise key_error("fp16", "bf16 and fp16 are both true; choose one")
        how = ("torch_compile_backend", "torch_compile_mode")
        asked = [key for key in how if getattr(self, key) != type(self).model_fields[key].default]
        if asked and not self.torch_compile:
            raise key_error(
                asked[0], f"{asked[0]} is given but torch_compile is not true; set both"
            )
        if self.torch_compile and self.mini_batch_size is not None:
            raise key_error(
                "torch_compile",
                "torch_compile and mini_batch_size exclude each other: chunks that are encoded "
                "twice cannot share a captured graph; leave one out",
            )
        if self.torch_compile and getattr(self, "gradient_accumulation_steps", 1) > 1:
            # torch's issues 96693 and 169545: CUDA graphs write over gradients that are kept
            raise key_error(
                "torch_compile",
                "torch_compile and gradient_accumulation_steps exclude each other: a captured "
                "graph's gradients last one batch; leave one out",
            )
        if self.hub_model_id is not None and not self.push_to_hub:
            raise key_error(
                "hub_model_id", "hub_model_id is given but push_to_hub is not true; set both"
            )
        return self

    def to_training_arguments(
        self, output_dir: str | Path, *, bf16: bool | None = None, **extra: Any
    ) -> TrainingArguments:
        """Build the Trainer's arguments; `extra` has the last word.

        `bf16` is the precision resolved for this machine, used where the setting says "auto".
        Raises InputError when transformers refuses the settings.
        """
        from transformers import TrainingArguments

        theirs = {field.name for field in dataclasses.fields(TrainingArguments)}
        settings = {key: value for key, value in self.model_dump().items() if key in theirs}
        if not self.gradient_checkpointing:
            del settings["gradient_checkpointing"]  # newer versions call it otherwise and warn
        if self.bf16 is None:
            settings["bf16"] = bool(bf16) and not self.fp16
        settings |= {
            "output_dir": str(output_dir),
            "remove_unused_columns": False,
            "dataloader_drop_last": True,
            "eval_strategy": "no",
            # this package compiles by itself (`ContrastiveModel.compile_step`)
            "torch_compile": False,
            "torch_compile_backend": None,
            "torch_compile_mode": None,
        }
        # every weight takes part in every step; looking for others would cost each of them
        settings.setdefault("ddp_find_unused_parameters", False)
        settings.setdefault("disable_tqdm", not sys.stderr.isatty())
        # it looks at every step's loss, and so waits for a GPU; only where steps are skipped is
        # a loss that is not finite no reason to stop, which the collapse alarm sees to
        settings.setdefault("logging_nan_inf_filter", self.fp16)
        settings.setdefault("logging_first_step", True)  # the shortest run has something to draw
        try:
            return TrainingArguments(**(settings | extra))
        except (ValueError, TypeError, ImportError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"transformers refuses these training settings: {reason}") from error


def build_config(recipe: str | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the settings of a recipe (a name or a YAML file) with ``key=value`` changes on top.

    Raises InputError in one sentence that names the place and the key.
    """
    settings: dict[str, object] = {}
    origin: dict[str, str] = {}
    if recipe is not None:
        settings = load_recipe(recipe)
        origin = dict.fromkeys(settings, f"recipe {recipe}")
    for text in overrides:
        key, value = _parse_override(text)
        settings[key], origin[key] = value, f"--set {text}"
    try:
        return TrainConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(explain_settings(error, origin)) from None


def _checked_by_hugging_face(key: str, value: object, ours: Iterable[str]) -> object:
    """Check a setting that is not declared here against TrainingArguments (imported only now)."""
    if key in OTHER_NAMES:
        raise key_error(key, f"unknown setting '{key}'; it is called {OTHER_NAMES[key]} here")
    from transformers import TrainingArguments

    theirs: dict[str, Any] = {
        field.name: field.type for field in dataclasses.fields(TrainingArguments)
    }
    if key not in theirs:
        known = sorted({*ours, *theirs} - set(OWNED))
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'?" if near else "see simcse-kit train --help"
        raise key_error(key, f"unknown setting '{key}'; {hint}")
    try:
        TypeAdapter(theirs[key], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(
            value
        )
    except ValidationError:
        wanted = getattr(theirs[key], "__name__", None) or str(theirs[key])
        raise key_error(key, f"{key} must be of type {wanted}, not {value!r}") from None
    return value


def _parse_override(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise InputError(f"--set {text}: write it as key=value, for instance --set max_steps=500")
    try:
        return key, yaml.load(value, SettingsLoader)
    except yaml.YAMLError:
        raise InputError(f"--set {text}: the value of {key} is not valid YAML") from None
