"""Arrays of embeddings become checked unit rows, and blocks of their cosines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


class Unmeasurable(InputError):
    """These sentences have no such figure, and no setting of the caller's is wrong."""


@overload
def normalize(x: np.ndarray) -> np.ndarray: ...
@overload
def normalize(x: Tensor) -> Tensor: ...
def normalize(x: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Rows of `x` (N, D) on the unit sphere, float32, as the kind of array that came in.

    Raises InputError for what is not two-dimensional, not finite, or has a row of zeros.
    """
    unit = unit_rows(x, "embeddings")
    if isinstance(x, np.ndarray):
        as_numpy: np.ndarray = unit.numpy()
        return as_numpy
    return unit


def unit_rows(x: Any, name: str, at_least: int = 1, numbers: np.ndarray | None = None) -> Tensor:
    """`x` (N, D) as a float32 torch tensor of unit rows, on its own device, checked.

    `numbers` (N,) are the rows' numbers for complaints, where `x` is a part of the user's array.
    """
    rows, lengths = _checked(x, name, at_least, numbers)
    if not bool((lengths > 0).all()):
        row = _first(lengths == 0, numbers)
        raise InputError(f"{name} has no direction in row {row}: all its values are zero.")
    return rows / lengths[:, None]


def finite_rows(x: Any, name: str, at_least: int = 1) -> Tensor:
    """`x` (N, D) as a float32 torch tensor, on its own device, checked; lengths as they are."""
    return _checked(x, name, at_least)[0]


def _checked(
    x: Any, name: str, at_least: int, numbers: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """Rows (N, D) and their lengths (N,)."""
    import torch

    if isinstance(x, torch.Tensor):
        rows = x.detach().float()
    else:
        try:
            rows = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} must be an array of numbers (N, D): {error}.") from error
    if rows.ndim != 2:
        raise InputError(f"{name} must be an array (N, D), not of shape {tuple(rows.shape)}.")
    if len(rows) < at_least:
        raise InputError(f"{name} holds {len(rows)} row(s), at least {at_least} are needed.")
    lengths = rows.norm(dim=1)
    if not bool(torch.isfinite(lengths).all()):
        row = _first(~torch.isfinite(lengths), numbers)
        raise InputError(f"{name} is not finite: row {row} holds NaN, infinity or huge values.")
    return rows, lengths


def _first(bad: Tensor, numbers: np.ndarray | None) -> int:
    row = int(bad.nonzero()[0])
    return row if numbers is None else int(numbers[row])


def cosine_blocks(unit: Tensor, block: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Cosines of `unit` (N, D) in blocks on and above the diagonal: (rows, columns, block).

    Every pair comes once, but for those inside the square blocks on the diagonal, which hold
    each pair twice and every row with itself. The block is the caller's to overwrite.
    """
    import torch

    n = len(unit)
    for i in range(0, n, block):
        for j in range(i, n, block):
            # A training step may call this under autocast, which would make the product bf16.
            with torch.autocast(unit.device.type, enabled=False):
                cosines = unit[i : i + block] @ unit[j : j + block].T
            # Float32 cosines may exceed 1 by a rounding error.
            yield slice(i, i + block), slice(j, j + block), cosines.clamp_(max=1.0)


def whole_number(value: Any, name: str, at_least: int = 1) -> int:
    """`value` as an int, or InputError unless it is a whole number of at least `at_least`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < at_least:
        raise InputError(f"{name} must be a whole number of at least {at_least}, not {value!r}.")
    return int(value)
