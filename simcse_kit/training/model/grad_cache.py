"""GradCache: the exact gradient of a large batch in the memory of a small one.

Every other row of a contrastive batch is a negative, so its loss is no sum over parts of the
batch and accumulating gradients does not replace a large one. But only the embeddings meet, and
they are small (Gao, Zhang, Han, Callan: Scaling Deep Contrastive Learning Batch Size under Memory
Limited Setup, RepL4NLP 2021, arXiv:2101.06983, section 3): encode a chunk at a time and keep the
embeddings alone; take the loss and its gradient for each embedding over the whole batch; then
encode each chunk again, with the dropout it had, and pass its slice of that gradient on.

This is checkpointing with a chunk as the unit, and torch's checkpoint carries it out: the chunks'
graphs are parts of one graph, so whatever works on a loss (accumulation, gradient scaling,
clipping, DDP's single reduction, an objective's own parameters) works unchanged, for any function
of the embeddings. A step costs one more forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from simcse_kit.compute import PackedBatch, release_buffers, token_batches

#: On a CPU, passes over a chunk after which the pages of no use are given back: what one chunk's
#: gradients are put between, the next one's activations find too narrow.
_TIDY = 16


def chunk_sizes(batch: PackedBatch, chunks: int, padded: bool) -> list[int]:
    """Sequences of each of about `chunks` consecutive parts with about equally many tokens.

    A batch is sorted by length, so a part's sequences are about equally long, which attention
    gains from; equal tokens rather than equal counts, so that the part with the longest ones
    needs no more memory than the others. None has more than ``tokens / chunks`` and the longest
    sequence together. Where parts are computed `padded` there may be more of them than that: none
    is padded to more than double its tokens.
    """
    counts, lengths = np.array(batch.groups, dtype=np.int64).T
    each = np.repeat(lengths, counts)
    ends = np.cumsum(each)
    if padded:
        return [len(part) for part in token_batches(each, -(-int(ends[-1]) // chunks), True)][::-1]
    part = (ends - 1) * chunks // ends[-1]
    return [int(size) for size in np.bincount(part, minlength=chunks) if size]


def replayed(function: Callable[..., Tensor], *batches: PackedBatch) -> Tensor:
    """``function(*batches)``, of which nothing is kept for the backward pass but the batches.

    The backward pass calls it again under the same random state (torch's CPU generator, from
    which the CPU's dropout masks are seeded, and that of the batch's device) and the same
    autocast, then goes through that graph; the random state is afterwards as it was. The first
    call makes a graph too and lets go of it: a kernel chosen by whether gradients are wanted,
    which may draw its dropout otherwise, is the same in both.
    """
    device = batches[0].input_ids.device.type

    def run(_: Tensor) -> Tensor:
        # A cached cast of a weight would be one node for all chunks, which sums their gradients
        # in half precision; a cast for each passes them on to be summed in the weight's own.
        with torch.autocast(
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
            cache_enabled=False,
        ):
            return function(*batches)

    # the ids are an argument only to say which device's random state belongs to it
    output: Tensor = checkpoint(run, batches[0].input_ids, use_reentrant=False)
    return output


def encode_in_chunks(
    encode: Callable[[PackedBatch], Tensor], batch: PackedBatch, chunks: int, *, padded: bool
) -> Tensor:
    """``encode(batch)`` with the activations of one chunk in memory at a time.

    Args:
        encode: gives embeddings ``(sequences, D)`` in the caller's order, each depending on its
            own sequence alone (and on dropout).
        batch: any number of sequences.
        chunks: parts to encode it in, about; 1 encodes it whole, as ever.
        padded: whether `encode` pads a part to its longest sequence.

    Returns:
        ``(sequences, D)`` in the caller's order, with the exact gradient.
    """
    if chunks == 1:
        return encode(batch)
    passes = count(1)  # there, and back again

    def tidied(part: PackedBatch) -> Tensor:
        if next(passes) % _TIDY == 0 and part.input_ids.device.type == "cpu":
            release_buffers()
        return encode(part)

    parts = batch.split(chunk_sizes(batch, chunks, padded))
    return torch.cat([replayed(tidied, part) for part in parts])[batch.order]
