"""Texts become the embeddings that are judged: each distinct text once, what comes back checked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from simcse_kit.corpus import given
from simcse_kit.encoder import template_of
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)


class Encoder(Protocol):
    """Anything that can be judged."""

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """Called with a list of N sentences; embeddings (N, D) in their order."""


def model_name(model: Any) -> str:
    """What to call a model in a result: its own `name`, or that of its class."""
    return str(getattr(model, "name", "") or type(model).__name__)


def model_settings(model: Any, encode_kwargs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Precision, tokens a text is cut to, pooling, prompt and template, as far as the model says
    them.
    """
    settings = {
        "precision": (encode_kwargs or {}).get("precision") or getattr(model, "precision", None),
        "max_length": getattr(model, "max_length", getattr(model, "max_seq_length", None)),
        "pooling": getattr(model, "pooling", None),
    }
    default = getattr(model, "default_prompt_name", getattr(model, "default_prompt", None))
    settings["prompt"] = (getattr(model, "prompts", None) or {}).get(default) or None
    tokenizer = getattr(model, "tokenizer", None)
    template = template_of(tokenizer)
    settings["template"] = None if template is None else template.told(tokenizer)
    return {key: value for key, value in settings.items() if isinstance(value, str | int)}


def say_by_cosine(model: Any) -> None:
    """Say that the figures are of cosines, where the model is made to be compared otherwise."""
    name = getattr(model, "similarity_fn_name", None) or "cosine"
    if name != "cosine":
        logger.warning(
            "%s says that it compares by %s; these figures are of cosines", model_name(model), name
        )


def distinct(texts: Iterable[str]) -> dict[str, int]:
    """Each different text with its row number, in order of appearance."""
    return {text: row for row, text in enumerate(dict.fromkeys(texts))}


def embed(
    model: Encoder, texts: list[str], encode_kwargs: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Embeddings (len(texts), D) from one call of `model.encode`: float32, finite and not zero.

    Raises InputError for a model without `encode` and for anything else that comes back from it.
    """
    encode = getattr(model, "encode", None)
    if not callable(encode):
        raise InputError(
            f"A {type(model).__name__} cannot be judged: it has no encode(list of str)."
        )
    logger.info("embedding %d distinct sentences", len(texts))
    embeddings = as_array(encode(texts, **(encode_kwargs or {})))
    if embeddings.ndim != 2 or len(embeddings) != len(texts):
        raise InputError(
            f"encode() of {len(texts)} sentences returned an array of shape {embeddings.shape}:"
            f" ({len(texts)}, D) is expected, one row a sentence in the same order."
        )
    lengths = np.linalg.norm(embeddings, axis=1)
    for bad, what in ((~np.isfinite(lengths), "not finite"), (lengths == 0, "all zero")):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{int(bad.sum())} embedding(s) are {what}, the first that of {texts[row]!r}:"
                " a cosine needs a finite vector that is not zero."
            )
    return embeddings


def pair_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosines (N,) of the rows of two arrays (N, D), float64."""
    sides = [side.astype(np.float64) for side in (first, second)]
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    # By 1 − ½‖u − v‖², not by u·v: equal texts are ties at 1, whatever is rounded, and pairs of a
    # narrow space, whose cosines all but equal 1, keep their order.
    difference = unit[0] - unit[1]
    return 1.0 - 0.5 * np.einsum("nd,nd->n", difference, difference)


def as_array(embeddings: Any) -> np.ndarray:
    """What a model's `encode` returned, as float32 (N, D) (`corpus.given.as_array`)."""
    return given.as_array(embeddings, what="encode() returned")
