"""Duplicate detection: how well a cosine tells pairs that mean the same from pairs that do not.

Average precision needs no threshold. F1, its precision and recall, and accuracy are over calls by
a threshold that was chosen on the other half of the pairs, since at the best threshold for these
very pairs they are too high, by points where the pairs are few. Those best ones, which
sentence-transformers and MTEB report, and their thresholds stand beside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from simcse_kit.data import Reading, read_rows
from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import (
    Encoder,
    distinct,
    embed,
    model_name,
    model_settings,
    pair_cosines,
    say_by_cosine,
)
from simcse_kit.evaluation.statistics import (
    alike,
    are_shared,
    bounded_interval,
    design_effect,
    shared_covariance,
)
from simcse_kit.evaluation.sts import PairTask, numbered_sentences, task_name
from simcse_kit.evaluation.task_result import Figure, Items, TaskResult

# How a file may write its labels.
_LABELS = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "true": 1.0, "false": 0.0}
_CALLED = ("f1", "precision", "recall", "accuracy")
_UNTESTED = (
    "F1, precision, recall and accuracy are not tested: each model's threshold is chosen on half of"
    " the pairs, and equally good models differ by the luck of it; average precision is."
)


def load_duplicates(
    path: Path | str, columns: Mapping[str, str] | None = None, **reading: Unpack[Reading]
) -> PairTask:
    """Pairs with a label, 1 for duplicates and 0 for others, as a task whose gold is that.

    Args:
        columns: our names (sentence1, sentence2, label) to the file's, where they differ.

    Raises:
        InputError: as `read_rows`, labels that are not 0 or 1 (or true and false), and one for
            all.
    """
    wanted = ("sentence1", "sentence2", "label")
    rows = read_rows(path, columns=columns, wanted=wanted, **reading)
    assert rows.labels is not None  # they were wanted
    for row, label in enumerate(rows.labels):
        if label.lower() not in _LABELS:
            raise InputError(
                f"{rows.where(row)}: the label is {label:.60}; it must be 1 for duplicates and 0 "
                "for others, or true and false"
            )
    labels = np.array([_LABELS[label.lower()] for label in rows.labels])
    _check_labels(labels, str(path))
    first, second = [*rows.columns["sentence1"]], [*rows.columns["sentence2"]]
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

    All at the thresholds that are best for these pairs; `precision` and `recall` are those at
    `f1_threshold`.
    """

    ap: float
    f1: float
    precision: float
    recall: float
    f1_threshold: float
    accuracy: float
    accuracy_threshold: float


def duplicate_scores(cosines: np.ndarray, labels: np.ndarray) -> DuplicateScores:
    """Average precision, best F1 and best accuracy of `cosines` (N,) for `labels` (N,) of 0 and 1.

    Pairs of equal cosines are called alike: no threshold parts them. A best threshold lies halfway
    to the next lower cosine; where all are called duplicates it is −1.

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
    ap = float(_average_precision(np.ones((1, len(labels))), labels[order], ends)[0])
    cosines, labels = cosines[order], labels[order]
    called, found = ends + 1, labels.cumsum()[ends]
    positive, total = labels.sum(), len(labels)
    f1 = 2 * found / (called + positive)
    right = found + (total - called) - (positive - found)
    at, accuracy_at = int(f1.argmax()), int(right.argmax())
    lower = np.append((cosines[ends[:-1]] + cosines[ends[:-1] + 1]) / 2, -1.0)
    return DuplicateScores(
        ap=ap,
        f1=100 * float(f1[at]),
        precision=100 * float(found[at] / called[at]),
        recall=100 * float(found[at] / positive),
        f1_threshold=float(lower[at]),
        accuracy=100 * float(right[accuracy_at] / total),
        accuracy_threshold=float(lower[accuracy_at]),
    )


def _descending(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order (N,) of descending cosines, and the last place of each run of equal ones."""
    order = np.argsort(-cosines, kind="stable")
    return order, np.flatnonzero(np.append(np.diff(cosines[order]) != 0, True))


