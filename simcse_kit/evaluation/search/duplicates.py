"""Duplicate detection: how well a cosine tells pairs that mean the same from pairs that do not.

Average precision needs no threshold. F1 and accuracy are those at the best threshold for these very
pairs, as sentence-transformers and MTEB report them, so a threshold to be used on other pairs is
better chosen on a set of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.data import read_rows
from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import (
    Encoder,
    distinct,
    embed,
    model_name,
    model_settings,
    pair_cosines,
)
from simcse_kit.evaluation.statistics import percentile_interval
from simcse_kit.evaluation.sts import PairTask, task_name
from simcse_kit.evaluation.task_result import Figure, Items, TaskResult

# Elements in a block of resamples.
_BLOCK = 1 << 20
# How a file may write its labels.
_LABELS = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "True": 1.0, "False": 0.0}
_FIGURES = ("ap", "f1", "precision", "recall", "accuracy")


def load_duplicates(path: Path | str, columns: Mapping[str, str] | None = None) -> PairTask:
    """Pairs with a label, 1 for duplicates and 0 for others, as a task whose gold is that.

    Args:
        columns: our names (sentence1, sentence2, label) to the file's, where they differ.

    Raises:
        InputError: as `read_rows`, labels that are not 0 or 1 (or true and false), and one for
            all.
    """
    rows = read_rows(path, columns=columns, wanted=("sentence1", "sentence2", "label"))
    assert rows.labels is not None  # they were wanted
    for row, label in enumerate(rows.labels, start=1):
        if label not in _LABELS:
            raise InputError(
                f"{path}: the label of pair {row} is {label:.60}; it must be 1 for duplicates and 0"
                " for others"
            )
    labels = np.array([_LABELS[label] for label in rows.labels])
    _check_labels(labels, str(path))
    first, second = rows.columns["sentence1"], rows.columns["sentence2"]
    return PairTask(task_name(path), first, second, labels, {}, "file", str(path))


def _check_labels(labels: np.ndarray, where: str) -> None:
    other = np.flatnonzero((labels != 0) & (labels != 1))
    if len(other):
        raise InputError(
            f"{where}: the label of pair {other[0] + 1} is {labels[other[0]]:g}; it must be 1 for"
            " duplicates and 0 for others"
        )
    if np.ptp(labels) == 0:
        raise InputError(f"{where}: every label is {labels[0]:g}; there must be both, 0 and 1")


@dataclass(frozen=True)
class DuplicateScores:
    """×100 but the thresholds: pairs with a cosine of at least that much are called duplicates.

    `precision` and `recall` are those at `f1_threshold`; the draws (B,) of each figure are over
    resamples of the pairs, in which the best threshold is chosen anew.
    """

    ap: float
    f1: float
    precision: float
    recall: float
    f1_threshold: float
    accuracy: float
    accuracy_threshold: float
    draws: dict[str, np.ndarray]


def duplicate_scores(
    cosines: np.ndarray, labels: np.ndarray, *, draws: int = 0, seed: int = 0
) -> DuplicateScores:
    """Average precision, best F1 and best accuracy of `cosines` (N,) for `labels` (N,) of 0 and 1.

    Pairs of equal cosines are called alike: no threshold parts them. A best threshold lies halfway
    to the next lower cosine; where all are called duplicates it is −1.

    Args:
        draws: resamples of the pairs; 0 for none. seed: of their generator.

    Raises:
        InputError: sizes that differ, cosines that are not finite, labels that are not 0 or 1, or
            of one kind only.
    """
    cosines, labels = np.asarray(cosines, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if cosines.ndim != 1 or cosines.shape != labels.shape or not len(cosines):
        raise InputError(
            f"Cosines of shape {cosines.shape} and labels of shape {labels.shape}: every pair"
            " needs one of each."
        )
    if not np.isfinite(cosines).all():
        raise InputError("A cosine is not finite.")
    _check_labels(labels, "labels")
    order, ends = _descending(cosines)
    cosines, labels = cosines[order], labels[order]
    figures, f1_at, accuracy_at = _at_thresholds(np.ones((1, len(labels))), labels, ends)
    lower = np.append((cosines[ends[:-1]] + cosines[ends[:-1] + 1]) / 2, -1.0)
    return DuplicateScores(
        **{name: float(figures[name][0]) for name in _FIGURES},
        f1_threshold=float(lower[f1_at[0]]),
        accuracy_threshold=float(lower[accuracy_at[0]]),
        draws=_resampled(labels, ends, draws, seed),
    )


def _descending(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order (N,) of descending cosines, and the last place of each run of equal ones."""
    order = np.argsort(-cosines, kind="stable")
    return order, np.flatnonzero(np.append(np.diff(cosines[order]) != 0, True))


