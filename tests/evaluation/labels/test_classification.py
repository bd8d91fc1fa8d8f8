"""A model on labelled texts: what is reported, that it is seeded, and what is refused."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mini_senteval import BagOfWords
from mini_transfer import text
from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.classes import class_numbers
from simcse_kit.evaluation.labels.classification import evaluate_classification, evaluate_few_shot
from simcse_kit.evaluation.labels.clustering import LabelledTask
from simcse_kit.evaluation.labels.probe import linear_probe, nearest_neighbours, split
from simcse_kit.evaluation.task_result import Items


def labelled(n: int = 240, seed: int = 0, name: str = "topics") -> LabelledTask:
    rng = np.random.default_rng(seed)
    texts = [f"{text(rng, row % 3, 3)} {row}" for row in range(n)]
    return LabelledTask(name, texts, [("zoo", "art", "law")[row % 3] for row in range(n)], "memory")


def test_figures_are_those_of_probe_and_neighbours_on_the_split() -> None:
    task = labelled()
    result = evaluate_classification(BagOfWords(), task, test_share=0.25, folds=4, k=7, seed=3)
    numbers, classes = class_numbers(task.labels, 240)
    train, test = split(numbers, 0.25, 3)
    x = BagOfWords().encode(task.texts)
    probe = linear_probe(x[train], numbers[train], x[test], folds=4, seed=3)
    voted = nearest_neighbours(x[train], numbers[train], x[test], k=7)
    expected = {}
    for kind, predicted in (("probe", probe.predicted), ("7-NN", voted)):
        expected[f"{kind} accuracy"] = 100 * (predicted == numbers[test]).mean()
        expected[f"{kind} macro-F1"] = 100 * f1_score(numbers[test], predicted, average="macro")
    expected["commonest class accuracy"] = 100 / 3
    found = {name: figure.value for name, figure in result.figures.items()}
    assert found == pytest.approx(expected)
    assert found["probe accuracy"] > 60
    for figure in result.figures.values():
        assert figure.interval is not None
        assert figure.interval.low <= figure.value <= figure.interval.high
    assert (classes, result.protocol["classes"]) == (["art", "law", "zoo"], 3)
    assert (result.protocol["train"], result.protocol["test"]) == (180, 60)
    assert result.protocol["strength"] == probe.chosen.strength
    assert result.protocol["pooling"] == "sum"
    again = evaluate_classification(BagOfWords(), task, test_share=0.25, folds=4, k=7, seed=3)
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())


def test_texts_in_the_file_to_test_on_are_not_trained_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known, unseen = labelled(), labelled(90, seed=1)
    unseen.texts[:2] = known.texts[0].upper(), f"  {known.texts[1]}"
    model = BagOfWords()
    with caplog.at_level(logging.WARNING):
        result = evaluate_classification(model, known, unseen)
    assert (result.protocol["train"], result.protocol["test"]) == (238, 90)
    assert result.protocol["split"] == "two files"
    assert result.protocol["repeated_texts"] == 2
    assert "2 training texts are in the test file too, and left out." in caplog.text
    assert "2 training texts are in the test file too, and left out." in result.summary
    assert len(model.calls) == 1 and len(set(model.calls[0])) == len(model.calls[0])


def test_unusable_files_are_named_before_anything_is_embedded() -> None:
    model = BagOfWords()
    odd = labelled(30, name="odd")
    odd.labels[4] = "wine"
    with pytest.raises(InputError, match="label 'wine' does not occur in memory"):
        evaluate_classification(model, labelled(), odd)
    with pytest.raises(InputError, match="memory: every label is x; a classifier needs"):
        evaluate_classification(model, LabelledTask("one", ["a", "b"], ["x", "x"], "memory"))
    with pytest.raises(InputError, match=r"smallest class has 4.*fewer than the 5 folds"):
        evaluate_classification(model, labelled(15))
    with pytest.raises(InputError, match="24 training examples for k = 25"):
        evaluate_classification(model, labelled(30), k=25)
    assert model.calls == []


def test_few_shot_of_a_model() -> None:
    task = labelled()
    task.texts[3] = task.texts[0]  # the same text twice is one example
    settings: dict[str, Any] = {"ways": 3, "shots": 2, "episodes": 40, "seed": 1}
    result = evaluate_few_shot(BagOfWords(), task, **settings)
    figure = result.figures["accuracy"]
    assert figure.interval is not None and figure.sd is not None
    half = (figure.interval.high - figure.interval.low) / 2
    assert half == pytest.approx(2.0227 * figure.sd / 40**0.5, rel=1e-2)  # Student's t, 39
    assert figure.value > 40
    assert (result.protocol["texts"], result.protocol["classes"]) == (239, 3)
    assert evaluate_few_shot(BagOfWords(), task, **settings).to_json() == result.to_json()
    other = evaluate_few_shot(BagOfWords(), task, **settings, classifier="logistic")
    assert "LogisticRegression" in other.protocol["classifier"]


def test_impossible_episodes_and_contradictions_are_named_before_anything_is_embedded() -> None:
    model = BagOfWords()
    with pytest.raises(InputError, match=r"3 class\(es\) of 3 .* fewer than the 5 ways"):
        evaluate_few_shot(model, labelled())
    task = labelled()
    task.texts[1] = task.texts[0]
    with pytest.raises(InputError, match="has the labels zoo and art; correct one or remove"):
        evaluate_few_shot(model, task, ways=3)
    assert model.calls == []


class Noise:
    """A text's embedding is drawn by its letters, whatever their case: it says nothing else."""

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        seeds = [list(text.casefold().encode()) for text in texts]
        return np.array([np.random.default_rng(seed).normal(size=24) for seed in seeds])


