"""Which training earns the quickstart's improvement, over several seeds?

    python -m eval.quality.quickstart_variants --json eval/results/quickstart.json \\
        [--variants pairs twins …] [--seeds 1 2 3] [--max-steps N]

Every variant of ``scripts/quickstart.py`` is trained once a seed on the same docstrings and judged
on the same held-out packages. A variant that is run with one seed is read against the standard
deviation of those run with several.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from eval.provenance import write

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from docstrings import gather
from quickstart import (  # scripts/ is no package: it is found by the line above
    HELD_OUT_PACKAGES,
    TRAIN_PACKAGES,
    VARIANTS,
    bundled_model,
    fine_tune,
    judge,
    write_texts,
)
from simcse_kit.encoder import SentenceEncoder

SHOWN = ("recall@1", "mrr", "alignment", "uniformity")


def summary(figures: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (n − 1) over the seeds; one seed has a mean only."""
    found: dict[str, dict[str, float]] = {}
    for key in SHOWN:
        values = [row[key] for row in figures]
        found[key] = {"mean": statistics.mean(values)}
        if len(values) > 1:
            found[key]["sd"] = statistics.stdev(values)
    return found


def claim(figures: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    trained = []
    for name, rows in figures["variants"].items():
        recall = summary(rows)["recall@1"]
        sd = f" ± {recall['sd']:.2f}" if "sd" in recall else ""
        trained.append(f"{recall['mean']:.2f}{sd} by {name}")
    return (
        f"Recall@1 of all-MiniLM-L6-v2 on {figures['held_out']:,} held-out entries is "
        f"{figures['before']['recall@1']:.2f} as it is, {', '.join(trained)}."
    )


def show(name: str, figures: list[dict[str, float]]) -> None:
    """Print one line: mean ± sd over the seeds."""
    cells = [
        f"{value['mean']:.2f}" + (f"±{value['sd']:.2f}" if "sd" in value else "")
        for value in summary(figures).values()
    ]
    print(f"{name:18}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def main() -> None:
    """Train and judge every variant with every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--max-steps", type=int, default=-1, help="of each stage")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = bundled_model()
    corpus = gather(TRAIN_PACKAGES, HELD_OUT_PACKAGES)
    before = judge(SentenceEncoder.from_pretrained(model), corpus.held_out)
    print(f"{'':18}" + "".join(f"{key:>14}" for key in SHOWN))
    show("before", [before])
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        files = write_texts(corpus, Path(scratch))
        for name in options.variants:
            found[name] = []
            for seed in options.seeds:
                encoder = fine_tune(
                    model,
                    files,
                    VARIANTS[name],
                    Path(scratch, "run"),
                    seed=seed,
                    max_steps=options.max_steps,
                    cache_dir=Path(scratch, "tokens"),
                )
                found[name].append(judge(encoder, corpus.held_out) | {"seed": seed})
            show(name, found[name])
    if options.json:
        figures = {
            "train_pairs": len(corpus.train),
            "held_out": len(corpus.held_out),
            "max_steps": options.max_steps,
            "before": before,
            "variants": found,
            "summary": {name: summary(rows) for name, rows in found.items()},
        }
        write(options.json, figures, claim(figures))


if __name__ == "__main__":
    main()