def _at_thresholds(
    counts: np.ndarray, labels: np.ndarray, ends: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Figures (B,) where pair i occurs `counts[b, i]` times, and at which of `ends` they are best.

    Pairs are in descending order of cosine, a threshold after each of `ends`.
    """
    called = counts.cumsum(axis=1)[:, ends]
    found = (counts * labels).cumsum(axis=1)[:, ends]
    positive, total = found[:, -1:], called[:, -1:]
    with np.errstate(invalid="ignore"):  # 0 / 0 before the first pair that was drawn
        precision = np.where(called > 0, found / called, 1.0)
    recall = found / positive
    f1 = 2 * found / (called + positive)
    right = found + (total - called) - (positive - found)
    accuracy = np.where(called > 0, right / total, 0.0)  # at least one is called a duplicate
    f1_at, accuracy_at = f1.argmax(axis=1), accuracy.argmax(axis=1)
    rows = np.arange(len(counts))
    figures = {
        "ap": (np.diff(recall, axis=1, prepend=0.0) * precision).sum(axis=1),
        "f1": f1[rows, f1_at],
        "precision": precision[rows, f1_at],
        "recall": recall[rows, f1_at],
        "accuracy": accuracy[rows, accuracy_at],
    }
    return {name: 100 * values for name, values in figures.items()}, f1_at, accuracy_at


def _resampled(
    labels: np.ndarray, ends: np.ndarray, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Each figure on resamples of the pairs (B,); those without both labels are drawn anew."""
    n = len(labels)
    rng = np.random.default_rng(seed)
    found: dict[str, list[np.ndarray]] = {name: [] for name in _FIGURES}
    kept, rows = 0, max(1, _BLOCK // n)
    while kept < draws:
        drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=rows * n).reshape(rows, n)
        positive = counts @ labels
        counts = counts[(positive > 0) & (positive < n)][: draws - kept]
        kept += len(counts)
        figures, _, _ = _at_thresholds(counts, labels, ends)
        for name, values in figures.items():
            found[name].append(values)
    return {
        name: np.concatenate(values) if values else np.empty(0) for name, values in found.items()
    }


def evaluate_duplicates(
    model: Encoder,
    task: PairTask,
    *,
    draws: int = 1_000,
    seed: int = 0,
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> TaskResult:
    """Detect the duplicates of a task by cosine; intervals are over other pairs of the kind.

    Args:
        task: its gold 1 for duplicates and 0 for others (`load_duplicates`).
        draws, seed: of the bootstrap over pairs.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model; its own `name` by default.

    Raises:
        InputError: as `embed` and `duplicate_scores`.
    """
    _check_labels(task.gold, task.name)
    row = distinct([*task.sentence1, *task.sentence2])
    embeddings = embed(model, list(row), encode_kwargs)
    sides = [
        embeddings[[row[text] for text in texts]] for texts in (task.sentence1, task.sentence2)
    ]
    cosines = pair_cosines(*sides)
    scores = duplicate_scores(cosines, task.gold, draws=draws, seed=seed)
    figures = {
        figure: Figure(getattr(scores, figure), percentile_interval(scores.draws[figure]))
        for figure in _FIGURES
    }
    figures["f1_threshold"] = Figure(scores.f1_threshold)
    figures["accuracy_threshold"] = Figure(scores.accuracy_threshold)
    positive = int(task.gold.sum())
    return TaskResult(
        model=name or model_name(model),
        task=task.name,
        figures=figures,
        protocol={
            "similarity": "cosine",
            "pairs": len(task),
            "duplicates": positive,
            "thresholds": "the best for these pairs",
            "interval": f"percentile bootstrap over pairs, {draws} draws, seed {seed}",
            "source": task.source,
        }
        | model_settings(model, encode_kwargs),
        summary=(
            f"×100 over {len(task):,} pairs, {positive:,} of them duplicates, by cosine; F1 (with"
            " its precision and recall) and accuracy at the thresholds best for these pairs."
        ),
        tested=pair_items(cosines, task.gold),
    )


def pair_items(cosines: np.ndarray, labels: np.ndarray) -> Items:
    """The pairs (N,); of resamples without both labels there are no figures."""
    order, ends = _descending(cosines)
    labels = labels[order]

    def figures(counts: np.ndarray) -> dict[str, np.ndarray]:
        counts = counts[:, order]
        positive = counts @ labels
        both = (positive > 0) & (positive < len(labels))
        found = {name: np.full(len(counts), np.nan) for name in _FIGURES}
        for name, values in _at_thresholds(counts[both], labels, ends)[0].items():
            found[name][both] = values
        return found

    return Items(len(labels), figures)
