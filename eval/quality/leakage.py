"""Do the STS sets overlap as published, and does a training corpus occur in them?

    python -m eval.quality.leakage --data-dir SENTEVAL --training CORPUS.txt.gz [--json FILE]

The notes on the field have it that 73.0 % of STS-B's test pairs, 75.4 % of dev and 82.8 % of train
are pairs of STS12–16. The results hold counts only, no text. Exit code 1 when a share differs.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.provenance import write
from simcse_kit.evaluation.leakage import (
    LeakageReport,
    hash_task,
    markdown,
    overlaps,
    training_leakage,
)
from simcse_kit.evaluation.sts import SUITE, load_tasks

EXPECTED = {"STSB": 73.0, "STSB-dev": 75.4, "STSB-train": 82.8}  # % of pairs in STS12–16


def claim(found: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    shared = {one["name"]: one for one in found["overlaps"] if one["other"] == "STS12–16"}
    stsb = shared["STSB"]
    said = f"{stsb['rows']} of STS-B's {stsb['of_rows']} test pairs stand in STS12–16 too"
    if "training" not in found:
        return said + "."
    hits = sum(leak["sentences_hit"] for leak in found["training"]["leaks"])
    rows = found["training"]["rows"]
    return f"{said}; {hits or 'none'} of the sets' sentences stand in {rows:,} training rows."


def main() -> int:
    """Hash the sets, search the corpus, time it, and tell by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--training", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    start = time.perf_counter()
    sets = [hash_task(task) for task in load_tasks(options.data_dir, [*SUITE, *list(EXPECTED)[1:]])]
    found = overlaps(sets)
    seconds = {"hash and compare the sets": time.perf_counter() - start}
    training = None
    if options.training:
        start = time.perf_counter()
        training = training_leakage(options.training, sets)
        seconds["search the corpus"] = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    print(markdown(LeakageReport(training, found)))
    shares = {
        one.name: 100 * (one.rows or 0) / one.of_rows for one in found if one.other == "STS12–16"
    }
    print({name: round(share, 2) for name, share in shares.items()}, seconds, f"{peak:.2f} GiB")
    if options.json:
        figures: dict[str, Any] = {"overlaps": [_counts(asdict(one)) for one in found]}
        if training is not None:
            figures["training"] = asdict(training) | {
                "source": options.training.name,
                "leaks": [_counts(asdict(leak)) for leak in training.leaks],
            }
        figures |= {"seconds": seconds, "peak_memory_GiB": peak}
        write(options.json, figures, claim(figures))
    return int(any(abs(shares[name] - share) >= 0.05 for name, share in EXPECTED.items()))


def _counts(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "examples"}


if __name__ == "__main__":
    sys.exit(main())
