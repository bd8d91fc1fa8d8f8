"""What `transformers.TrainingArguments` is given, and what is asked of it beforehand.

transformers is imported only where a setting asks for it: recipes and help do without.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from simcse_kit.errors import OTHER_NAMES, InputError, key_error, one_of
from simcse_kit.training.settings.arguments import (
    NEEDS,
    OPTIMIZERS,
    REFUSED,
    REPLACED,
    SCHEDULES_BARE,
    SCHEDULES_REFUSED,
    Further,
)

if TYPE_CHECKING:
    from transformers import TrainingArguments


def refusal(key: str, known: Iterable[str]) -> PydanticCustomError:
    """Why a name that is none of the `known` settings is not taken."""
    said = REPLACED.get(key) or REFUSED.get(key)
    if said is not None:
        return key_error(key, f"'{key}' cannot be set: {said}")
    if key in OTHER_NAMES:
        return key_error(key, f"unknown setting '{key}'; it is called {OTHER_NAMES[key]} here")
    names = sorted(known)
    outer, dot, inner = key.partition(".")
    if dot and outer in names:
        hint = f"what belongs to {outer} is written {outer}={{{inner}: VALUE}}"
    elif near := difflib.get_close_matches(key, names, n=1, cutoff=0.6):
        hint = f"did you mean '{near[0]}'?"
    else:
        hint = "see simcse-kit train --help"
    return key_error(key, f"unknown setting '{key}'; {hint}")


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
    """Raise for a schedule, an optimizer or a compiler that there is not, or that is refused."""
    if key == "optim":
        choices = list(OPTIMIZERS)
    elif key == "torch_compile_backend":
        from torch._dynamo import list_backends

        choices = [str(name) for name in list_backends(exclude_tags=())]
    else:
        from transformers.trainer_utils import SchedulerType

        choices = [str(each.value) for each in SchedulerType if each not in SCHEDULES_REFUSED]
    if value in SCHEDULES_REFUSED:
        said = f"{key} {value} {SCHEDULES_REFUSED[value]}; choose one of {', '.join(choices)}"
        raise key_error(key, said)
    if value not in choices:
        raise key_error(key, f"{key} {one_of(choices, value)}")


def check_needs(config: BaseModel) -> None:
    """Raise for a setting that would do nothing, or wrong, for the value of another one."""
    given = {
        key: value
        for key, field in type(config).model_fields.items()
        if (value := getattr(config, key)) != field.default
    }
    for need in NEEDS:
        value = getattr(config, need.other)
        served = any(each in need.serve for each in _each(value))
        if need.key in given and not served:
            raise key_error(need.key, f"{need.key} is given but {need.without}")
    name = getattr(config, "lr_scheduler_type", "")
    if name in SCHEDULES_BARE and "lr_scheduler_kwargs" in given:
        raise key_error("lr_scheduler_kwargs", f"lr_scheduler_type {name} takes no kwargs")
    if name == "constant" and "warmup_steps" in given:
        said = "lr_scheduler_type constant has no warm-up: take constant_with_warmup"
        raise key_error("warmup_steps", said)
    _check_optimizer(given, str(getattr(config, "optim", "")))
    _check_recomputing(given.get("gradient_checkpointing_kwargs", {}))


def _each(value: object) -> Iterator[object]:
    yield from value if isinstance(value, list) else [value]


def _check_optimizer(given: dict[str, Any], name: str) -> None:
    """Transformers drops what an optimizer does not read."""
    reads, takes = OPTIMIZERS[name]
    for key in sorted({*OPTIMIZERS["adamw_torch"][0]} - {*reads}):
        if key in given:
            raise key_error(key, f"{key} is given but optim {name} has none; leave one out")
    for part in filter(None, str(given.get("optim_args", "")).replace(" ", "").split(",")):
        key, equals, value = part.partition("=")
        if key not in takes:
            known = f"takes {', '.join(takes)}" if takes else "takes none"
            raise key_error("optim_args", f"optim_args {part!r}: optim {name} {known}")
        if not equals or not _reads(value, key in ("nesterov", "centered")):
            raise key_error("optim_args", f"optim_args {part!r}: write it as {key}=VALUE")


def _reads(value: str, truth: bool) -> bool:
    if truth:
        return value.lower() in ("true", "false")
    try:
        return 0 <= float(value) < float("inf")
    except ValueError:
        return False


def _check_recomputing(how: dict[str, Any]) -> None:
    """torch's re-entrant way runs the kit's kernels on other dropout than before."""
    key = "gradient_checkpointing_kwargs"
    if how.get("use_reentrant", False) is not False:
        raise key_error(
            key,
            f"{key}: use_reentrant must be false: the other way gives wrong gradients with dropout",
        )
    layers = how.get("every_n_layers", 1)
    unknown = sorted(set(how) - {"use_reentrant", "every_n_layers"})
    if unknown:
        raise key_error(key, f"{key} takes use_reentrant and every_n_layers, not {unknown[0]}")
    if isinstance(layers, bool) or not isinstance(layers, int) or layers < 1:
        raise key_error(key, f"{key}: every_n_layers must be a whole number from 1, not {layers!r}")


def training_arguments(
    config: BaseModel, output_dir: str | Path, bf16: bool | None, extra: dict[str, Any]
) -> TrainingArguments:
    """See `TrainConfig.to_training_arguments`."""
    from transformers import TrainingArguments

    from simcse_kit.training.distributed import launched_together

    theirs = {field.name for field in dataclasses.fields(TrainingArguments)}
    settings = {key: value for key, value in config.model_dump().items() if key in theirs}
    for key in Further.model_fields:
        if key not in theirs and getattr(config, key) != Further.model_fields[key].default:
            raise InputError(f"this version of transformers has no {key}; leave it out")
    for key in ("eval_steps", "save_steps"):
        if settings[key] is None:  # not yet known: see `TrainConfig.for_length`
            del settings[key]
    for key in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
        newer = key.replace("gradient", "activation")
        if newer in theirs:  # which warns at the older name
            settings[newer] = settings.pop(key)
    if settings["bf16"] is None:
        settings["bf16"] = bool(bf16) and not settings["fp16"]
    if not launched_together():
        settings["ddp_backend"] = None  # torch would look for the other ranks
    if settings["disable_tqdm"] is None:
        settings["disable_tqdm"] = not sys.stderr.isatty()
    settings |= {
        "output_dir": str(output_dir),
        "remove_unused_columns": False,
        "dataloader_drop_last": True,
        "eval_strategy": "no",
        # it looks at every step's loss, and so waits for a GPU; only where steps are skipped is
        # a loss that is not finite no reason to stop, which the collapse alarm sees to
        "logging_nan_inf_filter": settings["fp16"],
        # this package compiles by itself (`ContrastiveModel.compile_step`)
        "torch_compile": False,
        "torch_compile_backend": None,
        "torch_compile_mode": None,
    }
    _check_launcher()
    try:
        arguments = TrainingArguments(**(settings | extra))
    except (ValueError, TypeError, ImportError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"transformers refuses these training settings: {reason}") from error
    # where neither is set they take what `accelerate launch` was set up with
    arguments.mixed_precision = "fp16" if arguments.fp16 else "bf16" if arguments.bf16 else "no"
    return arguments


def _check_launcher() -> None:
    """Raise InputError where `accelerate launch` is set up to wrap the model in other ways."""
    for name, off, key in (
        ("ACCELERATE_USE_FSDP", "false", "fsdp"),
        ("ACCELERATE_USE_DEEPSPEED", "false", "deepspeed"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "false", "parallelism_config"),
        ("ACCELERATE_DYNAMO_BACKEND", "no", "dynamo_backend"),
    ):
        if os.environ.get(name, off).lower() != off:
            reason = REFUSED.get(key, "torch_compile=true is how this kit compiles")
            raise InputError(f"accelerate is set up with {key} ({name}): {reason}")
