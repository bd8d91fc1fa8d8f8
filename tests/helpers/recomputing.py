"""Layers recomputed in the backward pass, by the name this version of transformers has for it."""

from __future__ import annotations

from torch import nn


def recompute_layers(backbone: nn.Module) -> None:
    """Without reentrance; newer versions call it so and warn at the old name."""
    new_name = getattr(backbone, "activation_checkpointing_enable", None)
    enable = new_name or backbone.gradient_checkpointing_enable
    enable({"use_reentrant": False})
