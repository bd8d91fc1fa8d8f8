"""The last layer computes what pooling reads.

Pooling by the first token throws away the last layer's states of all others. They serve that layer
as keys and values only, so what follows its attention (output, residual, feed-forward: three
quarters of its products) need not be computed for them, neither forward nor backward.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from simcse_kit.compute.fast_layers import FAMILIES
from simcse_kit.compute.packing import PackedBatch, runs_packed
from simcse_kit.compute.states import fill_of, hidden_states
from simcse_kit.compute.taught import Taught, teach
from simcse_kit.compute.unaltered import are_unaltered, is_of

_ATTENTIONS = tuple(f"{family}Attention" for family in FAMILIES)


def use_early_end(backbone: nn.Module) -> None:
    """Teach a backbone's last layer, where it is of a known kind, to go on with some tokens."""
    attention = getattr(_last_layer(backbone), "attention", None)
    if attention is not None and is_of(attention, _ATTENTIONS):
        teach(attention, _KeepsSome)


def ends_early(backbone: nn.Module) -> bool:
    """Whether `use_early_end` found its last layer of a known kind, and nobody changed it since."""
    layer = _last_layer(backbone)
    known = isinstance(getattr(layer, "attention", None), _KeepsSome)
    return known and layer is not None and are_unaltered(layer.modules())


def _last_layer(backbone: nn.Module) -> nn.Module | None:
    layers = getattr(getattr(backbone, "encoder", None), "layer", None)
    return layers[-1] if isinstance(layers, nn.ModuleList) else None


class _KeepsSome(Taught):
    """Mixed in before BERT's ``Attention`` (and its copies), which has ``self`` and ``output``."""

    self: nn.Module
    output: nn.Module
    keeps_some = True

    def forward(
        self, hidden_states: Tensor, *args: Any, kept_tokens: Tensor | None = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """As its original; with `kept_tokens` (places in the row) for these alone."""
        if kept_tokens is None:
            unchanged: tuple[Any, ...] = super().forward(hidden_states, *args, **kwargs)
            return unchanged
        attended, weights = self.self(hidden_states, *args, **kwargs)
        kept = (states.index_select(1, kept_tokens) for states in (attended, hidden_states))
        return self.output(*kept), weights


def first_token_states(backbone: Any, batch: PackedBatch) -> Tensor:
    """The last layer's state of each sequence's first token, ``(sequences, hidden)``.

    In the batch's own order, shortest sequence first.
    """
    if not (runs_packed(backbone) and ends_early(backbone)):
        (states,) = hidden_states(backbone, batch)
        return states.index_select(0, batch.starts)
    starts = batch.starts
    # as many as a row is filled up to, for the same reason
    kept = F.pad(starts, (0, fill_of(len(starts)))) if batch.layout is None else starts
    (states,) = hidden_states(backbone, batch, kept_tokens=kept)
    return states[: len(starts)]
