"""From an exception to the one sentence that the command line prints."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from simcse_kit.errors.disk import FULL, no_room
from simcse_kit.errors.input_error import InputError

_HUB = {"huggingface_hub", "httpx", "requests"}
_TRAINERS = {"transformers", "accelerate"}

# What other tools call our settings; difflib alone would not find these.
OTHER_NAMES: dict[str, str] = {
    "temp": "temperature",
    "tau": "temperature",
    "pooler": "pooling",
    "pooler_type": "pooling",
    "mlp_only_train": "head",
    "do_mlm": "mlm_weight",
    "alpha": "hard_negative_weight",
    "max_seq_length": "max_length",
    "lr": "learning_rate",
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "epochs": "num_train_epochs",
    "steps": "max_steps",
    "patience": "early_stopping_patience",
    "grad_cache": "mini_batch_size (rows encoded at a time)",
    "gc_chunk_size": "mini_batch_size",
    "chunk_size": "mini_batch_size",
    "gather_across_devices": "gather_negatives",
    "negatives_x_device": "gather_negatives",
    "warmup_ratio": "warmup_steps (a value under 1 is a share of all steps)",
}


def explain(error: Exception) -> str | None:
    """One sentence for what a user can put right; None for a bug of ours.

    Errors of libraries are known by where their class lives, so that nothing heavy is imported
    only to say what went wrong.
    """
    library = type(error).__module__.split(".")[0]
    reason = _first_line(error)
    if isinstance(error, InputError):
        return " ".join(error.command_line.split())
    if isinstance(error, ValidationError):
        return explain_settings(error)
    if no_room(error):
        return f"{getattr(error, 'filename', None) or 'nothing more can be written'}: {FULL}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "out of memory; set mini_batch_size (the same training in less memory), or a smaller "
            "max_length or per_device_train_batch_size, or gradient_checkpointing=true"
        )
    if library in _HUB:
        return (
            f"the Hugging Face hub did not answer as hoped ({reason}); check the name, the network "
            "and `hf auth login`, or give a local folder"
        )
    if library.startswith("safetensors"):
        return f"the model's weights cannot be read or written ({reason}); copy them again"
    if isinstance(error, ImportError) and not (error.name or "").startswith("simcse_kit"):
        return f"a package is missing: {reason}"
    if isinstance(error, ValueError) and _raised_in(error) in _TRAINERS:
        return f"{_raised_in(error)} refuses these settings: {' '.join(str(error).split())}"
    if isinstance(error, OSError):
        if error.filename is not None and error.strerror:
            return f"{error.filename}: {error.strerror}"
        return reason
    return None


def _raised_in(error: Exception) -> str | None:
    """Which raised it: simcse_kit, or the library that checks the settings handed on to it."""
    packages = [
        str(frame.f_globals.get("__name__")).split(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    ours = [package for package in packages if package in {"simcse_kit", *_TRAINERS}]
    return ours[-1] if ours else None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def explain_settings(error: ValidationError, origin: Mapping[str, str] | None = None) -> str:
    """Rewrite pydantic's report as one sentence; `origin` maps a key to where it was written."""
    complaints = [_complaint(dict(item), origin or {}) for item in error.errors()]
    shown = "; ".join(dict.fromkeys(complaints[:3]))
    more = len(complaints) - 3
    return f"{shown}; and {more} more" if more > 0 else shown


def _complaint(item: dict[str, Any], origin: Mapping[str, str]) -> str:
    context: dict[str, Any] = item.get("ctx", {})
    location = item["loc"]
    key = str(context.get("key") or (location[0] if location else ""))
    # the setting; or the part that it is of, or one of a part's own
    inner = (name for name in origin if name.startswith(f"{key}."))
    of = key if key in origin else next(inner, key.partition(".")[0])
    place = f"{origin[of]}: " if of in origin else ""
    if "sentence" in context:
        return f"{place}{context['sentence']}"
    kind, value = str(item["type"]), item["input"]
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"{place}{key} {one_of(choices, value)}"
    expected = {
        "int": "must be a whole number",
        "float": "must be a number",
        "finite": "must be a finite number",
        "bool": "must be true or false",
        "value": "must be a number",
        "string": "must be a name",
        "path": "must be a path",
        "list": "must be a list",
    }.get(kind.split("_")[0])
    if expected is None:
        expected = str(item["msg"]).replace("Input should be", "must be")
    return f"{place}{key} {expected}, not {value!r}" if key else f"{place}{expected}"


def one_of(choices: Sequence[str], value: object) -> str:
    """Say what was wanted, what came instead, and the choice that was probably meant."""
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return f"must be one of {', '.join(choices)}, not {value!r}{hint}"


def key_error(key: str, sentence: str) -> PydanticCustomError:
    """A complaint about a key, its sentence kept whole for `explain_settings`."""
    return PydanticCustomError("setting", "{sentence}", {"sentence": sentence, "key": key})
