"""From token states to one embedding a sequence, on packed batches.

Names follow SimCSE: ``cls`` (its head, if any, comes after), ``cls_before_pooler`` (the same
token, never a head at inference), ``mean``, ``first_last_mean`` and ``top2_mean``; special
tokens count as tokens, as there. ``mask`` is PromptBERT's: the state at the mask token that a
template puts into every text (`simcse_kit.encoder.templates`), the mean where there are several.
"First" is the first transformer layer, ``hidden_states[1]``;
``hidden_states[0]`` is the embedding layer (SimCSE's code since 2022-01).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from simcse_kit.errors import InputError

# torch only where it computes: the command line takes the names from here for its --help
if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from simcse_kit.compute import PackedBatch

Pooling = Literal[
    "cls", "cls_before_pooler", "mean", "first_last_mean", "top2_mean", "max", "last_token", "mask"
]
POOLINGS: tuple[str, ...] = get_args(Pooling)

#: The two layers averaged before the mean over tokens.
LAYER_PAIRS = {"first_last_mean": (1, -1), "top2_mean": (-2, -1)}

_FIRST_TOKEN = ("cls", "cls_before_pooler")


class NoPooling(InputError):
    """A checkpoint does not say how it is pooled, and nobody chose."""


# each takes states (count, width, hidden) and which of them are pooled (count, width), None where
# all are, and gives (count, hidden)


def _first(states: Tensor, inside: Tensor | None) -> Tensor:
    return states[:, 0] if inside is None else _at(states, inside.int().argmax(1))


def _last(states: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return states[:, -1]
    return _at(states, (inside * _numbers(inside)).amax(1)) * inside.any(1, keepdim=True)


def _max(states: Tensor, inside: Tensor | None) -> Tensor:
    if inside is not None:
        states = states.masked_fill(~inside[..., None], -math.inf)
    return states.amax(1)


def _mean(states: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return states.float().mean(1)
    return (states.float() * inside[..., None]).sum(1) / _count(inside)


def _mean_by_root(states: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return states.float().sum(1) / math.sqrt(states.shape[1])
    return (states.float() * inside[..., None]).sum(1) / _count(inside).sqrt()


def _weighted_mean(states: Tensor, inside: Tensor | None) -> Tensor:
    weights = (_numbers(states) + 1).float()
    if inside is not None:
        weights = weights * inside
    weights = weights.expand(states.shape[:2])[..., None]
    return (states.float() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def _at(states: Tensor, places: Tensor) -> Tensor:
    import torch

    return states[torch.arange(len(states), device=states.device), places]


def _numbers(tokens: Tensor) -> Tensor:
    import torch

    return torch.arange(tokens.shape[1], device=tokens.device)


def _count(inside: Tensor) -> Tensor:
    return inside.sum(1, keepdim=True).clamp(min=1e-9)


_OVER_TOKENS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "cls": _first,
    "cls_before_pooler": _first,
    "last_token": _last,
    "max": _max,
    "mean": _mean,
    "mask": _mean,  # over those tokens alone
    "first_last_mean": _mean,
    "top2_mean": _mean,
    # that only folders of sentence-transformers name
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
}


def check_pooling(name: str) -> str:
    """The name itself, or `InputError` naming the known ones.

    A folder of sentence-transformers may name several, joined by ``+``: their vectors end to end.
    """
    modes = name.split("+")
    known = all(mode in _OVER_TOKENS for mode in modes)
    alone = any(mode in (*LAYER_PAIRS, "mask") for mode in modes)
    if not known or (len(modes) > 1 and alone):
        raise InputError(f"unknown pooling {name!r}; choose one of {', '.join(POOLINGS)}")
    return name


def pooled_width(pooling: str, backbone: PreTrainedModel) -> int:
    """Length of a pooled vector."""
    return int(backbone.config.hidden_size) * len(pooling.split("+"))


def pool(
    backbone: PreTrainedModel,
    batch: PackedBatch,
    pooling: str,
    skip: int = 0,
    mask_id: int | None = None,
) -> Tensor:
    """Embeddings float32 ``(sequences, width)`` of a packed batch, in the caller's order.

    Args:
        skip: first tokens of each sequence that are left out: those of a prompt.
        mask_id: the mask token, for pooling ``mask``; a sequence without one gives zeros.
    """
    import torch

    from simcse_kit.compute import first_token_states, hidden_states

    if pooling in _FIRST_TOKEN and not skip:
        return first_token_states(backbone, batch).float()[batch.order]
    layers = hidden_states(backbone, batch, all_layers=pooling in LAYER_PAIRS)
    states, ids = _blocks(batch, of_layers(layers, pooling)), _blocks(batch, batch.input_ids)
    pooled = [
        over_tokens(block, tokens, inside, pooling, skip or None, mask_id)
        for (block, inside), (tokens, _) in zip(states, ids, strict=True)
    ]
    return torch.cat(pooled)[batch.order]


def of_layers(layers: Sequence[Tensor], pooling: str) -> Tensor:
    """The states that are pooled: of the last layer, or the mean of two."""
    if pooling not in LAYER_PAIRS:
        return layers[-1]
    first, second = LAYER_PAIRS[pooling]
    return (layers[first].float() + layers[second].float()) / 2


def over_tokens(
    states: Tensor,
    ids: Tensor,
    inside: Tensor | None,
    pooling: str,
    skip: int | Tensor | None = None,
    mask_id: int | None = None,
) -> Tensor:
    """Pooled vectors float32 ``(count, width)`` of states ``(count, tokens, hidden)``.

    Args:
        ids: the tokens, int64 ``(count, tokens)``.
        inside: which of them are there, bool; None: all.
        skip, mask_id: as of `pool`.
    """
    import torch

    if pooling == "mask":
        masked = ids.eq(-1 if mask_id is None else mask_id)  # -1: of a tokenizer that has none
        inside = masked if inside is None else inside & masked
    if skip is not None:
        inside = _beyond(states, inside, skip)
    return torch.cat(
        [_OVER_TOKENS[mode](states, inside).float() for mode in pooling.split("+")], dim=1
    )


def _blocks(batch: PackedBatch, tokens: Tensor) -> list[tuple[Tensor, Tensor | None]]:
    """``(tokens, …)`` as blocks ``(count, width, …)``, and which of each are there (None: all)."""
    if batch.layout is not None:
        return [(batch.layout.block(tokens), batch.layout.inside)]
    return [(group, None) for group in batch.by_length(tokens)]


def _beyond(block: Tensor, inside: Tensor | None, skip: int | Tensor) -> Tensor:
    """Which tokens ``(count, width)`` are pooled where the first ones are left out."""
    after = (_numbers(block) >= skip).expand(block.shape[:2])
    return after if inside is None else inside & after
