"""All pairs of vectors that are near each other, block by block: never the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from simcse_kit.compute import resolve_precision, whole_products
from simcse_kit.corpus.exact import Rows

#: Rows compared with as many at a time: 128 MiB of cosines in bf16, 256 in fp32.
BLOCK = 8192

#: Pairs whose cosines are taken in float64 at a time, times the dimensions: 64 MiB a side.
_AT_A_TIME = 1 << 23


@dataclass(frozen=True, eq=False)
class Near:
    """Pairs (P,) of a block: `first[p]` < `second[p]` are rows whose cosine reaches a threshold."""

    first: np.ndarray
    second: np.ndarray


class PairFinder:
    """The pairs of some rows whose cosine is at least a threshold. What is found is exact.

    The products are taken in bf16 where the hardware multiplies it natively, else in fp32. By how
    much these may be wrong is known: two roundings of factors and one of the product, each at most
    2⁻⁸ of what is rounded, and |x|·|y| ≤ 1. What lies within that of the threshold is
    decided by its cosine in float64.

    Attributes:
        vectors: unit rows, float32 (M, D).
        among: int64 (n,), ascending: the rows that are compared.
        starts: the places in `among` where blocks of rows begin.
    """

    def __init__(
        self,
        vectors: Rows,
        threshold: float,
        among: np.ndarray,
        *,
        block: int = BLOCK,
        precision: str = "auto",
    ) -> None:
        import torch

        self.vectors, self.threshold, self.among = vectors, threshold, among
        self.block = block
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.bf16 = resolve_precision(precision, self.device) == "bf16"
        rounded = 3 * 2.0**-8 + 2.0**-10 if self.bf16 else 0.0
        self.margin = rounded + vectors.shape[1] * 2.0**-23  # the sum is in fp32
        self.starts = range(0, len(among), block)

    def block_pairs(self, left: int) -> Iterator[Near]:
        """The pairs of the rows of the block from `left` on with each other and all behind them."""
        ours = self.among[left : left + self.block]
        asked = self._on_device(ours)
        for right in range(left, len(self.among), self.block):
            theirs = self.among[right : right + self.block]
            others = asked if right == left else self._on_device(theirs)
            with whole_products():
                products = asked @ others.T
            rows, columns, sure = self._reach(products)
            if right == left:
                behind = columns > rows
                rows, columns, sure = rows[behind], columns[behind], sure[behind]
            first, second = ours[rows], theirs[columns]
            sure[~sure] = self._exactly(first[~sure], second[~sure])
            if sure.any():
                yield Near(first[sure], second[sure])

    def _on_device(self, rows: np.ndarray) -> Any:
        import torch

        block = torch.from_numpy(np.array(read(self.vectors, rows), np.float32)).to(self.device)
        return block.bfloat16() if self.bf16 else block

    def _reach(self, products: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns of what may reach the threshold, and whether it does so surely."""
        low, high = self.threshold - self.margin, self.threshold + self.margin
        if self.device == "cpu":
            import torch

            # as whole numbers the bits of positive bf16 numbers stand in their order, and those
            # of negative ones below them; numpy, which has no bf16, compares them the fastest
            if self.bf16 and low > 0:
                bits = products.view(torch.int16).numpy()
                least = torch.tensor(low).bfloat16().view(torch.int16).item()
                flat = np.flatnonzero(bits >= least)
            else:
                flat = np.flatnonzero(products.float().numpy() >= low)
            values = products.reshape(-1)[torch.from_numpy(flat)].float().numpy()
        else:
            places = (products >= low).reshape(-1).nonzero()[:, 0]
            flat = places.cpu().numpy()
            values = products.reshape(-1)[places].float().cpu().numpy()
        rows, columns = np.divmod(flat, products.shape[1])
        return rows, columns, values >= high

    def _exactly(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return cosines_of(self.vectors, first, second) >= self.threshold


def read(vectors: Rows, rows: np.ndarray) -> np.ndarray:
    """These rows, float32 (n, D); those that follow each other as one piece."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        piece: np.ndarray = vectors[int(rows[0]) : int(rows[-1]) + 1]
        return piece
    some: np.ndarray = vectors[rows]
    return some


def cosines_of(vectors: Rows, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The products of row `first[p]` with row `second[p]`, in float64: (P,)."""
    cosines = np.empty(len(first))
    at_once = max(1, _AT_A_TIME // vectors.shape[1])
    for start in range(0, len(first), at_once):
        some = slice(start, start + at_once)
        pair = (np.asarray(vectors[each[some]], np.float64) for each in (first, second))
        cosines[some] = np.einsum("pd,pd->p", *pair)
    return cosines
