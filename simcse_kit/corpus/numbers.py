"""What a vector's numbers are kept as: float32, float16, int8 with a scale, or one bit each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from simcse_kit.errors import InputError, one_of

#: ``int8`` has a scale for each row, ``binary`` is one bit a dimension, eight to a byte.
NumberType = Literal["fp32", "fp16", "int8", "binary"]

_DTYPES: dict[str, Any] = {
    "fp32": np.float32,
    "fp16": np.float16,
    "int8": np.int8,
    "binary": np.uint8,
}
_MOST = 127


@dataclass(frozen=True)
class Kept:
    """Vectors as they are kept.

    Attributes:
        numbers: ``(n, D)``, of the type's own dtype; of binary ones uint8 ``(n, ceil(D / 8))``.
        scales: float32 ``(n,)`` of int8: a number is so many times the scale of its row.
    """

    numbers: np.ndarray
    scales: np.ndarray | None = None


def check_type(name: str) -> None:
    """Raise InputError for what is no `NumberType`."""
    if name not in get_args(NumberType):
        raise InputError(f"type {one_of(get_args(NumberType), name)}")


def dtype_of(kind: NumberType) -> Any:
    """The numpy type of the numbers that are kept."""
    return np.dtype(_DTYPES[kind])


def width_of(kind: NumberType, dimension: int) -> int:
    """Numbers that are kept of a vector."""
    return -(-dimension // 8) if kind == "binary" else dimension


def kept_as(vectors: np.ndarray, kind: NumberType) -> Kept:
    """Vectors, float32 ``(n, D)``, as they are kept.

    int8 is symmetric, by the largest number of each row: no sample of the corpus is needed, and a
    row does not depend on others. A bit of a binary one says whether the number is above zero, the
    first dimension in the highest bit (`numpy.packbits`; sentence-transformers' ``ubinary``).

    Raises:
        InputError: a number is too large for fp16.
    """
    if kind == "binary":
        return Kept(np.packbits(vectors > 0, axis=1))
    if kind == "int8":
        scales = np.abs(vectors).max(axis=1, initial=0) / np.float32(_MOST)
        steps = vectors / np.where(scales > 0, scales, 1)[:, None]
        return Kept(np.rint(steps).astype(np.int8), scales.astype(np.float32))
    with np.errstate(over="ignore"):  # said below
        numbers = np.ascontiguousarray(vectors, dtype=_DTYPES[kind])
    if kind == "fp16" and (np.isinf(numbers) & np.isfinite(vectors)).any():
        said = "numbers of the vectors are above 65,504 and do not fit fp16; give "
        raise InputError(f"{said}type fp32", command_line=f"{said}--type fp32")
    return Kept(numbers)


def as_floats(kept: Kept, kind: NumberType, dimension: int) -> np.ndarray:
    """The vectors again, float32 ``(n, D)``; of binary ones ``±1/√D``, which is of length 1."""
    if kind == "binary":
        bits = np.unpackbits(kept.numbers, axis=1, count=dimension)
        return (bits.astype(np.float32) * 2 - 1) / np.float32(dimension**0.5)
    if kind == "int8":
        assert kept.scales is not None
        return kept.numbers.astype(np.float32) * kept.scales[:, None]
    return np.asarray(kept.numbers, dtype=np.float32)
