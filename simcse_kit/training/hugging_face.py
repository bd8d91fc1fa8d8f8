"""What `transformers.TrainingArguments` knows: settings that are not declared here, and its checks.

transformers is imported only where a setting asks for it: recipes and help do without.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from simcse_kit.errors import OTHER_NAMES, InputError, key_error, one_of

if TYPE_CHECKING:
    from transformers import TrainingArguments

_BY_DEV = "evaluation follows from --eval-data, --eval-split and eval_steps"
_BEST = "the best step is the one with the highest dev figure: Spearman, or recall@1 of eval_split"

# Settings of TrainingArguments that a user may not give, each with the reason.
OWNED: dict[str, str] = {
    "output_dir": "it is given by --output-dir",
    "resume_from_checkpoint": "it is given by --resume",
    "do_train": "training is what the command does",
    "do_eval": _BY_DEV,
    "do_predict": _BY_DEV,
    "eval_strategy": _BY_DEV,
    "eval_on_start": "step 0 is evaluated whenever there is a dev set",
    "load_best_model_at_end": "the best step on dev is always kept apart from the last one",
    "metric_for_best_model": _BEST,
    "greater_is_better": _BEST,
    "remove_unused_columns": "the kit's own collator chooses the columns",
    "label_names": "a contrastive batch has no labels",
    "label_smoothing_factor": "the contrastive objective has no label smoothing",
    "dataloader_drop_last": "the last short batch has fewer negatives and is always dropped",
    "auto_find_batch_size": "the batch size is the number of negatives and must not change unseen",
    "local_rank": "the launcher sets it",
    "hub_token": "a token would be written into the run's files; log in with `hf auth login`",
}


def checked(key: str, value: object, ours: Iterable[str]) -> object:
    """Check a setting that is not declared here against TrainingArguments."""
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


def check_trackers(value: list[str]) -> None:
    """Raise for a tracker that transformers does not know, or whose package is missing."""
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name in value:
        if name not in INTEGRATION_TO_CALLBACK and name != "all":
            known = ["none", "all", *INTEGRATION_TO_CALLBACK]
            raise key_error("report_to", f"report_to {one_of(known, name)}")
        if name not in get_available_reporting_integrations() and name != "all":
            raise key_error("report_to", f"report_to {name} needs that package; install it")


def check_choice(key: str, value: str) -> None:
    """Raise for a schedule, an optimizer or a compiler that there is not."""
    if key == "torch_compile_backend":
        from torch._dynamo import list_backends

        choices = [str(name) for name in list_backends(exclude_tags=())]
    else:
        module, name = {
            "lr_scheduler_type": ("transformers.trainer_utils", "SchedulerType"),
            "optim": ("transformers.training_args", "OptimizerNames"),
        }[key]
        choices = [str(item.value) for item in getattr(importlib.import_module(module), name)]
    if value not in choices:
        raise key_error(key, f"{key} {one_of(choices, value)}")


def training_arguments(
    config: BaseModel, output_dir: str | Path, bf16: bool | None, extra: dict[str, Any]
) -> TrainingArguments:
    """See `TrainConfig.to_training_arguments`."""
    from transformers import TrainingArguments

    theirs = {field.name for field in dataclasses.fields(TrainingArguments)}
    settings = {key: value for key, value in config.model_dump().items() if key in theirs}
    for key in ("eval_steps", "save_steps"):
        if settings[key] is None:  # not yet known: see `TrainConfig.for_length`
            del settings[key]
    for key in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
        newer = key.replace("gradient", "activation")
        if key in settings and newer in theirs:  # which warns at the older name
            settings[newer] = settings.pop(key)
    if settings["bf16"] is None:
        settings["bf16"] = bool(bf16) and not settings["fp16"]
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
    settings.setdefault("logging_nan_inf_filter", settings["fp16"])
    settings.setdefault("logging_first_step", True)  # the shortest run has something to draw
    try:
        return TrainingArguments(**(settings | extra))
    except (ValueError, TypeError, ImportError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"transformers refuses these training settings: {reason}") from error
