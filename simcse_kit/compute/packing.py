"""Batches without padding: sequences end to end, and attention that keeps them apart.

A packed batch feeds an unmodified Hugging Face backbone one row of all its tokens,
``input_ids`` of shape ``(1, tokens)``, with ``position_ids`` that restart at every sequence.
Everything in an encoder layer works token by token except attention, which is registered
here under `ATTENTION` (see `compute.attention`); a batch is sorted by length for its sake.

Backbones with a position scheme of their own or without the attention interface (MPNet, …)
run padded instead; `runs_packed` tells which, and both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from simcse_kit.compute.attention import block_attention, grouped_attention, window_mask
from simcse_kit.compute.cutoff import Kept
from simcse_kit.compute.layout import RowLayout
from simcse_kit.compute.unaltered import attends_as_known

ATTENTION = "simcse_packed"

#: Model types whose packed forward was tested equal to the padded one. The value tells
#: whether positions start at ``pad_token_id + 1`` (RoBERTa's habit) rather than at 0.
_PACKABLE = {
    "bert": False,
    "distilbert": False,
    "electra": False,
    "modernbert": False,
    "roberta": True,
    "xlm-roberta": True,
}


@dataclass(frozen=True)
class PackedBatch:
    """Token sequences end to end, shortest first.

    Attributes:
        input_ids: int64 ``(tokens,)``, the sequences in ascending order of length; with a layout
            filled up to its row.
        groups: ``(count, length)`` of every run of equally long sequences, in that order.
        order: int64 ``(sequences,)``: the caller's sequence ``i`` lies at place ``order[i]``.
        layout: the places of the sequences as tensors, once `laid_out`.
        kept: what is left of the embeddings, in the row's order; None: all.
        shift: int64 ``(tokens,)``, how many positions behind its place in its sequence each token
            stands, never falling in a sequence: as if that many tokens had been left out before
            it. None: none were.
    """

    input_ids: Tensor
    groups: tuple[tuple[int, int], ...]
    order: Tensor
    layout: RowLayout | None = None
    kept: Kept | None = None
    shift: Tensor | None = None

    @classmethod
    def from_flat(
        cls,
        ids: np.ndarray,
        lengths: np.ndarray,
        *,
        kept_tokens: np.ndarray | None = None,
        kept_features: np.ndarray | None = None,
        shift: np.ndarray | None = None,
    ) -> PackedBatch:
        """Pack sequences given end to end.

        Args:
            ids: token ids ``(sum(lengths),)``.
            lengths: tokens of each sequence ``(sequences,)``, all at least 1.
            kept_tokens: bool ``(sum(lengths),)``, False for those whose embedding becomes zero.
            kept_features: bool ``(sequences, E)``, False for the dimensions of a sequence's
                embeddings that become zero.
            shift: int64 ``(sum(lengths),)``, as of the class.
        """
        places = np.argsort(lengths, kind="stable")
        ordered = lengths[places]
        starts = np.cumsum(lengths) - lengths
        # token k of the packed row comes from: start of its sequence + its place inside it
        inside = np.arange(len(ids)) - np.repeat(np.cumsum(ordered) - ordered, ordered)
        taken = np.repeat(starts[places], ordered) + inside
        order = np.empty_like(places)
        order[places] = np.arange(len(places))
        groups = tuple((len(list(run)), int(length)) for length, run in groupby(ordered))
        kept = None
        if kept_tokens is not None or kept_features is not None:
            kept = Kept(
                None if kept_tokens is None else torch.from_numpy(kept_tokens[taken]),
                None if kept_features is None else torch.from_numpy(kept_features[places]),
            )
        packed = torch.from_numpy(ids[taken].astype(np.int64))
        moved = None if shift is None else torch.from_numpy(shift[taken].astype(np.int64))
        return cls(packed, groups, torch.from_numpy(order), kept=kept, shift=moved)

    @classmethod
    def from_sequences(cls, sequences: Sequence[Sequence[int]]) -> PackedBatch:
        """Pack a list of token id sequences."""
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        return cls.from_flat(np.concatenate([np.asarray(s) for s in sequences]), lengths)

    def __len__(self) -> int:
        return len(self.order)

    def laid_out(self, pad_id: int) -> PackedBatch:
        """The same batch with its layout, for a GPU or a compiler (see `compute.layout`)."""
        device = self.input_ids.device
        layout = RowLayout.of(self.groups, pad_id).to(device, non_blocking=True)
        fill = layout.row - len(self.input_ids)
        return replace(
            self,
            input_ids=nn.functional.pad(self.input_ids, (0, fill), value=pad_id),
            layout=layout,
            kept=None if self.kept is None else self.kept.filled(fill),
            shift=None if self.shift is None else nn.functional.pad(self.shift, (0, fill)),
        )

    @property
    def position_ids(self) -> Tensor:
        """int64 ``(tokens,)``: 0, 1, 2, … restarting at every sequence, and shifted."""
        if self.layout is not None:
            places = self.layout.position_ids
        else:
            device = self.input_ids.device
            places = torch.cat(
                [torch.arange(length, device=device).repeat(count) for count, length in self.groups]
            )
        return places if self.shift is None else places + self.shift

    @property
    def starts(self) -> Tensor:
        """int64 ``(sequences,)``: the place of every sequence's first token."""
        if self.layout is not None:
            return self.layout.places[:, 0]
        firsts, begin = [], 0
        for count, length in self.groups:
            firsts.append(torch.arange(begin, begin + count * length, length))
            begin += count * length
        return torch.cat(firsts).to(self.input_ids.device)

    def kept_of_tokens(self) -> Tensor | None:
        """Bool ``(tokens, E)`` or ``(tokens, 1)``: what is left of each embedding; None: all."""
        return None if self.kept is None else self.kept.of_tokens(self.owners)

    @property
    def owners(self) -> Tensor:
        """int64 ``(tokens,)``: the place of each token's sequence; fill goes with the last one."""
        device = self.input_ids.device
        if self.layout is not None:
            inner = self.layout.bounds[1:-1]
            return torch.bucketize(torch.arange(self.layout.row, device=device), inner, right=True)
        lengths = [length for count, length in self.groups for _ in range(count)]
        return torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(device)

    def by_length(self, states: Tensor) -> list[Tensor]:
        """``(tokens, …)`` split into one ``(count, length, …)`` view a group."""
        sizes = [count * length for count, length in self.groups]
        parts = states[: sum(sizes)].split(sizes)
        return [part.unflatten(0, group) for part, group in zip(parts, self.groups, strict=True)]

    def split(self, counts: Sequence[int]) -> list[PackedBatch]:
        """Parts of so many sequences each, shortest first; a part's sequences in that order."""
        lengths = [length for count, length in self.groups for _ in range(count)]
        parts, first, tokens = [], 0, 0
        for count in counts:
            part = lengths[first : first + count]
            ids = self.input_ids[tokens : tokens + sum(part)]
            groups = tuple((len(list(run)), length) for length, run in groupby(part))
            kept = None
            if self.kept is not None:
                places = slice(tokens, tokens + sum(part)), slice(first, first + count)
                kept = self.kept.part(*places)
            order = torch.arange(count, device=self.order.device)
            shift = None if self.shift is None else self.shift[tokens : tokens + sum(part)]
            batch = PackedBatch(ids, groups, order, kept=kept, shift=shift)
            parts.append(batch if self.layout is None else batch.laid_out(self.layout.pad_id))
            first, tokens = first + count, tokens + len(ids)
        return parts

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """The same batch on another device."""
        return PackedBatch(
            self.input_ids.to(device, non_blocking=non_blocking),
            self.groups,
            self.order.to(device, non_blocking=non_blocking),
            None if self.layout is None else self.layout.to(device, non_blocking),
            self._kept_as(lambda each: each.to(device, non_blocking=non_blocking)),
            None if self.shift is None else self.shift.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> PackedBatch:
        """The same batch in page-locked memory, for asynchronous copies."""
        layout = None if self.layout is None else self.layout.pin_memory()
        kept = self._kept_as(Tensor.pin_memory)
        return PackedBatch(
            self.input_ids.pin_memory(),
            self.groups,
            self.order.pin_memory(),
            layout,
            kept,
            None if self.shift is None else self.shift.pin_memory(),
        )

    def _kept_as(self, change: Callable[[Tensor], Tensor]) -> Kept | None:
        return None if self.kept is None else self.kept.each(change)

    def padded(self, pad_id: int) -> tuple[Tensor, Tensor]:
        """``input_ids`` and boolean ``attention_mask``, both ``(sequences, longest)``."""
        longest = self.groups[-1][1]
        rows = [
            nn.functional.pad(part, (0, longest - part.shape[1]), value=pad_id)
            for part in self.by_length(self.input_ids)
        ]
        lengths = torch.tensor(
            [length for count, length in self.groups for _ in range(count)],
            device=self.input_ids.device,
        )
        mask = torch.arange(longest, device=self.input_ids.device) < lengths[:, None]
        return torch.cat(rows), mask


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    packed_batch: PackedBatch | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention ``(1, heads, tokens, head_dim)`` inside each sequence of `packed_batch`.

    Without a packed batch this is transformers' own SDPA attention, padding mask and all.
    """
    if packed_batch is None:
        if attention_mask is None:
            attention_mask = window_mask(query.shape[2], sliding_window, query.device)
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    query, key, value = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    rates: dict[str, Any] = {"dropout": dropout, "scaling": scaling, "window": sliding_window}
    if packed_batch.layout is None:
        attended = grouped_attention(query, key, value, packed_batch.groups, **rates)
    else:
        attended = block_attention(query, key, value, packed_batch.layout, **rates)
    return attended.unsqueeze(0), None


def _padding_mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """SDPA's mask where there is padding; none for a packed row, which would need tokens²."""
    if attention_mask is None:
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


AttentionInterface.register(ATTENTION, _packed_attention)
AttentionMaskInterface.register(ATTENTION, _padding_mask)


def runs_packed(backbone: PreTrainedModel) -> bool:
    """Whether this backbone runs packed (else padded, with equal results)."""
    return (
        backbone.config.model_type in _PACKABLE
        and getattr(backbone.config, "position_embedding_type", "absolute") in ("absolute", "rope")
        and backbone.config._attn_implementation == ATTENTION
    )


def starts_after_padding(backbone: PreTrainedModel) -> bool:
    """Whether a packable backbone counts positions from ``pad_token_id + 1`` on."""
    return _PACKABLE[backbone.config.model_type]


def enable_packing(backbone: PreTrainedModel) -> bool:
    """Switch a supported backbone to packed attention; tells whether it now runs packed.

    A model with code of its own may be called by the same type, and attend in a way of its own.
    """
    if backbone.config.model_type in _PACKABLE and attends_as_known(backbone):
        backbone.set_attn_implementation(ATTENTION)
    return runs_packed(backbone)


def token_batches(lengths: np.ndarray, tokens: int, padded: bool) -> list[np.ndarray]:
    """Row numbers, longest first, in batches of at most so many tokens, or of one row.

    Args:
        lengths: tokens of each row, ``(rows,)``.
        padded: batches are padded to their longest row where they are computed: then none is
            padded to more than double its tokens. One long text among short ones would else
            have them all computed at its length.
    """
    places = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[places])
    batches = []
    start = before = 0
    while start < len(places):
        end = max(start + 1, int(np.searchsorted(ends, before + tokens, side="right")))
        if padded:
            within = ends[start:end] - before
            whole = np.arange(1, len(within) + 1) * int(lengths[places[start]])
            too_much = np.flatnonzero(whole > 2 * within)
            end = start + int(too_much[0]) if len(too_much) else end
        batches.append(places[start:end])
        start, before = end, int(ends[end - 1])
    return batches
