"""What is cut off of the embeddings of a batch, between the embedding layer and the encoder.

ConSERT (Yan et al., ACL 2021, section 3.2; ``_cutoff_embeddings`` of the authors' code) sets rows
(tokens) or columns (features) of what the embedding layer gives to zero, after its norm and its
dropout, and scales nothing up; the encoder attends to those tokens as to others. A hook does it:
layers, fast or not, are as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from simcse_kit.errors import InputError


@dataclass(frozen=True)
class Kept:
    """What is left of the embeddings of a packed row, E wide; all of it where a part is None.

    Attributes:
        tokens: bool ``(tokens,)``, False for those whose embedding becomes zero.
        features: bool ``(sequences, E)``, False for the dimensions that become zero in all tokens
            of a sequence.
    """

    tokens: Tensor | None = None
    features: Tensor | None = None

    def of_tokens(self, owners: Tensor) -> Tensor:
        """Bool ``(tokens, E)``, or ``(tokens, 1)`` of whole tokens alone.

        Args:
            owners: int64 ``(tokens,)``, the number of each token's sequence.
        """
        kept = torch.ones(len(owners), 1, dtype=torch.bool, device=owners.device)
        if self.tokens is not None:
            kept = self.tokens[:, None]
        if self.features is not None:
            kept = kept & self.features.index_select(0, owners)
        return kept

    def part(self, tokens: slice, sequences: slice) -> Kept:
        """Of these tokens, which are those of these sequences."""
        return Kept(
            None if self.tokens is None else self.tokens[tokens],
            None if self.features is None else self.features[sequences],
        )

    def filled(self, fill: int) -> Kept:
        """Of so many more tokens, which lose nothing of their own."""
        if self.tokens is None:
            return self
        return Kept(nn.functional.pad(self.tokens, (0, fill), value=True), self.features)

    def each(self, change: Callable[[Tensor], Tensor]) -> Kept:
        """The same on another device, say."""
        return Kept(
            None if self.tokens is None else change(self.tokens),
            None if self.features is None else change(self.features),
        )


class _Cut:
    """A hook of the embedding layer: its output ``(…, E)`` times what is kept, where that is told.

    It stays where it was registered, for to register one breaks torch.compile's graph.
    """

    kept: Tensor | None = None

    def __call__(self, _: nn.Module, __: Any, states: Tensor) -> Tensor:
        if self.kept is None:
            return states
        filled = states.shape[-2] - self.kept.shape[-2]  # by the backbone (Longformer), at the end
        return states * nn.functional.pad(self.kept, (0, 0, 0, filled), value=True)


@contextmanager
def cutting(backbone: PreTrainedModel, kept: Tensor | None) -> Iterator[None]:
    """Let the encoder see no more of the embeddings than is kept, while the context lasts.

    Args:
        kept: bool, of a shape that the embedding layer's output multiplies with; None: all.
    """
    if kept is None:
        yield
        return
    cut = _cut_of(backbone)
    cut.kept = kept
    try:
        yield
    finally:
        cut.kept = None


def use_cutoff(backbone: PreTrainedModel, name: str = "this encoder") -> int:
    """Make a backbone ready for batches that say what is kept of their embeddings.

    Which module gives the embeddings is found by its place, and tried on a few tokens.

    Args:
        name: of the encoder, for the message.

    Returns:
        E, their width.

    Raises:
        InputError: there is no such module, or not one that gives one state a token.
    """
    from simcse_kit.compute.unpacked import few_tokens, unpacked_states

    layer, shapes, batch = _embedding_layer(backbone), list[Any](), few_tokens(backbone)
    watch = layer.register_forward_hook(
        lambda _, __, states: shapes.append(getattr(states, "shape", ()))
    )
    try:
        with torch.no_grad():
            unpacked_states(backbone, batch, backbone.config.pad_token_id or 0, by_length=False)
    finally:
        watch.remove()
    block = (len(batch), batch.groups[-1][1])
    if len(shapes) != 1 or len(shapes[0]) != 3 or tuple(shapes[0][:2]) != block:
        raise InputError(
            f"{name!r}: a {backbone.config.model_type} model has no embedding layer of which "
            "something could be cut off; take a view that changes the tokens"
        )
    _cut_of(backbone)
    return int(shapes[0][2])


def _cut_of(backbone: PreTrainedModel) -> _Cut:
    """The hook of a backbone, which it has from then on."""
    cut = getattr(backbone, "cutoff", None)
    if not isinstance(cut, _Cut):
        backbone.cutoff = cut = _Cut()
        _embedding_layer(backbone).register_forward_hook(cut)
    return cut


def _embedding_layer(backbone: PreTrainedModel) -> nn.Module:
    """What gives the encoder its input; the tokens' table where positions are added elsewhere."""
    encoder = backbone.get_encoder()  # of a model with a decoder; of others, layers alone
    table = (encoder if isinstance(encoder, PreTrainedModel) else backbone).get_input_embeddings()
    whole = getattr(backbone, "embeddings", None)
    if isinstance(whole, nn.Module) and any(each is table for each in whole.modules()):
        return whole
    return cast(nn.Module, table)
