"""How long does it take to compare models on the seven STS tasks, and is it the same twice?

    python -m eval.speed.paired_bootstrap --data-dir SENTEVAL [--models 2] [--json FILE]

The tasks are the real ones, with cosines drawn at random about their gold scores: what is timed
is everything `simcse-kit compare` does after embedding (every task's figure, the average, their
intervals, the paired differences, Holm), and its cost does not depend on the values. Exit code 1
when two models take more than 10 seconds of wall clock, or a second run gives other bits.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from eval.provenance import write
from simcse_kit.evaluation.sts import (
    SUITE,
    PairTask,
    STSComparison,
    STSResult,
    TaskScore,
    compare_results,
    load_tasks,
)


def imagine(name: str, tasks: list[PairTask], seed: int) -> STSResult:
    """A result whose cosines follow the gold scores with an error."""
    rng = np.random.default_rng(seed)
    cosines = {task.name: task.gold / 5 + 0.2 * rng.normal(size=len(task)) for task in tasks}
    scores = {task.name: TaskScore(0.0, 0.0, len(task), {}) for task in tasks}
    return STSResult(name, scores, 0.0, SUITE, None, {"aggregation": "all"}, cosines)


def claim(figures: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    return (
        f"A paired bootstrap of {figures['draws']:,} draws over the suite's {figures['pairs']:,} "
        f"pairs takes {figures['seconds']['first']:.1f} s for {figures['models']} models, and "
        + ("repeats to the bit." if figures["same_bits_twice"] else "differs when repeated.")
    )


def main() -> int:
    """Time it, plain and clustered, run it again, and tell by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--models", type=int, default=2)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tasks = load_tasks(options.data_dir)
    contenders = {f"model {n}": [imagine(f"model {n}", tasks, n)] for n in range(options.models)}

    def compare(clustered: bool) -> tuple[STSComparison, float]:
        start = time.perf_counter()
        found = compare_results(contenders, tasks, draws=options.draws, clustered=clustered)
        return found, time.perf_counter() - start

    (first, plain), (_, clustered), (again, second) = compare(False), compare(True), compare(False)
    same = json.dumps(first.to_json()) == json.dumps(again.to_json())
    seconds = {"first": plain, "clustered": clustered, "again": second}
    figures = {
        "models": options.models,
        "draws": options.draws,
        "pairs": sum(map(len, tasks)),
        "seconds": seconds,
        "same_bits_twice": same,
    }
    print(figures)
    if options.json:
        write(options.json, figures, claim(figures))
    return int(not same or max(seconds.values()) > 10)


if __name__ == "__main__":
    sys.exit(main())
