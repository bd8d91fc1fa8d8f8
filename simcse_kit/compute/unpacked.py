"""Backbones that do not run packed: their batches padded, or without padding by equal length.

A few families (ConvBERT, FNet, Nyströmformer) see padding in spite of the mask: with them a text's
embedding would depend on its company. Whether a backbone does is tried on a few tokens, so nothing
has to be known about its family; such a one gets the sequences of equal length together.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from simcse_kit.compute.cutoff import cutting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from simcse_kit.compute.packing import PackedBatch

#: A state that differs by more than this share is a different one; rounding is far below.
_SAME = 1e-4


@dataclass(frozen=True)
class TokenTypes:
    """The token types of a single text: of what stands before it, of its own, and after it."""

    before: tuple[int, ...]
    inside: int
    after: tuple[int, ...]

    def are_zero(self) -> bool:
        """Whether they are what a model takes where none are given."""
        return not any((*self.before, self.inside, *self.after))

    def of(self, lengths: Tensor, width: int) -> Tensor:
        """int64 ``(sequences, width)`` for sequences of these lengths; padding counts as text."""
        types = torch.full((lengths.shape[0], width), self.inside, device=lengths.device)
        for place, kind in enumerate(self.before):
            types[:, place] = kind
        for place, kind in enumerate(self.after):
            last = (lengths - len(self.after) + place)[:, None]
            types.scatter_(1, last, torch.full_like(last, kind))
        return types

    def packed(self, groups: Iterable[tuple[int, int]], device: torch.device) -> Tensor:
        """int64 ``(tokens,)`` for runs ``(count, length)`` of sequences end to end."""
        runs = (
            self.of(torch.full((count,), length, device=device), length) for count, length in groups
        )
        return torch.cat([run.flatten() for run in runs])


def use_token_types(backbone: PreTrainedModel, tokenizer: Any) -> None:
    """Have a backbone that takes token types get those that its tokenizer gives.

    GPT-2 with BERT's tokenizer adds an embedding for them; XLNet's last token is of type 2.
    """
    given = "token_type_ids" in tokenizer.model_input_names
    backbone.token_types = None
    if given and "token_type_ids" in inspect.signature(backbone.forward).parameters:
        probe = tokenizer("a b c", return_special_tokens_mask=True)
        types, special = probe["token_type_ids"], probe["special_tokens_mask"]
        if 0 in special:
            start, end = special.index(0), len(special) - special[::-1].index(0)
            backbone.token_types = TokenTypes(
                tuple(types[:start]), types[start], tuple(types[end:])
            )


def unpacked_states(
    backbone: PreTrainedModel,
    batch: PackedBatch,
    pad_id: int,
    *,
    all_layers: bool = False,
    by_length: bool | None = None,
) -> tuple[Tensor, ...]:
    """States ``(tokens, hidden)`` of the last layer or of all (see `states.hidden_states`).

    Args:
        by_length: sequences of equal length together, without padding; default: as
            `watch_padding` found it needed.
    """
    if by_length is None:
        by_length = getattr(backbone, "sees_padding", False)
    types = getattr(backbone, "token_types", None)
    runs, kept, done = [], batch.kept_of_tokens(), 0
    for input_ids, mask in token_blocks(batch, pad_id, by_length):
        block = None
        if kept is not None:
            block = torch.ones(*mask.shape, kept.shape[1], dtype=torch.bool, device=mask.device)
            inside = int(mask.sum())
            block[mask] = kept[done : done + inside]
            done += inside
        given = {} if types is None else {"token_type_ids": types.of(mask.sum(1), mask.shape[1])}
        with cutting(backbone, block):
            output = backbone(
                input_ids=input_ids,
                attention_mask=mask.long(),
                output_hidden_states=all_layers,
                **given,
            )
        states = output.hidden_states if all_layers else (output.last_hidden_state,)
        runs.append([layer[mask] for layer in states])
    return tuple(torch.cat(layers) for layers in zip(*runs, strict=True))


def token_blocks(
    batch: PackedBatch, pad_id: int, by_length: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and masks ``(sequences, width)``: one block, or one a length."""
    if batch.shift is not None:
        yield _spread(batch, pad_id)
        return
    if not by_length:
        yield batch.padded(pad_id)
        return
    for ids in batch.by_length(batch.input_ids):
        yield ids, torch.ones_like(ids, dtype=torch.bool)


def _spread(batch: PackedBatch, pad_id: int) -> tuple[Tensor, Tensor]:
    """Shifted sequences as one block: each token at its position, and gaps that none attends to.

    So it needs no positions to be given, which families with a scheme of their own don't take.
    """
    tokens = sum(count * length for count, length in batch.groups)
    owners, places = batch.owners[:tokens], batch.position_ids[:tokens]
    ids = batch.input_ids.new_full((len(batch), int(places.max()) + 1), pad_id)
    # in the gaps stands the first token: RoBERTa counts positions by tokens that are no padding
    firsts = batch.input_ids[batch.starts][:, None].expand_as(ids)
    last = places.new_zeros(len(batch)).scatter_reduce_(0, owners, places, "amax")
    inside = torch.arange(ids.shape[1], device=ids.device) <= last[:, None]
    ids = torch.where(inside, firsts, ids)
    ids[owners, places] = batch.input_ids[:tokens]
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[owners, places] = True
    return ids, mask


def watch_padding(backbone: PreTrainedModel) -> bool:
    """Try whether padding changes what a backbone computes; from then on it gets none if so."""
    batch, pad_id = few_tokens(backbone), backbone.config.pad_token_id or 0
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            apart, padded = (
                unpacked_states(backbone, batch, pad_id, by_length=way)[0].float()
                for way in (True, False)
            )
    finally:
        backbone.train(training)
    same = _SAME if backbone.dtype == torch.float32 else 500 * _SAME
    backbone.sees_padding = bool((padded - apart).norm() > same * apart.norm())
    return backbone.sees_padding


def bf16_fails(backbone: PreTrainedModel) -> str | None:
    """Why a backbone cannot compute in bf16 under autocast; None where it can."""
    batch, pad_id = few_tokens(backbone), backbone.config.pad_token_id or 0
    device = backbone.device
    try:
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
            unpacked_states(backbone, batch, pad_id)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


def few_tokens(backbone: PreTrainedModel) -> PackedBatch:
    """Two sequences of different lengths that any vocabulary has, without the padding token."""
    from simcse_kit.compute.packing import PackedBatch

    some = [token for token in range(9) if token != (backbone.config.pad_token_id or 0)]
    return PackedBatch.from_sequences([some[-3:], some]).to(backbone.device)
