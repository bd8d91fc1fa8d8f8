"""An encoder whose embeddings are whitened by a last linear layer, which its folder keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from simcse_kit.encoder.modules import Chain, Head
from simcse_kit.encoder.pooling import pooled_width
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.geometry import Whitening, whitening


def whitened(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    dimensions: int | None = None,
    *,
    normalize: Literal["keep", "drop"] | None = None,
    show_progress: bool = False,
) -> tuple[SentenceEncoder, Whitening]:
    """The encoder with the whitening of these texts behind pooling and head, and that whitening.

    It is one more linear layer: weight W and bias −μW (`geometry.whitening`). Numbers that
    `truncate_dim` cuts off have weight 0, and the result is cut no more. Prompts, lengths and
    comparison stay.

    Args:
        encoder: is left as it is, and shares its weights with what is given.
        texts: to fit on, equal ones once; embedded in fp32, behind the default prompt.
        dimensions: as of `geometry.whitening`; None wants more texts than dimensions.
        normalize: what becomes of a Normalize at the model's end. The layer is fitted and stands
            before it either way; kept, it makes whitened vectors unit vectors, which changes no
            cosine; dropped, they keep their lengths.

    Raises:
        InputError: a model that normalises and no word on it, or the other way round; too few
            texts; or as `geometry.whitening`.
    """
    _check_normalize(encoder, normalize)
    distinct = list(dict.fromkeys(texts))
    width = encoder.dimension
    if dimensions is None and len(distinct) <= width:
        raise InputError(
            f"{len(distinct)} different texts do not fill the {width} dimensions of "
            f"{encoder.name}; give more texts, or fewer dimensions than texts",
            command_line=f"{len(distinct)} different texts do not fill the {width} dimensions of "
            f"{encoder.name}; give more texts, or fewer --dimensions than texts",
        )
    if len(distinct) < 2:
        raise InputError(f"{len(distinct)} different text has no variance; give at least two")
    found = whitening(_before_the_end(encoder, distinct, show_progress)[:, :width], dimensions)
    parts = replace(
        encoder.parts(),
        head=_behind(encoder, found),
        normalize=normalize == "keep",
        truncate_dim=None,
    )
    made = SentenceEncoder(parts, name=encoder.name, precision=encoder.precision)
    return made.to(encoder.device).train(encoder.training), found


def _check_normalize(encoder: SentenceEncoder, normalize: str | None) -> None:
    if encoder.normalize and normalize is None:
        said = (
            f"{encoder.name} normalises its vectors at the end, and what whitens stands before "
            "that, for unit vectors do not stay white; {} leaves the Normalize out, and {} makes "
            "the whitened vectors unit vectors again"
        )
        raise InputError(
            said.format("normalize='drop'", "normalize='keep'"),
            command_line=said.format("--normalize drop", "--normalize keep"),
        )
    if normalize == "keep" and not encoder.normalize:
        raise InputError(f"{encoder.name} has no Normalize to keep; leave it out")


def _before_the_end(encoder: SentenceEncoder, texts: list[str], show_progress: bool) -> np.ndarray:
    """What the model gives before it normalises and cuts, float32 ``(N, width)``."""
    kept = encoder.normalize, encoder.truncate_dim
    encoder.normalize, encoder.truncate_dim = False, None
    try:
        return encoder.encode(texts, normalize=False, precision="fp32", show_progress=show_progress)
    finally:
        encoder.normalize, encoder.truncate_dim = kept


def _behind(encoder: SentenceEncoder, found: Whitening) -> Head | Chain:
    """The encoder's head and the whitening behind it."""
    cut, count = found.weight.shape
    layer = Head(encoder.width, count, torch.nn.Identity())
    with torch.no_grad():
        layer.linear.weight.zero_()
        layer.linear.weight[:, :cut] = torch.from_numpy(found.weight.T)
        layer.linear.bias.copy_(torch.from_numpy(-found.mean @ found.weight))
    if encoder.head is None:
        return layer
    steps: list[Any] = (
        [*encoder.head.steps] if isinstance(encoder.head, Chain) else [encoder.head.as_module()]
    )
    width = pooled_width(encoder.pooling, encoder.backbone)
    return Chain([*steps, layer.as_module()], width)
