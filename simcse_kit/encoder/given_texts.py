"""What Python users ask of `encode`: texts, whatever gives strings in an order, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from simcse_kit.data import column_cells, is_column
from simcse_kit.errors import InputError


class Asked(NamedTuple):
    """How texts are embedded, once what was left to the encoder is settled.

    Attributes:
        prefix: put before each text.
        normalize: whether vectors are made of length 1.
        precision: that is computed in.
        batch_tokens: tokens a batch; None: as fits the device.
    """

    prefix: str
    normalize: bool
    precision: Literal["fp32", "bf16"]
    batch_tokens: int | None


#: How columns of other libraries (numpy, pandas, polars, pyarrow, torch) become lists.
_TO_LIST = ("to_pylist", "tolist", "to_list")


def as_texts(texts: str | Iterable[str]) -> Sequence[str]:
    """The texts as a sequence; a string is one text. Whether each is a string, its reader asks.

    Raises:
        InputError: what has no order (a set), is ambiguous (a dict), or holds no texts in a row.
    """
    if isinstance(texts, str):
        return [texts]
    if is_column(texts):
        texts = column_cells(texts)
    if isinstance(texts, (list, tuple)):
        return texts
    kind = type(texts).__name__
    if isinstance(texts, (set, frozenset)):
        raise InputError(f"the texts are a {kind}, which has no order; give sorted(texts)")
    if isinstance(texts, Mapping):
        raise InputError(f"the texts are a {kind}; give its .keys() or .values()")
    if isinstance(texts, (bytes, bytearray)) or not isinstance(texts, Iterable):
        raise InputError(f"the texts are of type {kind}; give a string, or strings in a row")
    if getattr(texts, "ndim", 1) != 1:
        shape = tuple(getattr(texts, "shape", ()))
        raise InputError(f"the texts have shape {shape}; give one dimension")
    convert: Any = next((getattr(texts, name) for name in _TO_LIST if hasattr(texts, name)), None)
    return list(texts) if convert is None else convert()


#: What sentence-transformers' `encode` calls its settings: what says the same here.
_THEIRS = {
    "normalize_embeddings": "that is normalize",
    "show_progress_bar": "that is show_progress",
    "batch_size": "batches are made by tokens: batch_tokens",
    "convert_to_tensor": "embeddings are arrays: torch.from_numpy makes them tensors",
    "convert_to_numpy": "embeddings are arrays, always",
    "truncate_dim": "set it where the encoder is loaded",
    "device": "move the encoder: encoder.to(device)",
}
_SETTINGS = "normalize, precision, batch_tokens, prompt, prompt_name, show_progress and out"


def no_others(unknown: Mapping[str, object]) -> None:
    """InputError where `encode` was given what it does not take, with what it takes instead."""
    for name in unknown:
        hint = _THEIRS.get(name, f"it takes {_SETTINGS}")
        raise InputError(f"encode has no setting {name!r}: {hint}.")
