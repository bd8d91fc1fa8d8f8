"""The nearest candidates by an index of faiss's: most of them, in a part of the time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from simcse_kit.corpus import Barred, approximate, in_order

#: Candidates from which on cells are searched in place of all (IVF).
_MANY = 20_000
_PROBED = 32  # of so many cells one is looked into


class Approximate:
    """`simcse_kit.corpus.nearest`, by an index that lies in a file.

    Of fewer than 20,000 candidates all are compared (Flat). Of more, M, the 4·√M cells are learnt
    by k-means from a sample, each holds its candidates in fp16, and a query looks into the nearest
    32nd part of them (IVF, Jégou et al. 2011): to make it takes less than a graph, and there are
    as many queries as candidates. What is found is put in order by exact cosines. Memory is that of
    the index: 2 bytes a number, 0.8 GB for a million rows of 384.
    """

    def __init__(self, corpus: np.ndarray, path: Path) -> None:
        self.corpus = corpus
        count = len(corpus)
        cells = int(4 * math.sqrt(count)) if count >= _MANY else 0
        if not path.is_file():
            factory = f"IVF{cells},SQfp16" if cells else "Flat"
            approximate.write(approximate.build(corpus, factory), path)
        self.index = approximate.read(path)
        self.effort = max(1, cells // _PROBED) if cells else None

    def __call__(
        self, queries: np.ndarray, depth: int, barred: Barred
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the corpus and cosines, as `nearest` gives them."""
        most = int(np.bincount(barred.query, minlength=1).max())
        found = approximate.search(self.index, queries, depth + most, effort=self.effort)
        pairs = np.arange(len(queries))[:, None] * len(self.corpus) + found
        out = np.isin(pairs, barred.query * len(self.corpus) + barred.candidate)
        found[out] = -1
        return in_order(queries, self.corpus, found, min(len(self.corpus), depth))