def _average_precision(counts: np.ndarray, labels: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """AP ×100 (B,) where pair i occurs `counts[b, i]` times; NaN where not both labels do.

    Pairs are in descending order of cosine, a threshold after each of `ends`.
    """
    called = counts.cumsum(axis=1)[:, ends]
    found = (counts * labels).cumsum(axis=1)[:, ends]
    positive, total = found[:, -1:], called[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 before the first that was drawn
        precision = np.where(called > 0, found / called, 1.0)
        recall = found / positive
    ap = 100 * (np.diff(recall, axis=1, prepend=0.0) * precision).sum(axis=1)
    both = (positive > 0) & (positive < total)
    return np.where(both[:, 0], ap, np.nan)


# ---- calls by a threshold from the other half ----------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Calls:
    """Which of N pairs are called duplicates, for F1 and for accuracy."""

    for_f1: np.ndarray
    for_accuracy: np.ndarray


def _crossed(cosines: np.ndarray, labels: np.ndarray, seed: int) -> _Calls | None:
    """Each pair called at the thresholds that are best for the half it is not in."""
    thresholds = crossed_thresholds(cosines, labels, seed)
    return None if thresholds is None else _Calls(*(cosines >= thresholds))


def crossed_thresholds(cosines: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray | None:
    """The thresholds for F1 and for accuracy that each pair is called at: (2, N).

    They are those best for the other half of the pairs, drawn label by label. None where a half
    would lack one of the labels.
    """
    rng = np.random.default_rng(seed)
    second = np.zeros(len(labels), dtype=bool)
    for label in (0, 1):
        second[rng.permutation(np.flatnonzero(labels == label))[::2]] = True
    if min(len(np.unique(labels[half])) for half in (second, ~second)) < 2:
        return None
    thresholds = np.empty((2, len(labels)))
    for half in (second, ~second):
        best = duplicate_scores(cosines[~half], labels[~half])
        thresholds[:, half] = [[best.f1_threshold], [best.accuracy_threshold]]
    return thresholds


def _called_figures(calls: _Calls, labels: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Figures ×100 of the calls (B,) where pair i occurs `counts[b, i]` times; NaN where none is.

    Precision of no call is 0, as scikit-learn has it.
    """
    found, called = counts @ (labels * calls.for_f1), counts @ calls.for_f1.astype(float)
    positive, total = counts @ labels, counts.sum(axis=1)
    right = counts @ (calls.for_accuracy == (labels == 1)).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "f1": 100 * 2 * found / (called + positive),
            "precision": 100 * np.where(called > 0, found / called, 0.0),
            "recall": 100 * found / positive,
            "accuracy": 100 * right / total,
        }


def _shares(
    cosines: np.ndarray, labels: np.ndarray, calls: _Calls | None
) -> dict[str, tuple[np.ndarray, float]]:
    """By how much each pair moves each figure ×100, to first order (N,), and what it is over.

    The derivatives by the pairs' weights: of a ratio A / B of sums, (a − A/B b) / B. Of average
    precision, the mean over duplicates of the precision P at their cosine, a pair moves the P of
    each duplicate at or below it.
    """
    n, positive = len(labels), float(labels.sum())
    order, ends = _descending(cosines)
    ranked = labels[order]
    sizes = np.diff(ends, prepend=-1)
    called, found = ends + 1.0, ranked.cumsum()[ends]
    precision, hits = found / called, np.diff(found, prepend=0.0)
    ap = float(hits @ precision / positive)
    below = [np.repeat(np.cumsum((hits * x / called)[::-1])[::-1], sizes) for x in (1.0, precision)]
    own = ranked * (np.repeat(precision, sizes) - ap)
    moved = np.empty(n)
    moved[order] = (own + ranked * below[0] - below[1]) / positive
    # Of few duplicates its variance is seen far too small: no less than of a share of so many.
    shares = {"ap": (100 * moved, min(float(n), positive + positive**2 / 50))}
    if calls is not None:
        yes, right = calls.for_f1.astype(float), calls.for_accuracy == (labels == 1)
        both = yes + labels
        figures = _called_figures(calls, labels, np.ones((1, n)))
        f1, p, r, a = (float(figures[name][0]) / 100 for name in _CALLED)
        shares |= {
            "f1": (100 * (2 * labels * yes - f1 * both) / both.sum(), float(both.sum())),
            "precision": (100 * yes * (labels - p) / max(1.0, yes.sum()), max(1.0, yes.sum())),
            "recall": (100 * labels * (yes - r) / positive, positive),
            "accuracy": (100 * (right - a) / n, float(n)),
        }
    return shares


def pair_items(
    cosines: np.ndarray,
    labels: np.ndarray,
    sentences: np.ndarray | None = None,
    seed: int = 0,
    *,
    also: Collection[str] = (),
) -> Items:
    """The pairs (N,); of resamples without both labels there are no figures.

    Models are compared by average precision. `also` names figures of what is called: a test of
    these tells equal models apart in up to 11 of 100 (F1, by `eval/quality/false_positives.py`),
    and in none where resamples choose the thresholds anew.
    """
    order, ends = _descending(cosines)
    calls = _crossed(cosines, labels, seed)
    moved = _shares(cosines, labels, calls)
    shares = {name: one for name, (one, _) in moved.items()}
    over = {name: items for name, (_, items) in moved.items()}

    def figures(counts: np.ndarray) -> dict[str, np.ndarray]:
        found = {"ap": _average_precision(counts[:, order], labels[order], ends)}
        called = _called_figures(calls, labels, counts) if calls is not None and also else {}
        return found | {name: each for name, each in called.items() if name in also}

    return Items(len(labels), figures, over, shares, sentences, _UNTESTED if calls else "")


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
        draws: of no effect any more: these intervals need no resamples.
        seed: of the halves.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model; its own `name` by default.

    Raises:
        InputError: as `embed` and `duplicate_scores`.
    """
    _check_labels(task.gold, task.name)
    row = distinct([*task.sentence1, *task.sentence2])
    say_by_cosine(model)
    embeddings = embed(model, list(row), encode_kwargs)
    sides = [
        embeddings[[row[text] for text in texts]] for texts in (task.sentence1, task.sentence2)
    ]
    cosines, sentences = pair_cosines(*sides), numbered_sentences(task)
    best = duplicate_scores(cosines, task.gold)
    figures = figures_of_pairs(cosines, task.gold, sentences, seed=seed, name=task.name)
    how = ", those that share a sentence taken together" if are_shared(sentences) else ""
    figures |= {
        "best_f1": Figure(best.f1),
        "best_accuracy": Figure(best.accuracy),
        "f1_threshold": Figure(best.f1_threshold),
        "accuracy_threshold": Figure(best.accuracy_threshold),
    }
    positive = int(task.gold.sum())
    called = (
        " F1, precision, recall and accuracy by a threshold chosen on the other half of the pairs;"
        if "f1" in figures
        else " No label has the two pairs it takes to choose a threshold on another half;"
    )
    return TaskResult(
        model=name or model_name(model),
        task=task.name,
        figures=figures,
        protocol={
            "similarity": "cosine",
            "pairs": len(task),
            "duplicates": positive,
            "thresholds": f"chosen on the other half of the pairs, seed {seed}; best_f1 and"
            " best_accuracy, and the thresholds shown: the best for these pairs",
            "interval": f"Wilson's of the figure's linearised variance over pairs{how}",
            "source": task.source,
        }
        | model_settings(model, encode_kwargs),
        summary=(
            f"×100 over {len(task):,} pairs, {positive:,} of them duplicates, by cosine.{called}"
            f" best_f1 and best_accuracy are those of the thresholds best for these very pairs, too"
            f" high for others. Intervals over other pairs{how}."
        ),
        tested=pair_items(cosines, task.gold, sentences, seed),
    )


def figures_of_pairs(
    cosines: np.ndarray, labels: np.ndarray, sentences: np.ndarray, *, seed: int = 0, name: str = ""
) -> dict[str, Figure]:
    """Average precision ×100, and where both labels are in each half the figures of what is called
    (`crossed_thresholds`), with intervals: of cosines and labels (N,), and the numbers of each
    pair's sentences (N, 2), which are called `name`.
    """
    calls = _crossed(cosines, labels, seed)
    one = np.ones((1, len(labels)))
    values = {"ap": duplicate_scores(cosines, labels).ap}
    if calls is not None:
        found = _called_figures(calls, labels, one)
        values |= {figure: float(each[0]) for figure, each in found.items()}
    shares = _shares(cosines, labels, calls)
    figures, shared = {}, are_shared(sentences)
    together = alike(sentences) if shared else 1.0
    for figure, value in values.items():
        each, items = shares[figure]
        effect, variance = 1.0, float(each @ each)
        if shared:
            sharing = float(shared_covariance(each[None], sentences, name)[0, 0])
            effect = design_effect(variance, sharing, items, together)
        variance *= effect
        figures[figure] = Figure(value, bounded_interval(value, variance, items / effect))
    return figures
