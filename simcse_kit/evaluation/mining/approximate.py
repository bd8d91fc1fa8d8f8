"""The nearest candidates by an index of faiss's: most of them, in a part of the time."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.corpus import Barred, in_order
from simcse_kit.data import replacing
from simcse_kit.errors import InputError

#: Candidates from which on cells are searched in place of all (IVF).
_MANY = 20_000
_PROBED = 32  # of so many cells one is looked into
_TRAINED_ON = 40  # candidates a cell, from which the cells are learnt; faiss wants 39
_AT_A_TIME = 65_536  # candidates added


def check_faiss() -> None:
    """Raise InputError where faiss is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise InputError(
            "index faiss needs the package faiss-cpu, which is not installed: pip install"
            " 'simcse-kit[faiss]', or take index exact",
            command_line="--index faiss needs the package faiss-cpu, which is not installed: pip"
            " install 'simcse-kit[faiss]', or leave it out",
        )


class Approximate:
    """`simcse_kit.corpus.nearest`, by an index that lies in a file.

    Of fewer than 20,000 candidates all are compared (IndexFlatIP). Of more, M, the 4·√M cells are
    learnt by k-means from a sample, each holds its candidates in fp16, and a query looks into the
    nearest 32nd part of them (IVF, Jégou et al. 2011). What is found is put in order by exact
    cosines. Memory is that of the index: 2 bytes a number, 0.8 GB for a million rows of 384.
    """

    def __init__(self, corpus: np.ndarray, path: Path) -> None:
        import faiss

        self.corpus = corpus
        if not path.is_file():
            with replacing(path) as aside:
                faiss.write_index(_built(corpus), str(aside))
        self.index = _read(path)
        if hasattr(self.index, "nlist"):
            self.index.nprobe = max(1, self.index.nlist // _PROBED)

    def __call__(
        self, queries: np.ndarray, depth: int, barred: Barred
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the corpus and cosines, as `nearest` gives them."""
        most = int(np.bincount(barred.query, minlength=1).max())
        _, found = self.index.search(np.array(queries), min(len(self.corpus), depth + most))
        pairs = np.arange(len(queries))[:, None] * len(self.corpus) + found
        out = np.isin(pairs, barred.query * len(self.corpus) + barred.candidate)
        found[out] = -1
        return in_order(queries, self.corpus, found, min(len(self.corpus), depth))


def _read(path: Path) -> Any:
    """The index in a file; whether it has cells depends on how many rows it was built of."""
    import faiss

    return faiss.read_index(str(path))


def _built(corpus: np.ndarray) -> Any:
    import faiss

    count, width = corpus.shape
    index: Any
    if count < _MANY:
        index = faiss.IndexFlatIP(width)
    else:
        cells = int(4 * math.sqrt(count))
        index = faiss.index_factory(width, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
        drawn = np.random.default_rng(0).choice(count, min(count, _TRAINED_ON * cells), False)
        index.train(corpus[np.sort(drawn)])
    for start in range(0, count, _AT_A_TIME):
        index.add(np.array(corpus[start : start + _AT_A_TIME]))
    return index
