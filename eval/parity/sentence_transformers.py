"""Does a model trained here score the same when sentence-transformers loads and embeds?

    python -m eval.parity.sentence_transformers MODEL_FOLDER --data-dir SENTEVAL [--json FILE]

Both in fp32 on the seven tasks. Exit code 1 where a score differs by more than 0.01.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from eval.provenance import write
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.sts import evaluate, load_tasks

TOLERANCE = 0.01


def claim(found: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    return (
        "A folder trained here scores the same in SentenceTransformer as in SentenceEncoder on "
        f"the seven STS tasks, within {found['worst_difference']:.5f} points."
    )


def main() -> int:
    """Score twice, compare, and tell by the exit code."""
    from sentence_transformers import SentenceTransformer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tasks = load_tasks(options.data_dir)
    readers = {
        "simcse_kit": SentenceEncoder.from_pretrained(options.model, precision="fp32"),
        "sentence-transformers": SentenceTransformer(str(options.model)),
    }
    figures = {}
    for name, reader in readers.items():
        scores = evaluate(reader, tasks, name=name).tasks
        figures[name] = {task: score.spearman for task, score in scores.items()}
        print(f"{name:22}" + "".join(f"{score:9.3f}" for score in figures[name].values()))
    ours, theirs = figures.values()
    worst = max(abs(ours[task] - theirs[task]) for task in ours)
    print(f"worst difference {worst:.4f}")
    if options.json:
        found = {"measured": figures, "worst_difference": worst}
        write(options.json, found, claim(found))
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
