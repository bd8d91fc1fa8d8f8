"""Whether two encoders are the same one, whatever they are called and wherever they lie."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder

#: What a configuration holds that changes no embedding.
_NO_MATTER = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"}
_NO_MATTER |= {"use_cache"}


def architecture_of(encoder: SentenceEncoder) -> str:
    """Of the network and the tokenizer, 32 hex digits."""
    backend: Any = getattr(encoder.tokenizer, "backend_tokenizer", None)
    tokens = json.loads(backend.to_str()) if hasattr(backend, "to_str") else {}
    tokens |= {"truncation": None, "padding": None}  # the last call's
    shapes = {name: list(each.shape) for name, each in encoder.named_parameters()}
    return _hashed([encoder.backbone.config.model_type, shapes, tokens])


def network_of(encoder: SentenceEncoder) -> str:
    """Of what the network computes with its weights, 32 hex digits."""
    return _hashed([_config_of(encoder)])


def weights_of(encoder: SentenceEncoder) -> str:
    """Of some numbers of every weight, for other weights differ in nearly all; 32 hex digits.

    Of an encoder that an export runs, of that.
    """
    if encoder.runtime is not None:
        return encoder.runtime.identity
    digest = hashlib.sha256()
    for _, weight in sorted(encoder.named_parameters()):
        flat = weight.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // 64)]
        digest.update(some.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:32]


def embeddings_of(encoder: SentenceEncoder, prompt: str, normalize: bool) -> str:
    """Of all that its embeddings of a text depend on, 32 hex digits.

    Args:
        prompt: the text put before each.
        normalize: whether they are of unit length.
    """
    settings = [
        _config_of(encoder),
        [encoder.pooling, repr(encoder.head), encoder.truncate_dim, encoder.normalize],
        [encoder.include_prompt, encoder.max_length, encoder.precision],
        [prompt, normalize],
    ]
    return _hashed([architecture_of(encoder), weights_of(encoder), settings])


def _config_of(encoder: SentenceEncoder) -> dict[str, Any]:
    """The backbone's configuration, but for what changes no embedding."""
    config = encoder.backbone.config.to_dict()
    return {name: each for name, each in config.items() if name not in _NO_MATTER}


def _hashed(parts: list[Any]) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
