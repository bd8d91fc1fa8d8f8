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


def test_a_file_to_test_on_and_texts_in_both_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known, unseen = labelled(), labelled(90, seed=1)
    unseen.texts[:2] = known.texts[:2]
    model = BagOfWords()
    with caplog.at_level(logging.WARNING):
        result = evaluate_classification(model, known, unseen)
    assert (result.protocol["train"], result.protocol["test"]) == (240, 90)
    assert result.protocol["split"] == "two files"
    assert result.protocol["test_texts_also_in_train"] == 2
    assert "2 of 90 test texts are in the training set" in caplog.text
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
    assert half == pytest.approx(2.0227 * figure.sd / 40**0.5, rel=1e-3)  # Student's t, 39
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
