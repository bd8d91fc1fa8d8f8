"""Is uniformity of 100,000 × 384 embeddings exact in under 2 GB, and how long do all figures take?

    python -m eval.speed.geometry_scale [--sentences 100000] [--dimension 384] [--json FILE]

Memory is the process's peak, Python and torch included, first after uniformity alone. The
embeddings are random and off-centre; cost does not depend on what they are. As a check, the same
uniformity from 1,000,000 random pairs, which must lie within four of its standard errors. Exit
code 1 when it does not, or when uniformity took 2 GB.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.provenance import write
from simcse_kit.geometry import measure_space, sampled_uniformity, uniformity


def claim(figures: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    rows, dimension = figures["shape"]
    uniformity, seconds = figures["uniformity"], figures["seconds"]
    return (
        f"Every figure of the geometry of {rows:,} embeddings of {dimension} dimensions, with its "
        f"interval, takes {seconds['all figures with intervals']:.0f} s on {figures['threads']} "
        f"thread; uniformity from sampled pairs is "
        f"{uniformity['difference_in_standard_errors']:.1f} standard errors from the exact one."
    )


def main() -> int:
    """Measure, print, and tell by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((options.sentences, options.dimension), dtype=np.float32)
    x *= np.linspace(1.0, 0.1, options.dimension, dtype=np.float32)
    x[:, 0] += 5.0

    seconds, peak = {}, {"before": _peak()}
    start = time.perf_counter()
    exact = uniformity(x)
    seconds["uniformity, exact"] = time.perf_counter() - start
    peak["uniformity, exact"] = _peak()
    start = time.perf_counter()
    sampled = sampled_uniformity(x)
    seconds["uniformity, sampled"] = time.perf_counter() - start
    start = time.perf_counter()
    lengths = rng.integers(5, 50, size=len(x))
    space = measure_space(x, lengths=lengths)
    seconds["all figures with intervals"] = time.perf_counter() - start
    peak["all figures with intervals"] = _peak()

    away = abs(sampled.value - exact) / sampled.standard_error
    figures = {
        "shape": x.shape,
        "threads": torch.get_num_threads(),
        "uniformity": {
            "exact": exact,
            "sampled": sampled.value,
            "standard_error": sampled.standard_error,
            "difference_in_standard_errors": away,
        },
        "seconds": seconds,
        "peak_memory_GB": peak,
        "figures": {name: (f.value, f.interval, f.n) for name, f in space.figures.items()},
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    if options.json:
        write(options.json, figures, claim(figures))
    return int(away > 4 or peak["uniformity, exact"] >= 2)


def _peak() -> float:
    """Peak memory of this process so far, GB (10^9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main())
