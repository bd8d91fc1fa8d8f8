"""A model on labelled texts: linear probe, nearest neighbours, few-shot episodes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import Encoder, distinct, embed, model_name, model_settings
from simcse_kit.evaluation.labels.classes import (
    accuracy,
    apart,
    class_numbers,
    f1,
    macro_apart,
    resampled,
)
from simcse_kit.evaluation.labels.clustering import LabelledTask
from simcse_kit.evaluation.labels.few_shot import Classifier, few_shot, large_classes, mean_accuracy
from simcse_kit.evaluation.labels.logistic import stratified_folds
from simcse_kit.evaluation.labels.probe import STRENGTHS, linear_probe, nearest_neighbours, split
from simcse_kit.evaluation.labels.repeats import first_rows, repeated, same_texts
from simcse_kit.evaluation.task_result import Figure, Items, TaskResult, means

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Examples:
    """Rows of one table of texts to train on and to test on, with their classes."""

    texts: list[str]
    numbers: np.ndarray
    groups: np.ndarray
    classes: list[str]
    train: np.ndarray
    test: np.ndarray
    split: str
    remarks: tuple[str, ...] = ()


def evaluate_classification(
    model: Encoder,
    task: LabelledTask,
    test: LabelledTask | None = None,
    *,
    test_share: float = 0.2,
    folds: int = 5,
    k: int = 10,
    seed: int = 0,
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> TaskResult:
    """Accuracy and macro-F1 of a linear probe and of k nearest neighbours, with intervals.

    Beside them what always saying the commonest class would give. Intervals are Wilson's, over
    other test examples.

    Args:
        test: examples to test on; by default `test_share` of `task`, drawn class by class.
        folds: of the training examples, to choose the probe's strength.
        k: neighbours that vote, by cosine.
        seed: of the split and the folds.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model; its own `name` by default.

    Raises:
        InputError: as `embed`, `linear_probe` and `nearest_neighbours`; a label that only the test
            examples have; one class for all.
    """
    examples = _examples(task, test, test_share, seed)
    known, unseen = examples.numbers[examples.train], examples.numbers[examples.test]
    groups = examples.groups[examples.train]
    tested = np.unique(examples.groups[examples.test], return_inverse=True)[1]
    stratified_folds(known, folds, seed, groups)  # complains before the embedding and not after it
    if k > len(known):
        raise InputError(f"There are {len(known)} training examples for k = {k}: lower k.")
    embeddings = _embeddings(model, examples.texts, encode_kwargs)
    train, there = embeddings[examples.train], embeddings[examples.test]
    probe = linear_probe(train, known, there, folds=folds, seed=seed, groups=groups)
    voted = nearest_neighbours(train, known, there, k=k)
    commonest = np.full(len(unseen), np.bincount(known).argmax())
    figures = {}
    predictions = {"probe": probe.predicted, f"{k}-NN": voted}
    for kind, predicted in predictions.items():
        figures[f"{kind} accuracy"] = accuracy(unseen, predicted, groups=tested)
        figures[f"{kind} macro-F1"] = f1(unseen, predicted, groups=tested)
    figures["commonest class accuracy"] = accuracy(unseen, commonest, groups=tested)
    return TaskResult(
        model=name or model_name(model),
        task=task.name,
        figures=figures,
        protocol={
            "probe": "scikit-learn LogisticRegression on the embeddings as they are",
            "strengths": list(STRENGTHS),
            "strength": probe.chosen.strength,
            "strength_chosen_by": f"accuracy in {folds} stratified folds of the training examples",
            "accuracy_in_folds": probe.chosen.accuracy,
            "neighbours": f"{k}, by cosine, one vote each",
            "classes": len(examples.classes),
            "train": len(known),
            "test": len(unseen),
            "split": examples.split,
            "seed": seed,
            "repeated_texts": repeated(examples.groups),
            "remarks": list(examples.remarks),
            "interval": "Wilson, over test examples, equal texts as one; of F1 by its linearised"
            " variance",
            "source": task.source,
            "test_source": task.source if test is None else test.source,
        }
        | model_settings(model, encode_kwargs),
        summary=(
            f"×100 on {len(unseen):,} examples of {len(examples.classes):,} classes after"
            f" {len(known):,} to train on ({examples.split}); C = {probe.chosen.strength:g}."
            f"{''.join(f' {remark}' for remark in examples.remarks)}"
        ),
        tested=labelled_items(unseen, predictions, tested),
    )


def evaluate_few_shot(
    model: Encoder,
    task: LabelledTask,
    *,
    ways: int = 5,
    shots: int = 5,
    queries: int = 15,
    episodes: int = 600,
    classifier: Classifier = "centroid",
    seed: int = 0,
    show_progress: bool = False,
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> TaskResult:
    """Mean accuracy over few-shot episodes, with its interval over other episodes.

    Texts that are equal but for case are one example, so that none is both known and asked for.
    For the arguments see `few_shot`. Raises InputError as it and `embed`, and for a text with two
    labels.
    """
    groups = same_texts(task.texts)
    first = first_rows(groups)
    texts, labels = ([column[row] for row in first] for column in (task.texts, task.labels))
    for group, text, label in zip(groups, task.texts, task.labels, strict=True):
        if labels[group] != label:
            raise InputError(
                f"{task.source}: {text!r:.60} has the labels {labels[group]} and {label};"
                " correct one or remove the text."
            )
    numbers, classes = class_numbers(labels, len(texts), task.source)
    # Before the embedding, so that a complaint does not come after it.
    enough = len(large_classes(numbers, ways, shots, queries))
    accuracies = few_shot(
        embed(model, texts, encode_kwargs),
        numbers,
        ways=ways,
        shots=shots,
        queries=queries,
        episodes=episodes,
        classifier=classifier,
        seed=seed,
        show_progress=show_progress,
    )
    mean = mean_accuracy(accuracies, queries=ways * queries)
    again = repeated(groups)
    said = f" {again:,} texts repeat another, and are one example with it." if again else ""
    return TaskResult(
        model=name or model_name(model),
        task=task.name,
        figures={"accuracy": Figure(mean.value, mean.interval, float(accuracies.std(ddof=1)))},
        protocol={
            "ways": ways,
            "shots": shots,
            "queries": queries,
            "episodes": episodes,
            "classifier": {
                "centroid": "nearest centroid, cosine",
                "logistic": "scikit-learn LogisticRegression on unit vectors, C = 1",
            }[classifier],
            "classes": len(classes),
            "classes_with_enough_examples": enough,
            "texts": len(texts),
            "repeated_texts": repeated(groups),
            "chance": 100 / ways,
            "seed": seed,
            "interval": "Wilson, with Student's quantile and the variance over episodes; other"
            " episodes of the same examples",
            "source": task.source,
        }
        | model_settings(model, encode_kwargs),
        summary=(
            f"×100, {ways}-way {shots}-shot, {queries} queries a class, {episodes:,} episodes from"
            f" {enough:,} classes; chance is {100 / ways:.2f}.{said}"
        ),
        tested=means({"accuracy": accuracies}),
    )


def labelled_items(
    labels: np.ndarray, predictions: Mapping[str, np.ndarray], groups: np.ndarray
) -> Items:
    """The test texts, what each classifier predicts of the examples (N,) of each, `groups` (N,)."""

    each = {kind: resampled(labels, one, groups) for kind, one in predictions.items()}

    def figures(counts: np.ndarray) -> dict[str, np.ndarray]:
        found = {}
        for kind, of_counts in each.items():
            found[f"{kind} accuracy"], found[f"{kind} macro-F1"] = of_counts(counts)
        return found

    over = {}
    for kind in predictions:
        over[f"{kind} accuracy"] = apart(labels, groups)
        over[f"{kind} macro-F1"] = macro_apart(labels, groups)
    return Items(int(groups.max()) + 1, figures, over)


def _examples(
    task: LabelledTask, test: LabelledTask | None, test_share: float, seed: int
) -> _Examples:
    """What to train on and to test on: no text, equal but for case, is on both sides."""
    texts = task.texts if test is None else task.texts + test.texts
    groups = same_texts(texts)
    if test is None:
        task, remarks = _without_rare(task)
        texts, groups = task.texts, same_texts(task.texts)
        numbers, classes = class_numbers(task.labels, len(texts), task.source)
        known, unseen = split(numbers, test_share, seed, groups)
        how = f"{test_share:g} of the file to test on, stratified, seed {seed}"
        if again := repeated(groups):
            remarks += [
                f"{again:,} texts repeat another, and stand on its side of the split; intervals"
                " count them as one with it."
            ]
        return _Examples(texts, numbers, groups, classes, known, unseen, how, tuple(remarks))
    _, classes = class_numbers(task.labels, len(task.texts), task.source)
    only = sorted(set(test.labels) - set(classes))
    if only:
        raise InputError(
            f"{test.source}: the label {only[0]!r} does not occur in {task.source}, so no"
            " classifier can learn it; correct it or remove its rows."
        )
    place = {label: number for number, label in enumerate(classes)}
    numbers = np.array([place[label] for label in [*task.labels, *test.labels]], dtype=np.int64)
    rows, n = np.arange(len(numbers)), len(task.texts)
    in_test = np.isin(groups[:n], groups[n:])
    remarks = []
    if in_test.any():
        remarks = [f"{in_test.sum():,} training texts are in the test file too, and left out."]
        logger.warning("%s: %s", task.source, remarks[0])
        if len(np.unique(numbers[:n][~in_test])) < len(classes):
            raise InputError(
                f"{task.source}: all training texts of a class are in {test.source} too, so nothing"
                " is left to learn it from; give other training texts."
            )
    known, unseen = rows[:n][~in_test], rows[n:]
    return _Examples(texts, numbers, groups, classes, known, unseen, "two files", tuple(remarks))


def _without_rare(task: LabelledTask) -> tuple[LabelledTask, list[str]]:
    """The task without the classes of one text, which cannot be on both sides, and what is said."""
    groups = same_texts(task.texts)
    texts_of: dict[str, set[int]] = {}
    for label, group in zip(task.labels, groups.tolist(), strict=True):
        texts_of.setdefault(label, set()).add(group)
    firsts = Counter(task.labels[row] for row in first_rows(groups))
    for label, found in texts_of.items():
        if len(found) >= 2 > firsts[label]:
            raise InputError(
                f"{task.source}: {label!r} is the label of texts that have another in an earlier"
                " row, all but one of them at least; correct one of the two or remove the text."
            )
    rare = sorted(label for label, found in texts_of.items() if len(found) < 2)
    if not rare or len(texts_of) - len(rare) < 2:
        return task, []
    kept = [row for row, label in enumerate(task.labels) if label not in rare]
    named = ", ".join(rare[:5]) + (", …" if len(rare) > 5 else "")
    said = f"{len(rare):,} class(es) of one text are left out: {named}."
    logger.warning("%s: %s", task.source, said)
    texts, labels = ([column[row] for row in kept] for column in (task.texts, task.labels))
    return LabelledTask(task.name, texts, labels, task.source), [said]


def _embeddings(
    model: Encoder, texts: list[str], encode_kwargs: Mapping[str, Any] | None
) -> np.ndarray:
    row = distinct(texts)
    return embed(model, list(row), encode_kwargs)[[row[text] for text in texts]]
