"""Students made of their teacher: the same encoder with some of its layers alone."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from simcse_kit.compute import original_class
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError


def keep_layers(encoder: SentenceEncoder, layers: Sequence[int]) -> SentenceEncoder:
    """A smaller encoder: embeddings, pooling and head as they are, and these layers on each other.

    Such a student begins near its teacher, where random layers would have all to learn. Its folder
    is one as any other. Dropout rates are those of the configuration.

    Source: Sanh et al., DistilBERT (2019), section 3 (one layer out of two); Sajjad et al., On the
    Effect of Dropping Layers of Pre-trained Transformer Models (2023).

    Args:
        encoder: is left as it is, and shares nothing with what is given.
        layers: which, from 0, rising.

    Raises:
        InputError: the numbers are not of this encoder's layers, or these cannot be taken apart.
    """
    backbone = encoder.backbone
    stack, count = _stack(backbone, encoder.name)
    _check(layers, count, encoder.name)
    weights = _renumbered(backbone.state_dict(), stack, layers)
    config = _shortened(backbone.config, layers, count)
    parts = replace(
        encoder.parts(),
        backbone=_built(backbone, config, weights, encoder.name),
        head=deepcopy(encoder.head),
    )
    student = SentenceEncoder(parts, name=encoder.name, precision=encoder.precision)
    return student.to(encoder.device).train(encoder.training)


def _stack(backbone: PreTrainedModel, name: str) -> tuple[str, int]:
    """The name of a backbone's list of layers, and how many there are.

    Known as the one list of modules of one class that is as long as the configuration says.
    """
    count = getattr(backbone.config, "num_hidden_layers", None)
    found = [
        key
        for key, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == count
        and len({original_class(layer) for layer in module}) == 1
    ]
    outer = [each for each in found if not any(each.startswith(f"{key}.") for key in found)]
    if len(outer) != 1 or count is None or getattr(backbone.config, "is_encoder_decoder", False):
        raise InputError(
            f"the layers of {name} ({backbone.config.model_type}) cannot be told apart; "
            "leave student_layers out, or start from a BERT, RoBERTa, MPNet, ModernBERT or the like"
        )
    return outer[0], count


def _check(layers: Sequence[int], count: int, name: str) -> None:
    said = ", ".join(map(str, layers))
    if not layers:
        raise InputError("student_layers names no layer; give at least one")
    if any(not 0 <= layer < count for layer in layers):
        raise InputError(f"student_layers {said}: {name} has the layers 0 to {count - 1}")
    if any(one >= other for one, other in pairwise(layers)):
        raise InputError(f"student_layers {said}: numbers must rise, and each stand once")


def _renumbered(weights: dict[str, Tensor], stack: str, layers: Sequence[int]) -> dict[str, Tensor]:
    """The weights that stay, those of layers by the place that they come to."""
    places = {str(layer): place for place, layer in enumerate(layers)}
    kept = {}
    for key, weight in weights.items():
        if not key.startswith(f"{stack}."):
            kept[key] = weight
            continue
        layer, _, rest = key.removeprefix(f"{stack}.").partition(".")
        if layer in places:
            kept[f"{stack}.{places[layer]}.{rest}"] = weight
    return kept


def _shortened(config: Any, layers: Sequence[int], count: int) -> Any:
    """A configuration of these layers alone, in its lists by layer (``layer_types``) too."""
    short = deepcopy(config)
    short.num_hidden_layers = len(layers)
    for name, value in vars(config).items():
        if "layer" in name and isinstance(value, list) and len(value) == count:
            setattr(short, name, [value[layer] for layer in layers])
    return short


def _built(
    backbone: PreTrainedModel, config: Any, weights: dict[str, Tensor], name: str
) -> PreTrainedModel:
    """A backbone of the same class with these weights.

    Raises InputError where a layer is not built as the one in whose place it comes.
    """
    with torch.random.fork_rng(devices=[]):
        short: Any = original_class(backbone)(config)
    if getattr(backbone, "pooler", short) is None:
        short.pooler = None  # dropped when the model was loaded
    try:
        short.to(backbone.dtype).load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"student_layers: the layers of {name} ({config.model_type}) are not built "
            "alike, and these cannot stand in each other's place; begin with layer 0"
        ) from error
    return cast(PreTrainedModel, short)
