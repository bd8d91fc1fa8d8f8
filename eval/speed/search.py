"""Exact search against a plain product with selection, and an index against exact search.

    python -m eval.speed.search --vectors wiki.npy [--queries 100] [--factory HNSW32_SQ8]
        [--index DIR] --json eval/results/search.json

The last rows of the file are the queries, and are not searched. The plain product makes the whole
matrix of cosines by BLAS and selects with `numpy.argpartition`; both read the same memory map, in
turns, so that a busy machine slows both: a ratio is the median of the ratios of turns that lay side
by side. Peak memory is that of a process of its own for each. An index that lies in DIR already is
taken as it is; queries go to it together and one by one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from eval.provenance import write
from simcse_kit.compute import peak_memory
from simcse_kit.corpus import VectorIndex, nearest, unit

TOP = 10


def claim(figures: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    rows, width = figures["shape"]
    exact, index = figures["exact"], figures["index"]
    return (
        f"Exact search of the {TOP} nearest of {rows:,} × {width} for {figures['queries']} queries "
        f"takes {exact['ratio']:.2f} of the time of a plain product with selection and "
        f"{exact['peak_GB']['ours']:.1f} of its {exact['peak_GB']['plain']:.1f} GB; "
        f"{index['factory']} finds {100 * index['recall']:.1f} % of them "
        f"{index['times_faster']['together']:.0f} times as fast ("
        f"{index['times_faster']['one by one']:.0f} one by one) and opens in "
        f"{index['open_seconds']:.2f} s."
    )


def plain(queries: np.ndarray, corpus: np.ndarray) -> np.ndarray:
    """Rows (N, 10) by the whole matrix of products."""
    cosines = queries @ corpus.T
    some = np.argpartition(cosines, -TOP, axis=1)[:, -TOP:]
    order = np.argsort(-np.take_along_axis(cosines, some, 1), axis=1)
    rows: np.ndarray = np.take_along_axis(some, order, 1)
    return rows


def ours(queries: np.ndarray, corpus: np.ndarray) -> np.ndarray:
    """The same, by blocks."""
    return nearest(queries, corpus, TOP)[0]


def main() -> int:
    """Measure, print, and tell by the exit code whether both found the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--factory", default="auto")
    parser.add_argument("--index", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak-of", choices=("plain", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    both = np.load(options.vectors, mmap_mode="r")
    corpus, queries = both[: -options.queries], unit(both[-options.queries :])
    if options.peak_of:
        {"plain": plain, "ours": ours}[options.peak_of](queries, corpus)
        print(json.dumps(peak_memory() / 1e9))
        return 0
    exact = _exact(queries, corpus, options.turns)
    exact["peak_GB"] = {
        side: json.loads(subprocess.check_output([*sys.orig_argv, "--peak-of", side]))
        for side in ("plain", "ours")
    }
    with tempfile.TemporaryDirectory() as folder:
        index = _index(queries, corpus, options.index or Path(folder) / "index", options)
    figures = {
        "shape": corpus.shape,
        "queries": options.queries,
        "exact": exact,
        "index": index,
    }
    print(json.dumps(figures, indent=2))
    if options.json:
        write(options.json, figures, claim(figures))
    return int(exact["same"] < 1)


def _exact(queries: np.ndarray, corpus: np.ndarray, turns: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    found = {}
    for turn in range(turns + 1):  # the first one warms up, and brings the map into memory
        for name, side in (("plain", plain), ("ours", ours)):
            found[name], took = _timed(side, queries, corpus)
            if turn:
                seconds[name].append(took)
    same = np.mean([np.isin(a, b).mean() for a, b in zip(*found.values(), strict=True)])
    ratios = [mine / other for mine, other in zip(seconds["ours"], seconds["plain"], strict=True)]
    return {"seconds": seconds, "ratio": median(ratios), "same": float(same)}


def _index(
    queries: np.ndarray, corpus: np.ndarray, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    built = None
    if not (folder / "index.json").is_file():
        start = time.perf_counter()
        VectorIndex.build(corpus, folder, factory=options.factory, show_progress=True)
        built = time.perf_counter() - start
    index, opened = _timed(VectorIndex.open, folder, corpus)
    expected = nearest(queries, corpus, TOP)[0]
    ratios: dict[str, list[float]] = {"together": [], "one by one": []}
    for turn in range(options.turns + 1):
        _, exact = _timed(ours, queries, corpus)
        (found, _), took = _timed(index.search, queries, TOP)
        start = time.perf_counter()
        for query in queries:
            index.search(query[None], TOP)
        alone = time.perf_counter() - start
        _, one = _timed(ours, queries[:1], corpus)
        if turn:
            ratios["together"].append(exact / took)
            ratios["one by one"].append(one * len(queries) / alone)
    share = np.mean([np.isin(e, f).mean() for e, f in zip(expected, found, strict=True)])
    return {
        "factory": index.manifest.factory,
        "effort": index.manifest.effort,
        "recall": float(share),
        "recall_in_manifest": index.manifest.recall,
        "times_faster": {name: median(each) for name, each in ratios.items()},
        "build_seconds": built,
        "open_seconds": opened,
        "bytes": index.manifest.bytes,
    }


def _timed(call: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    found = call(*given)
    return found, time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
