"""The states of a packed batch, by whichever way its backbone runs.

What is known to be no more than embeddings and layers that run whole is run as these, without all
that its `forward` asks on the way; what packs runs as one row, and what does not, padded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from simcse_kit.compute.cutoff import cutting
from simcse_kit.compute.packing import PackedBatch, runs_packed, starts_after_padding
from simcse_kit.compute.unpacked import TokenTypes, unpacked_states
from simcse_kit.compute.whole_layers import straight_states

#: A row of up to so many tokens is filled up with pad tokens to a multiple of this: oneDNN compiles
#: a kernel for every size of a matrix (2 ms), and one short text takes as long as it has rows.
_STEPS = ((128, 4), (512, 16), (math.inf, 64))


def fill_of(tokens: int) -> int:
    """How many tokens a row of so many is filled up with."""
    return -tokens % next(step for longest, step in _STEPS if tokens <= longest)


def hidden_states(
    backbone: PreTrainedModel,
    batch: PackedBatch,
    *,
    all_layers: bool = False,
    kept_tokens: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Run a backbone over a packed batch.

    Args:
        all_layers: give the states of the embedding layer and of every layer after it
            (``hidden_states[0]`` is the embedding layer), not of the last layer alone.
        kept_tokens: places in the row that a last layer with an early end goes on with.

    Returns:
        States ``(tokens, hidden)``, of the last layer or of all; of a batch that is laid out
        ``(row, hidden)``.
    """
    pad_id = backbone.config.pad_token_id or 0
    if not runs_packed(backbone):
        return unpacked_states(backbone, batch, pad_id, all_layers=all_layers)
    after = starts_after_padding(backbone)
    positions = _after_padding(batch, pad_id) if after else batch.position_ids
    fill = fill_of(len(batch.input_ids)) if batch.layout is None else 0
    ids = nn.functional.pad(batch.input_ids, (0, fill), value=pad_id)
    positions = nn.functional.pad(positions, (0, fill))
    given = {} if kept_tokens is None else {"kept_tokens": kept_tokens}
    types: TokenTypes | None = getattr(backbone, "token_types", None)
    if types is not None and not types.are_zero():  # of itself a backbone takes zeros
        flat = types.packed(batch.groups, batch.input_ids.device)
        given["token_type_ids"] = nn.functional.pad(flat, (0, len(ids) - len(flat))).unsqueeze(0)
    kept = batch.kept_of_tokens()
    if kept is not None:
        kept = nn.functional.pad(kept, (0, 0, 0, fill), value=True)
    tokens = len(batch.input_ids if kept_tokens is None else kept_tokens)
    straight = None
    if "token_type_ids" not in given and kept is None:
        straight = straight_states(
            backbone, ids, positions, batch, all_layers=all_layers, kept=kept_tokens
        )
    if straight is not None:
        return tuple(layer[:tokens] for layer in straight)
    with cutting(backbone, kept):
        output = backbone(
            input_ids=ids.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            packed_batch=batch,
            output_hidden_states=all_layers,
            **given,
        )
    states = output.hidden_states if all_layers else (output.last_hidden_state,)
    return tuple(layer.squeeze(0)[:tokens] for layer in states)


def _after_padding(batch: PackedBatch, pad_id: int) -> Tensor:
    """Positions as RoBERTa counts them, int64 ``(tokens,)``: from `pad_id` + 1 on.

    A text may spell the pad token: it stands at `pad_id` then, and those after it do not count it.
    """
    places = batch.position_ids + (pad_id + 1)
    pads = batch.input_ids == pad_id
    if places.device.type == "cpu" and not torch.compiler.is_compiling() and not pads.any():
        return places
    counted = pads.cumsum(0)
    before = (counted - pads.long())[batch.starts]  # of the sequences above
    return torch.where(pads, pad_id, places - counted + before[batch.owners])
