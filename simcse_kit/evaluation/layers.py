"""The geometry of an encoder layer by layer: where in the network the space takes its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simcse_kit.compute import PackedBatch, hidden_states
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.geometry import Space, measure_space


class _EveryLayer(SentenceEncoder):
    """The same modules, giving every layer's mean over tokens end to end, so that the one encode
    path does the batching, precision and prompts."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        parts = replace(
            encoder.parts(),
            pooling="mean",
            head=None,
            normalize=False,
            truncate_dim=None,
            include_prompt=True,
        )
        super().__init__(parts, name=encoder.name, precision=encoder.precision)
        self.train(encoder.training)

    @property
    def layers(self) -> int:
        return int(self.backbone.config.num_hidden_layers) + 1

    @property
    def dimension(self) -> int:
        return self.layers * super().dimension

    def forward(self, batch: PackedBatch, skip: int = 0) -> Tensor:
        pooled = []
        for states in hidden_states(self.backbone, batch, all_layers=True):
            groups = batch.by_length(states)
            pooled.append(torch.cat([group.float().mean(1) for group in groups]))
        return torch.cat(pooled, dim=1)[batch.order]


def layer_embeddings(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    *,
    batch_tokens: int | None = None,
    show_progress: bool = False,
) -> np.ndarray:
    """Mean over tokens of every layer's states, float32 (layers + 1, N, hidden).

    Layer 0 is the embedding layer. Special tokens count as tokens, and the encoder's own
    pooling, head and normalisation are left out, so the last layer is the encoder's embedding
    only for a mean-pooling encoder. All layers are held at once: (layers + 1) · N · hidden · 4
    bytes. Raises InputError as `SentenceEncoder.encode` does.
    """
    every = _EveryLayer(encoder)
    flat = every.encode(list(texts), batch_tokens=batch_tokens, show_progress=show_progress)
    return flat.reshape(len(flat), every.layers, -1).swapaxes(0, 1)


def measure_layers(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    *,
    batch_tokens: int | None = None,
    show_progress: bool = False,
    **options: Any,
) -> tuple[Space, ...]:
    """`geometry.measure_space` of every layer of an encoder, the embedding layer first.

    Args:
        texts: N different sentences; a repeated one would be a pair at distance 0.
        batch_tokens, show_progress: as for `SentenceEncoder.encode`.
        options: for `measure_space`: pairs (as rows of `texts`), gold, lengths, …

    Raises:
        InputError: a repeated text; and as `measure_space`, naming the layer.
    """
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        if first.setdefault(text, row) != row:
            raise InputError(
                f"Text {row} repeats text {first[text]}, a pair at distance 0 in every layer:"
                " give each sentence once."
            )
    layers = layer_embeddings(
        encoder, texts, batch_tokens=batch_tokens, show_progress=show_progress
    )
    spaces = []
    for number, embeddings in enumerate(layers):
        try:
            spaces.append(measure_space(embeddings, **options))
        except InputError as error:
            raise InputError(f"Layer {number} of {encoder.name}: {error}") from error
    return tuple(spaces)
