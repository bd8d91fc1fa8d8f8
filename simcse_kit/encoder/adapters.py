"""Adapters (LoRA) through peft: put into a backbone, written as peft does or merged into it.

peft is an extra (``simcse-kit[peft]``), loaded only where adapters are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from simcse_kit.errors import InputError

_FLAG = "_hf_peft_config_loaded"


def has_adapters(backbone: PreTrainedModel) -> bool:
    """Whether a backbone has adapters that transformers put in."""
    return bool(getattr(backbone, _FLAG, False))


def add_lora(backbone: PreTrainedModel, settings: Mapping[str, Any]) -> None:
    """Freeze a backbone and put LoRA beside its layers; what is trained from now on is that.

    Args:
        settings: arguments of `peft.LoraConfig`: r, lora_alpha, lora_dropout, target_modules, …

    Raises:
        InputError: peft is not installed, an argument it does not know, a second adapter, or
            layers that are not there.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise InputError(
            "lora needs the package peft; install it with: pip install 'simcse-kit[peft]'"
        ) from error
    if has_adapters(backbone):
        raise InputError("the model has adapters already; merge them, or leave lora out")
    try:
        backbone.add_adapter(LoraConfig(**{"task_type": "FEATURE_EXTRACTION", **settings}))
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("LoraConfig.__init__() ")
        raise InputError(
            f"lora {dict(settings)}: {reason}; give arguments of peft.LoraConfig"
        ) from error


def merged(backbone: PreTrainedModel) -> PreTrainedModel:
    """A copy whose weights hold what the adapters add, and which has none; or the backbone itself.

    The result computes the same, and needs neither peft nor the model below.
    """
    if not has_adapters(backbone):
        return backbone
    from peft.tuners.tuners_utils import BaseTunerLayer

    whole = copy.deepcopy(backbone)
    for name, module in list(whole.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            above, _, child = name.rpartition(".")
            setattr(whole.get_submodule(above), child, module.get_base_layer())
    setattr(whole, _FLAG, False)
    del whole.peft_config
    return whole


def name_base(backbone: PreTrainedModel) -> None:
    """Have the adapters say where the model below lies in a way that holds in any folder."""
    for config in getattr(backbone, "peft_config", {}).values():
        below = config.base_model_name_or_path
        if below and Path(below).is_dir():
            config.base_model_name_or_path = str(Path(below).resolve())
