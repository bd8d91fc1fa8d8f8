"""The rows that an index is searched among, made ready once for however many searches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simcse_kit.corpus.approximate import Allowed
from simcse_kit.corpus.index_manifest import Manifest
from simcse_kit.corpus.recall import Order


@dataclass(frozen=True, eq=False)
class Among:
    """Some of the rows of an index.

    To make them ready is to look at all rows of the index; a search looks at none for it.

    Attributes:
        mask: bool (M,).
        count: how many they are.
        allowed: the same, in the order of the index.
        manifest: what the index was then; as another it is not searched among them.
    """

    mask: np.ndarray
    count: int
    allowed: Allowed
    manifest: Manifest

    @classmethod
    def of(cls, mask: np.ndarray, manifest: Manifest) -> Among:
        """Those of a mask of all rows."""
        allowed = Allowed(Order.of(manifest.rows).numbers(mask))
        return cls(mask, int(mask.sum()), allowed, manifest)

    @property
    def rows(self) -> np.ndarray:
        """Their numbers, int64, ascending."""
        return np.flatnonzero(self.mask)