def test_copies_on_both_sides_do_not_pass_for_understanding() -> None:
    """On noise with every text twice, chance is what there is to find: 20 %."""
    texts = [f"text {number}" for number in range(300)]
    labels = [f"class {number % 5}" for number in range(300)]
    task = LabelledTask("noise", texts + [text.title() for text in texts], labels * 2, "memory")
    result = evaluate_classification(Noise(), task, k=1)
    figures = {name: figure.value for name, figure in result.figures.items()}
    assert figures["probe accuracy"] < 35 and figures["1-NN accuracy"] < 35
    assert result.protocol["repeated_texts"] == 300
    assert "300 texts repeat another, and stand on its side of the split" in result.summary
    few = evaluate_few_shot(Noise(), task, ways=5, shots=5, queries=15, episodes=60)
    assert few.figures["accuracy"].value < 26
    assert "300 texts repeat another, and are one example with it" in few.summary


def test_no_split_and_no_fold_parts_copies_and_without_copies_they_are_as_ever() -> None:
    from sklearn.model_selection import StratifiedKFold

    from simcse_kit.evaluation.labels.logistic import stratified_folds

    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 150)
    labels = groups % 3
    sides = split(labels, 0.3, 1, groups)
    assert not set(groups[sides[0]]) & set(groups[sides[1]])
    assert sorted(np.concatenate(sides)) == list(range(150))
    for train, held in stratified_folds(labels, 5, 1, groups):
        assert not set(groups[train]) & set(groups[held])
    own = stratified_folds(labels, 5, 1)
    theirs = StratifiedKFold(5, shuffle=True, random_state=1).split(labels, labels)
    for (train, held), (a, b) in zip(own, theirs, strict=True):
        assert (train == a).all() and (held == b).all()


def test_a_class_of_one_text_is_left_out_and_said() -> None:
    task = labelled()
    task.texts.extend(["one lone note", "One  lone note"])
    task.labels.extend(["birds", "birds"])
    result = evaluate_classification(BagOfWords(), task)
    assert result.protocol["classes"] == 3
    assert "1 class(es) of one text are left out: birds." in result.summary
    without = evaluate_classification(BagOfWords(), labelled())
    assert result.figures == without.figures


def test_copies_make_no_interval_shorter_and_no_difference_surer() -> None:
    task = labelled(120)
    twice = LabelledTask(task.name, task.texts * 2, task.labels * 2, task.source)
    alone, copied = (evaluate_classification(BagOfWords(), each) for each in (task, twice))
    figure = copied.figures["commonest class accuracy"]
    assert figure.interval == alone.figures["commonest class accuracy"].interval
    assert (copied.protocol["test"], alone.protocol["test"]) == (48, 24)
    assert isinstance(copied.tested, Items) and copied.tested.count == 24
    once = np.ones((1, 24), dtype=np.int64)
    assert {name: each[0] for name, each in copied.tested.figures(once).items()} == pytest.approx(
        {name: each.value for name, each in copied.figures.items() if "commonest" not in name}
    )


def test_a_class_of_texts_with_two_labels_is_named() -> None:
    task = labelled(60)
    both = LabelledTask("t", task.texts + task.texts[:9], task.labels + ["x"] * 9, "file.csv")
    with pytest.raises(InputError, match=r"^file\.csv: .x. is the label of texts"):
        evaluate_classification(BagOfWords(), both)
