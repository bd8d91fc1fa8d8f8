"""What a machine could do, and what a work needs: matrix rate, and FLOPs of real tokens."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.speed.turns import Gate, Setting, Turn

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

#: A training step's FLOPs in forward passes: one forward, and backward for inputs and weights.
TRAINING = 3


def encoder_flops(encoder: SentenceEncoder, lengths: np.ndarray) -> float:
    """FLOPs of one forward pass over sequences of these `lengths`, padding not counted.

    Two a weight of every linear layer and token, and in every layer ``4 · length · hidden`` a
    token for attention (scores, and their product with the values). What is no matrix product
    (embeddings, normalisation, softmax, activations, dropout) counts nothing, as is usual in MFU.
    """
    from torch import nn

    backbone, config = encoder.backbone, encoder.backbone.config
    weights = sum(
        module.weight.numel()
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and "pooler" not in name
    )
    lengths = np.asarray(lengths, dtype=np.float64)
    attention = 4 * config.num_hidden_layers * config.hidden_size * float((lengths**2).sum())
    flops = 2 * weights * float(lengths.sum()) + attention
    head = [] if encoder.head is None else encoder.head.modules()
    applied = sum(module.weight.numel() for module in head if isinstance(module, nn.Linear))
    return flops + 2 * applied * len(lengths)


class MatrixRate:
    """A side whose turn measures how fast this machine goes on multiplying large matrices."""

    def __init__(self, setting: Setting) -> None:
        import torch

        self.setting = setting
        self.evidence: dict[str, Any] = {"threads": torch.get_num_threads()}

    def take_turns(self, gate: Gate) -> None:
        """FLOP/s by precision, in the notes."""
        while True:
            gate.wait()
            start = gate.clock()
            rates = {
                precision: max(self._rate(gate, precision, n) for n in self.setting.sizes)
                for precision in self.setting.rates
            }
            gate.done(Turn(gate.clock() - start, 0, rates))

    def _rate(self, gate: Gate, precision: str, n: int) -> float:
        """What products of two n × n matrices sustain: the median reading of a second.

        The first third is left out: a CPU starts faster than it can go on. And how fast it goes
        on swings by a factor of two on a shared machine, so this is asked again beside every pair.
        """
        import torch

        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b, out = (torch.randn(n, n, device=self.setting.device).to(dtype) for _ in range(3))
        torch.mm(a, b, out=out)  # packs, plans and warms up
        # several products a reading, so that a GPU's launch and a clock's grain weigh nothing
        repeats = 10 if self.setting.device.startswith("cuda") else 2
        readings: list[float] = []
        end = time.perf_counter() + 1
        while time.perf_counter() < end and len(readings) < 2000:
            start = gate.clock()
            for _ in range(repeats):
                torch.mm(a, b, out=out)
            readings.append(repeats * 2 * n**3 / (gate.clock() - start))
        return statistics.median(readings[len(readings) // 3 :])
