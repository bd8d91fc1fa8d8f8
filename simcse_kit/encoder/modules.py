"""What stands between the pooled embedding and the result: SimCSE's head, or a folder's modules.

A chain holds sentence-transformers' own modules and runs them as that library does, so that what
a folder says needs no second implementation here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


class Head(nn.Module):
    """Linear layer and activation on the pooled embedding; SimCSE's MLP is ``H -> H, tanh``."""

    def __init__(
        self, in_features: int, out_features: int, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.activation = nn.Tanh() if activation is None else activation

    @property
    def out_features(self) -> int:
        """Length of what comes out."""
        return self.linear.out_features

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, in_features)`` to ``(B, out_features)``."""
        return self.activation(self.linear(in_type_of(self, pooled)))

    def as_module(self) -> Any:
        """A copy of it as a module of sentence-transformers."""
        from sentence_transformers.base.modules import Dense

        return Dense(
            self.linear.in_features,
            self.linear.out_features,
            activation_function=self.activation,
            init_weight=self.linear.weight.detach().cpu().clone(),
            init_bias=self.linear.bias.detach().cpu().clone(),
        )


class Chain(nn.Module):
    """Modules of sentence-transformers over the pooled embedding, one after another.

    Args:
        steps: each takes and gives a dict with ``sentence_embedding``.
        in_features: length of the pooled embedding.

    Raises whatever the modules raise where their widths do not fit.
    """

    def __init__(self, steps: Iterable[nn.Module], in_features: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        training = self.training
        with torch.no_grad():  # an activation such as GLU changes the width that its module names
            self.out_features = int(self.eval()(torch.zeros(1, in_features)).shape[-1])
        self.train(training)

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, in_features)`` to ``(B, out_features)``."""
        features = {"sentence_embedding": in_type_of(self, pooled)}
        for step in self.steps:
            features = step(features)
        return features["sentence_embedding"]


def in_type_of(module: nn.Module, states: Tensor) -> Tensor:
    """States, which pooling gives in fp32, in the type of a module's weights."""
    return states.to(next(module.parameters(), states).dtype)


@dataclass
class Parts:
    """What a sentence encoder is made of, as a folder describes it.

    Attributes:
        normalize: unit vectors, before `truncate_dim` cuts them.
        truncate_dim: leading numbers of an embedding that are kept, or None for all.
        similarity_fn_name: what embeddings are to be compared by, one of `SIMILARITIES`.
        include_prompt: whether the tokens of a prompt are pooled too.
        own_code: the folder's classes are its own (``trust_remote_code``).
    """

    backbone: PreTrainedModel
    tokenizer: Any
    pooling: str | None
    head: Head | Chain | None = None
    normalize: bool = False
    max_length: int | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    truncate_dim: int | None = None
    similarity_fn_name: str = "cosine"
    include_prompt: bool = True
    own_code: bool = False
