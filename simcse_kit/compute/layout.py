"""Where the sequences of a packed row lie, as tensors of few shapes.

A CPU takes a packed row as runs of equally long sequences, a call a run. A GPU would spend its
time on launching those calls, and torch.compile and CUDA graphs want shapes that recur while every
batch has runs of its own. So there a row is filled up to one of few sizes (`bucket_of`) and its
sequences are told by index tensors, made on the CPU beside the batch: nothing in a step's forward
and backward pass then depends on a length except through what those tensors hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Sizes of a row between one power of two and the next: at most an eighth more than is needed.
_SIZES_AN_OCTAVE = 8


def bucket_of(tokens: int) -> int:
    """The size that so many tokens are filled up to: one of eight an octave, 8 or more."""
    step = max(1 << max(tokens - 1, 1).bit_length() - 1, 64) // _SIZES_AN_OCTAVE
    return -(-tokens // step) * step


@dataclass(frozen=True)
class RowLayout:
    """The places of S sequences in a row of R tokens, the last of which may be fill.

    Attributes:
        position_ids: int64 ``(R,)``: 0, 1, 2, … restarting at every sequence; 0 in the fill.
        places: int64 ``(S, W)``: where in the row each sequence's tokens lie. Behind its end
            stands the place of its first token, which `inside` tells apart.
        inside: bool ``(S, W)``.
        back: int64 ``(R,)``: where in the flattened ``S · W`` block each token of the row lies;
            0 in the fill.
        bounds: int32 ``(S + 1,)``: first token of each sequence, and the end of the last.
        pad_id: token that fills the row up.
    """

    position_ids: Tensor
    places: Tensor
    inside: Tensor
    back: Tensor
    bounds: Tensor
    pad_id: int

    @classmethod
    def of(cls, groups: Sequence[tuple[int, int]], pad_id: int) -> RowLayout:
        """The layout of runs ``(count, length)`` of equally long sequences, end to end."""
        counts, each = np.array(groups, dtype=np.int64).T
        lengths = np.repeat(each, counts)
        ends = np.cumsum(lengths)
        starts, tokens = ends - lengths, int(ends[-1])
        row, width = bucket_of(tokens), bucket_of(int(lengths.max()))
        columns = np.arange(width)
        inside = columns < lengths[:, None]
        position_ids, back = np.zeros((2, row), dtype=np.int64)
        position_ids[:tokens] = np.arange(tokens) - np.repeat(starts, lengths)
        back[:tokens] = np.flatnonzero(inside)
        return cls(
            torch.from_numpy(position_ids),
            torch.from_numpy(starts[:, None] + np.where(inside, columns, 0)),
            torch.from_numpy(inside),
            torch.from_numpy(back),
            torch.from_numpy(np.append(starts, tokens).astype(np.int32)),
            pad_id,
        )

    @property
    def row(self) -> int:
        """Tokens of the row, fill included."""
        return len(self.position_ids)

    def block(self, states: Tensor) -> Tensor:
        """``(R, …)`` to ``(S, W, …)``; behind a sequence's end stands its first token's state."""
        # its way back adds rows; that of states[places] would sort the places first, on a GPU
        return states.index_select(0, self.places.flatten()).unflatten(0, self.places.shape)

    def unblock(self, block: Tensor) -> Tensor:
        """``(S, W, …)`` back to ``(R, …)``; in the fill stands some token's state."""
        return block.flatten(0, 1).index_select(0, self.back)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RowLayout:
        """The same layout on another device."""
        return self._with(lambda each: each.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> RowLayout:
        """The same layout in page-locked memory, for asynchronous copies."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> RowLayout:
        return RowLayout(
            position_ids=change(self.position_ids),
            places=change(self.places),
            inside=change(self.inside),
            back=change(self.back),
            bounds=change(self.bounds),
            pad_id=self.pad_id,
        )
