"""Chance in an objective: alike on every rank, which all compute the joined batch's loss."""

from __future__ import annotations

import hashlib

import torch


class BatchDraws:
    """Random numbers of a batch, that depend on the seed, the step and the batch's place in it.

    So ranks agree on them, a run that goes on has those it would have had, and dropout's are as
    they are without.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._step = self._batches = 0

    def begin(self, step: int) -> None:
        """Optimizer step `step` begins."""
        self._step, self._batches = step, 0

    def next(self) -> torch.Generator:
        """Those of the next batch, on the CPU."""
        self._batches += 1
        numbers = (self.seed, self._step, self._batches)
        seed = int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=7).digest())
        return torch.Generator().manual_seed(seed)
