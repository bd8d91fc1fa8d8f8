"""Judge an encoder by SentEval's seven transfer tasks (Conneau & Kiela 2018).

The encoder stays as it is; a logistic regression on its embeddings is trained and tested:

- MR, CR, SUBJ, MPQA: 10 stratified folds; in each, C is chosen by 10 folds of its training part;
- SST2: C is chosen on dev;
- TREC, and MRPC on |u − v| and u * v: C is chosen by 10 folds of the training set.

As in SentEval with ``usepytorch=False, kfold=10``: texts and their order, folds and their seed,
values of C, features as they are, the smallest C of the best, training on train alone for the test.
Three things differ. LogisticRegression is today's scikit-learn's (softmax over TREC's classes, no
penalty on the intercept; see `logistic`), where SentEval's day had liblinear (one class against the
rest, penalty on the intercept). Accuracy over folds is that over all examples, not the mean of the
folds', which are equal in size to one example. A blank line, of which CR and MPQA have a few, is
the text "." as in SentEval's examples.

Published tables, SimCSE's too, are of SentEval's other classifier: the same model trained with Adam
and early stopping, its penalty from another grid. Compare with them to a point, and no closer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import Encoder, distinct, embed, model_name, model_settings
from simcse_kit.evaluation.labels.classes import accuracy, class_numbers, f1
from simcse_kit.evaluation.labels.logistic import (
    SOLVERS,
    TOLERANCE,
    Chosen,
    Fold,
    as_features,
    choose_by_folds,
    choose_on,
    on_every_core,
    predict,
    stratified_folds,
)
from simcse_kit.evaluation.labels.repeats import same_texts
from simcse_kit.evaluation.labels.transfer_data import SUITE, TransferTask, load_transfer
from simcse_kit.evaluation.task_result import Figure, TaskResult

__all__ = [
    "SUITE",
    "TransferResult",
    "TransferScore",
    "TransferTask",
    "evaluate_transfer",
    "load_transfer",
    "pair_features",
    "score_task",
]

FOLDS = 10
SEED = 1111
# Where SentEval chooses by folds of a training set it looks higher than elsewhere.
STRENGTHS = tuple(2.0**power for power in range(-2, 4))
STRENGTHS_BY_FOLDS = tuple(2.0**power for power in range(-1, 6))


@dataclass(frozen=True, eq=False)
class TransferScore:
    """What the classifiers made of the N test examples of a task. Figures ×100.

    `f1` is that of class 1, for pairs; `chosen` the strength and its accuracy on held-out examples,
    one, or one for each fold; `predicted` the classes (N,), in the task's order.
    """

    accuracy: Figure
    f1: Figure | None
    n: int
    chosen: tuple[Chosen, ...]
    predicted: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Plain values; `predicted` stays out."""
        return {
            "accuracy": self.accuracy.value,
            "interval": asdict(self.accuracy.interval) if self.accuracy.interval else None,
            "f1": self.f1.value if self.f1 else None,
            "f1_interval": asdict(self.f1.interval) if self.f1 and self.f1.interval else None,
            "n": self.n,
            "dev_accuracy": float(np.mean([one.accuracy for one in self.chosen])),
            "strengths": [one.strength for one in self.chosen],
        }


@dataclass(frozen=True, eq=False)
class TransferResult:
    """What `evaluate_transfer` measured; `average` is the mean accuracy over its tasks."""

    model: str
    tasks: dict[str, TransferScore]
    average: float
    protocol: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {
            "model": self.model,
            "tasks": {name: score.to_json() for name, score in self.tasks.items()},
            "average": self.average,
            "average_over": list(self.tasks),
            "protocol": self.protocol,
        }

    def figures(self) -> TaskResult:
        """The figures for `task_result.table` and `markdown`."""
        figures: dict[str, Figure] = {}
        for name, score in self.tasks.items():
            figures[name] = score.accuracy
            if score.f1 is not None:
                figures[f"{name} F1"] = score.f1
        if len(self.tasks) > 1:
            figures["Avg."] = Figure(self.average)
        whole = set(self.tasks) == set(SUITE)
        over = "the seven tasks" if whole else ", ".join(self.tasks)
        average = f" Avg. is over {over}." if len(self.tasks) > 1 else ""
        again = {task: n for task, n in self.protocol["repeated_texts"].items() if n}
        if again:
            listed = ", ".join(f"{task} {n:,}" for task, n in again.items())
            average += f" Texts that repeat another, and SentEval's folds may part: {listed}."
        return TaskResult(
            self.model,
            "SentEval's transfer tasks",
            figures,
            self.protocol,
            "accuracy ×100 of scikit-learn's logistic regression; Wilson intervals over test"
            f" examples.{average}",
        )


