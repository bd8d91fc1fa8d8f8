"""Several models on one task: differences against resampling by hand, scikit-learn and Holm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.metrics import average_precision_score, f1_score

from mini_senteval import BagOfWords, toy_task
from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.classes import resampled
from simcse_kit.evaluation.labels.classification import evaluate_classification, evaluate_few_shot
from simcse_kit.evaluation.labels.clustering import LabelledTask, evaluate_clustering
from simcse_kit.evaluation.search.duplicates import evaluate_duplicates, pair_items
from simcse_kit.evaluation.search.retrieval import Relevance
from simcse_kit.evaluation.search.retrieval_data import RetrievalTask
from simcse_kit.evaluation.search.retrieval_task import evaluate_retrieval
from simcse_kit.evaluation.statistics.intervals import holm
from simcse_kit.evaluation.sts.graded import evaluate_graded
from simcse_kit.evaluation.sts.suite import PairTask
from simcse_kit.evaluation.tables import draw_markdown
from simcse_kit.evaluation.task_comparison import (
    compare_tasks,
    compared,
    difference_cells,
    side_by_side,
)
from simcse_kit.evaluation.task_result import Figure, TaskResult, means

WORDS = ["man", "dog", "car", "book", "train", "city", "guitar", "river", "boat", "horse"]


class Noisy:
    """A bag of words under noise that grows with `noise`."""

    def __init__(self, noise: float) -> None:
        self.noise, self.name = noise, f"noise {noise:g}"

    def encode(self, sentences: list[str], **_: Any) -> np.ndarray:
        clean = BagOfWords().encode(sentences)
        rng = np.random.default_rng(sum(map(len, sentences)))  # others for other sentences
        return clean + self.noise * rng.normal(size=clean.shape)


MODELS = {"good": Noisy(0.05), "fair": Noisy(0.4), "bad": Noisy(2.0)}


def result_of(values: dict[str, np.ndarray], task: str = "t") -> TaskResult:
    figures = {name: Figure(float(each.mean())) for name, each in values.items()}
    return TaskResult("m", task, figures, {}, "means.", means(values))


def test_differences_are_paired_bootstraps_and_holm_is_over_the_models() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 100, size=40)
    each = {"a": base, "b": base + rng.normal(3, 10, 40), "c": base + rng.normal(0, 10, 40)}
    results = {name: result_of({"x": values}) for name, values in each.items()}
    found = compare_tasks(results, draws=2_000, seed=4)
    assert found is not None
    drawn = np.random.default_rng(4).integers(0, 40, size=(2_000, 40))
    alone = []
    for one, name in zip(found.differences, "bc", strict=True):
        assert (one.model, one.baseline) == (name, "a")
        mean = (each[name] - base).mean()
        # Expanded (Hesterberg 2015): of 40 items, by what Student's t of 39 has more.
        reach = (40 / 39) ** 0.5 * t.ppf(0.975, 39) / norm.ppf(0.975)
        differences = mean + reach * ((each[name] - base)[drawn].mean(axis=1) - mean)
        k = round(2_001 * 0.025 - 0.5)
        ordered = np.sort(differences)
        assert one.figures["x"].difference == pytest.approx(mean)
        assert one.figures["x"].interval.low == pytest.approx(ordered[k - 1])
        assert one.figures["x"].interval.high == pytest.approx(ordered[-k])
        fewest = min((differences <= 0).sum(), (differences >= 0).sum())
        alone.append(min(1.0, 2 * (1 + fewest) / 2_001))
        assert one.figures["x"].p_value == pytest.approx(alone[-1])
    assert [one.figures["x"].p_adjusted for one in found.differences] == pytest.approx(holm(alone))
    sentence = found.sentences()[0]
    assert sentence.startswith("b is ") and " points above a in x (95 % interval " in sentence
    assert "corrected for 2 comparisons (Holm)" in sentence


def test_all_pairs_are_the_later_with_the_earlier() -> None:
    assert compared(3) == [(1, 0), (2, 0)]
    assert compared(3, pairwise=True) == [(1, 0), (2, 0), (2, 1)]
    rng = np.random.default_rng(0)
    results = {name: result_of({"x": rng.uniform(size=9)}) for name in "abc"}
    found = compare_tasks(results, pairwise=True, draws=200)
    assert found is not None
    pairs = [(one.model, one.baseline) for one in found.differences]
    assert pairs == [("b", "a"), ("c", "a"), ("c", "b")]
    assert "| c − b |" in draw_markdown(difference_cells(found))


def test_what_cannot_be_compared_is_named() -> None:
    one = result_of({"x": np.arange(4.0)})
    with pytest.raises(InputError, match="1 results of t"):
        compare_tasks({"a": one})
    with pytest.raises(InputError, match="2 results of t, u"):
        compare_tasks({"a": one, "b": result_of({"x": np.arange(4.0)}, task="u")})


def test_retrieval_is_compared_query_by_query() -> None:
    queries = [f"{a} {b}" for a in WORDS for b in WORDS if a < b]
    corpus = [f"the {query} here" for query in queries]
    n = len(queries)
    relevance = Relevance(np.arange(n), np.arange(n), np.ones(n))
    task = RetrievalTask("t", queries, corpus, relevance, "memory")
    results = {
        name: evaluate_retrieval(model, task, metrics=["recall@1", "mrr"], draws=200)
        for name, model in MODELS.items()
    }
    found = compare_tasks(results, draws=500)
    assert found is not None
    worse = found.differences[1].figures["mrr"]
    expected = results["bad"].figures["mrr"].value - results["good"].figures["mrr"].value
    assert worse.difference == pytest.approx(expected) and worse.difference < -20
    assert worse.interval.high < 0 and worse.p_adjusted < 0.05


def labelled(rows: int) -> LabelledTask:
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for row in range(rows):
        kind = row % 3
        other = WORDS[3 + rng.integers(7)]
        texts.append(f"{WORDS[kind]} {other} {WORDS[3 + rng.integers(7)]} {row}")
        labels.append("abc"[kind])
    return LabelledTask("t", texts, labels, "memory")


def test_classification_is_compared_example_by_example() -> None:
    results = {
        name: evaluate_classification(model, labelled(150), folds=3, k=3)
        for name, model in MODELS.items()
    }
    found = compare_tasks(results, draws=500)
    assert found is not None
    for one in found.differences:
        assert set(one.figures) == {
            "probe accuracy", "probe macro-F1", "3-NN accuracy", "3-NN macro-F1",
        }  # fmt: skip
        for figure, difference in one.figures.items():
            values = [results[name].figures[figure].value for name in (one.model, "good")]
            assert difference.difference == pytest.approx(values[0] - values[1])


def test_macro_f1_of_resamples_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, size=(2, 30))
    drawn = rng.integers(0, 30, size=(20, 30))
    counts = np.stack([np.bincount(rows, minlength=30) for rows in drawn])
    expected = [100 * f1_score(labels[rows], predicted[rows], average="macro") for rows in drawn]
    right, macro = resampled(labels, predicted, np.arange(30))(counts)
    np.testing.assert_allclose(macro, expected)
    expected = [100 * (labels[rows] == predicted[rows]).mean() for rows in drawn]
    np.testing.assert_allclose(right, expected)
    # Of equal texts all are drawn: three rows each, as if every row stood there three times.
    groups = np.arange(30) // 3
    counts = np.stack([np.bincount(rows % 10, minlength=10) for rows in drawn])
    rows = [np.repeat(np.arange(30), each[groups]) for each in counts]
    found = resampled(labels, predicted, groups)(counts)
    expected = [100 * f1_score(labels[some], predicted[some], average="macro") for some in rows]
    np.testing.assert_allclose(found[1], expected)
    expected = [100 * (labels[some] == predicted[some]).mean() for some in rows]
    np.testing.assert_allclose(found[0], expected)


def test_duplicates_are_compared_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    first = [f"{WORDS[rng.integers(10)]} {WORDS[rng.integers(10)]} {row}" for row in range(60)]
    second = [text if row % 3 else f"{WORDS[row % 10]} and" for row, text in enumerate(first)]
    gold = np.array([float(row % 3 > 0) for row in range(60)])
    task = PairTask("t", first, [f"{text} too" for text in second], gold, {}, "file", "memory")
    results = {name: evaluate_duplicates(model, task, draws=200) for name, model in MODELS.items()}
    found = compare_tasks(results, draws=300)
    assert found is not None
    ap = [results[name].figures["ap"].value for name in ("bad", "good")]
    assert found.differences[1].figures["ap"].difference == pytest.approx(ap[0] - ap[1])
    # What depends on where the threshold fell is shown and not tested.
    assert set(found.differences[0].figures) == {"ap"}
    assert "recall" in results["good"].figures
    assert "recall and accuracy are not tested" in draw_markdown(difference_cells(found))
    assert "not tested" in found.to_json()["untested"]


def test_average_precision_of_resamples_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    cosines = rng.uniform(size=40).round(1)  # with ties
    labels = (rng.uniform(size=40) < 0.4).astype(float)
    drawn = np.stack([*rng.integers(0, 40, size=(20, 40)), np.full(40, labels.argmax())])
    counts = np.stack([np.bincount(rows, minlength=40) for rows in drawn])
    found = pair_items(cosines, labels).figures(counts)["ap"]
    expected = [100 * average_precision_score(labels[rows], cosines[rows]) for rows in drawn[:-1]]
    np.testing.assert_allclose(found[:-1], expected)
    assert np.isnan(found[-1])  # of one kind only


def test_pairs_are_compared_as_the_sts_suite_is() -> None:
    tasks = [toy_task(name="one"), toy_task(name="two", gold=(0.0, 2.0, 1.0, 4.0, 3.0))]
    results = {
        name: evaluate_graded(model, tasks, draws=200)
        for name, model in (("good", MODELS["good"]), ("bad", MODELS["bad"]))
    }
    found = compare_tasks(results, draws=200)
    assert found is not None
    (one,) = found.differences
    assert set(one.figures) == {"one", "two", "average"}
    for figure, difference in one.figures.items():
        values = [results[name].figures[figure].value for name in ("bad", "good")]
        assert difference.difference == pytest.approx(values[0] - values[1])
    assert " in average " in found.sentences()[0]


def test_few_shot_is_compared_episode_by_episode_and_clustering_is_not() -> None:
    sizes = {"ways": 3, "shots": 2, "queries": 3, "episodes": 30}
    few = {n: evaluate_few_shot(model, labelled(60), **sizes) for n, model in MODELS.items()}
    found = compare_tasks(few, draws=300)
    assert found is not None
    values = [few[name].figures["accuracy"].value for name in ("bad", "good")]
    assert found.differences[1].figures["accuracy"].difference == pytest.approx(
        values[0] - values[1]
    )
    groups = {
        n: evaluate_clustering(model, labelled(60), seeds=range(2)) for n, model in MODELS.items()
    }
    assert compare_tasks(groups) is None
    table = draw_markdown(side_by_side(groups))
    assert table.count("±") == 9 and table.count("**") == 6  # the best of three figures


def test_side_by_side_marks_the_best_and_no_threshold() -> None:
    def result(value: float, threshold: float, summary: str) -> TaskResult:
        return TaskResult(
            "m", "t", {"ap": Figure(value), "f1_threshold": Figure(threshold)}, {}, summary
        )

    cells = side_by_side({"a": result(50, 0.5, "x."), "b": result(60, 0.4, "x.")})
    assert draw_markdown(cells).splitlines()[2:4] == [
        "| a | 50.00 | 0.5000 |",
        "| b | **60.00** | 0.4000 |",
    ]
    assert cells.notes == [
        "In bold the highest of each figure, told from the others or not.",
        "x.",
    ]
    cells = side_by_side({"a": result(50.001, 0.5, "x."), "b": result(50, 0.5, "y.")})
    assert "**" not in draw_markdown(cells)
    assert cells.notes == ["a: x.", "b: y."]
