"""From token states to one embedding a sequence, on packed batches.

Names follow SimCSE: ``cls`` (its head, if any, comes after), ``cls_before_pooler`` (the same
token, never a head at inference), ``mean``, ``first_last_mean`` and ``top2_mean``; special
tokens count as tokens, as there. "First" is the first transformer layer, ``hidden_states[1]``;
``hidden_states[0]`` is the embedding layer (SimCSE's code since 2022-01).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

from simcse_kit.errors import InputError

# torch only where it computes: the command line takes the names from here for its --help
if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from simcse_kit.compute import PackedBatch

Pooling = Literal[
    "cls", "cls_before_pooler", "mean", "first_last_mean", "top2_mean", "max", "last_token"
]
POOLINGS: tuple[str, ...] = get_args(Pooling)

#: The two layers averaged before the mean over tokens.
LAYER_PAIRS = {"first_last_mean": (1, -1), "top2_mean": (-2, -1)}

_FIRST_TOKEN = ("cls", "cls_before_pooler")


def _last(states: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return states[:, -1]
    import torch

    return states[torch.arange(len(states), device=states.device), inside.sum(1) - 1]


def _max(states: Tensor, inside: Tensor | None) -> Tensor:
    if inside is not None:
        states = states.masked_fill(~inside[..., None], -math.inf)
    return states.amax(1)


def _mean(states: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return states.float().mean(1)
    return (states.float() * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)


# each of the others takes states (count, width, hidden) and which of them are tokens (count,
# width), None where all are, and gives (count, hidden)
_OVER_TOKENS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "last_token": _last,
    "max": _max,
    "mean": _mean,
    "first_last_mean": _mean,
    "top2_mean": _mean,
}


def check_pooling(name: str) -> str:
    """The name itself, or `InputError` naming the known ones."""
    if name not in POOLINGS:
        raise InputError(f"unknown pooling {name!r}; choose one of {', '.join(POOLINGS)}")
    return name


def pool(backbone: PreTrainedModel, batch: PackedBatch, pooling: str) -> Tensor:
    """Embeddings float32 ``(sequences, hidden)`` of a packed batch, in the caller's order."""
    import torch

    from simcse_kit.compute import first_token_states, hidden_states

    if pooling in _FIRST_TOKEN:
        return first_token_states(backbone, batch).float()[batch.order]
    layers = hidden_states(backbone, batch, all_layers=pooling in LAYER_PAIRS)
    if pooling in LAYER_PAIRS:
        first, second = LAYER_PAIRS[pooling]
        states = (layers[first].float() + layers[second].float()) / 2
    else:
        states = layers[-1]
    over_tokens = _OVER_TOKENS[pooling]
    if batch.layout is not None:
        pooled = over_tokens(batch.layout.block(states), batch.layout.inside)
    else:
        pooled = torch.cat([over_tokens(group, None) for group in batch.by_length(states)])
    return pooled.float()[batch.order]