def evaluate_transfer(
    model: Encoder,
    tasks: Sequence[TransferTask],
    *,
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
    show_progress: bool = False,
) -> TransferResult:
    """Score `model` on `tasks`. Every distinct text is embedded once, in one call of `encode`.

    Args:
        model: any object with `encode(list[str]) -> array (N, D)`.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model in the result; its own `name` by default.
        show_progress: a bar over the tasks on stderr, when that is a terminal.

    Raises:
        InputError: as `embed` and `score_task`; no task, or two of one name.
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"Tasks are needed, each once; given were {', '.join(names) if names else 'none'}."
        )
    row = distinct(text for task in tasks for text in (*task.sentence1, *(task.sentence2 or ())))
    embeddings = embed(model, list(row), encode_kwargs)
    scores = {}
    for task in tqdm(tasks, "transfer", unit="task", disable=None if show_progress else True):
        sides = [side for side in (task.sentence1, task.sentence2) if side is not None]
        scores[task.name] = score_task(
            task, *(embeddings[[row[text] for text in side]] for side in sides)
        )
    return TransferResult(
        model=name or model_name(model),
        tasks=scores,
        average=float(np.mean([score.accuracy.value for score in scores.values()])),
        protocol=_protocol(tasks) | model_settings(model, encode_kwargs),
    )


def pair_features(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """|u − v| and u * v side by side (N, 2 D), of two arrays (N, D)."""
    return np.hstack([np.abs(first - second), first * second])


def score_task(
    task: TransferTask, first: np.ndarray, second: np.ndarray | None = None
) -> TransferScore:
    """Train and test on embeddings of the examples (N, D), and of their second sentences.

    The splits of the task decide how. The same input gives the same bits.

    Raises:
        InputError: embeddings that are not finite or not N; labels that are missing or all the
            same; fewer examples of a class than folds.
    """
    labels, _ = class_numbers(task.labels, len(first), task.name)
    features = as_features(first if second is None else pair_features(first, second), task.name)
    if not task.splits:
        predicted, chosen = _in_folds(features, labels)
    else:
        predicted, chosen = _on_test(features, labels, task.splits)
        labels = labels[task.splits["test"]]
    return TransferScore(
        accuracy=accuracy(labels, predicted),
        f1=None if second is None else f1(labels, predicted, of_class=1),
        n=len(labels),
        chosen=chosen,
        predicted=predicted,
    )


def _in_folds(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, tuple[Chosen, ...]]:
    """Classes (N,), each predicted by the fold that did not train on it."""

    def judged(fold: Fold) -> tuple[np.ndarray, Chosen]:
        train, test = fold
        x, y = features[train], labels[train]
        one = choose_by_folds(x, y, stratified_folds(y, FOLDS, SEED), STRENGTHS, cores=1)
        return predict(x, y, one.strength, features[test], cores=1), one

    folds = stratified_folds(labels, FOLDS, SEED)
    predicted = np.empty_like(labels)
    results = on_every_core(judged, folds)
    for (_, test), (classes, _) in zip(folds, results, strict=True):
        predicted[test] = classes
    return predicted, tuple(one for _, one in results)


def _on_test(
    features: np.ndarray, labels: np.ndarray, splits: Mapping[str, slice]
) -> tuple[np.ndarray, tuple[Chosen, ...]]:
    """Classes of the test split (M,), after training on the training split alone."""
    x, y = features[splits["train"]], labels[splits["train"]]
    if "dev" in splits:
        dev = splits["dev"]
        one = choose_on(x, y, features[dev], labels[dev], STRENGTHS)
    else:
        one = choose_by_folds(x, y, stratified_folds(y, FOLDS, SEED), STRENGTHS_BY_FOLDS)
    return predict(x, y, one.strength, features[splits["test"]]), (one,)


def _repeated(task: TransferTask) -> int:
    """Texts (or pairs) that repeat another of the task: SentEval parts them, and is kept to."""
    sides = [same_texts(side) for side in (task.sentence1, task.sentence2) if side is not None]
    return len(task.sentence1) - len(set(zip(*(side.tolist() for side in sides), strict=True)))


def _protocol(tasks: Sequence[TransferTask]) -> dict[str, Any]:
    """What a reader needs to compare the numbers: how, on what, and with which settings."""
    import sklearn

    return {
        "protocol": "SentEval, usepytorch=False, kfold=10",
        "classifier": f"scikit-learn {sklearn.__version__} LogisticRegression, {SOLVERS}, tol"
        f" {TOLERANCE:g}",
        "features": "embeddings as the model gives them; pairs: |u - v| and u * v",
        "differs_from_senteval": "today's LogisticRegression, where SentEval's day had liblinear;"
        " accuracy over folds is over all examples; a blank line is the text '.'",
        "folds": FOLDS,
        "seed": SEED,
        "strengths": list(STRENGTHS),
        "strengths_where_chosen_by_folds_of_train": list(STRENGTHS_BY_FOLDS),
        "splits": {task.name: list(task.splits) or f"{FOLDS} folds" for task in tasks},
        "sources": {task.name: task.source for task in tasks},
        "repeated_texts": {task.name: _repeated(task) for task in tasks},
        "interval": "Wilson over test examples; of F1 by its linearised variance",
    }
