"""Duplicate detection against scikit-learn and sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
)

from simcse_kit.errors import InputError
from simcse_kit.evaluation.search.duplicates import (
    _CALLED,
    _crossed,
    duplicate_scores,
    evaluate_duplicates,
    load_duplicates,
    pair_items,
)
from simcse_kit.evaluation.sts.tasks import PairTask


def pairs(n: int = 200, seed: int = 0, digits: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Cosines, a little higher for duplicates; few digits make ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.35).astype(float)
    cosines = np.clip(rng.normal(0.4 + 0.25 * labels, 0.2), -1, 1)
    return cosines.round(digits), labels


@pytest.mark.parametrize("digits", [6, 1])
def test_average_precision_and_best_f1_are_scikit_learns(digits: int) -> None:
    cosines, labels = pairs(digits=digits)
    scores = duplicate_scores(cosines, labels)
    precision, recall, _ = precision_recall_curve(labels, cosines)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    assert scores.ap == pytest.approx(100 * average_precision_score(labels, cosines))
    assert scores.f1 == pytest.approx(100 * f1.max())
    called = cosines >= scores.f1_threshold
    assert scores.precision == pytest.approx(100 * labels[called].mean())
    assert scores.recall == pytest.approx(100 * called[labels == 1].mean())
    right = (cosines >= scores.accuracy_threshold) == labels
    assert scores.accuracy == pytest.approx(100 * right.mean())
    best = max(((cosines >= t) == labels).mean() for t in cosines)
    assert scores.accuracy == pytest.approx(100 * best)


def test_thresholds_are_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer.evaluation import (
        BinaryClassificationEvaluator as Theirs,
    )

    cosines, labels = pairs(seed=3)
    scores = duplicate_scores(cosines, labels)
    accuracy, at = Theirs.find_best_acc_and_threshold(cosines, labels, True)
    assert (scores.accuracy, scores.accuracy_threshold) == pytest.approx((100 * accuracy, at))
    f1, precision, recall, at = Theirs.find_best_f1_and_threshold(cosines, labels, True)
    assert (scores.f1, scores.f1_threshold) == pytest.approx((100 * f1, at))
    assert (scores.precision, scores.recall) == pytest.approx((100 * precision, 100 * recall))


def test_where_all_had_better_be_called_duplicates() -> None:
    scores = duplicate_scores(np.array([0.5, 0.4, 0.3]), np.array([0, 1, 1]))
    assert (scores.recall, scores.f1_threshold) == (100.0, -1.0)
    assert scores.f1 == pytest.approx(80.0)
    tied = duplicate_scores(np.full(4, 0.7), np.array([0, 1, 1, 0]))
    assert (tied.ap, tied.precision, tied.recall) == (50.0, 50.0, 100.0)


def test_a_draw_is_the_figures_of_the_resampled_pairs() -> None:
    cosines, labels = pairs(40, digits=1)
    items = pair_items(cosines, labels, also=_CALLED)
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 40, size=(50, 40))
    counts = np.stack([np.bincount(some, minlength=40) for some in drawn])
    found = items.figures(counts)
    calls = _crossed(cosines, labels, 0)
    assert calls is not None
    for draw, some in enumerate(drawn):
        expected = {
            "ap": average_precision_score(labels[some], cosines[some]),
            "f1": f1_score(labels[some], calls.for_f1[some]),
            "precision": precision_score(labels[some], calls.for_f1[some]),
            "recall": recall_score(labels[some], calls.for_f1[some]),
            "accuracy": (calls.for_accuracy[some] == labels[some]).mean(),
        }
        for name, value in expected.items():
            assert found[name][draw] == pytest.approx(100 * value), name


def test_calls_are_by_the_best_threshold_of_the_other_half() -> None:
    cosines, labels = pairs(60)
    calls = _crossed(cosines, labels, 3)
    assert calls is not None
    rng = np.random.default_rng(3)
    second = np.zeros(60, dtype=bool)
    for label in (0, 1):
        second[rng.permutation(np.flatnonzero(labels == label))[::2]] = True
    for half in (second, ~second):
        assert abs(labels[half].sum() - labels[~half].sum()) <= 1
        best = duplicate_scores(cosines[~half], labels[~half])
        assert (calls.for_f1[half] == (cosines[half] >= best.f1_threshold)).all()
        assert (calls.for_accuracy[half] == (cosines[half] >= best.accuracy_threshold)).all()
    assert _crossed(np.array([0.1, 0.2, 0.3]), np.array([0, 1, 0]), 0) is None


def test_on_noise_called_figures_are_those_of_chance_and_the_best_are_above() -> None:
    """Half are duplicates, at random: accuracy is 50, and the best threshold finds more."""
    found: dict[str, list[float]] = {"called": [], "best": []}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        cosines, labels = rng.random(40), rng.permutation(np.repeat([0.0, 1.0], 20))
        calls = _crossed(cosines, labels, seed)
        assert calls is not None
        found["called"].append(100 * (calls.for_accuracy == labels).mean())
        found["best"].append(duplicate_scores(cosines, labels).accuracy)
    assert np.mean(found["called"]) == pytest.approx(50, abs=2.5)
    assert np.mean(found["best"]) > 57


@pytest.mark.parametrize("digits", [6, 1])
def test_shares_are_the_derivatives_by_the_pairs_weights(digits: int) -> None:
    cosines, labels = pairs(50, digits=digits)
    items = pair_items(cosines, labels, also=_CALLED)
    step = 1e-6
    plain = items.figures(np.ones((1, 50)))
    moved = items.figures(np.ones((50, 50)) + step * np.eye(50))
    for name, shares in items.shares.items():
        assert abs(shares.sum()) < 1e-9, name
        slopes = (moved[name] - plain[name]) / step
        # the weights of all sum to N + step, which moves nothing: a share is a slope
        np.testing.assert_allclose(shares, slopes, atol=1e-4, err_msg=name)


def test_pairs_that_share_texts_are_taken_together(caplog: pytest.LogCaptureFixture) -> None:
    """Every pair twice is half as many pairs: √2 the width of what independent ones would have."""
    rng = np.random.default_rng(4)
    labels = np.tile([0.0, 1.0], 100)
    turns = rng.integers(0, 60, 200) + np.where(labels == 1, 0, 15) + rng.random(200)
    first = [str(number / 1000) for number in range(200)]
    once = PairTask("t", first, [str(turn) for turn in turns], labels, {}, "file", "made up")
    twice = PairTask(
        "t", once.sentence1 * 2, once.sentence2 * 2, np.tile(labels, 2), {}, "file", "made up"
    )
    results = [evaluate_duplicates(Angles(), task) for task in (once, twice)]
    assert "those that share a sentence taken together" in results[1].summary
    assert "taken together" not in results[0].summary
    (alone, doubled) = (result.figures["ap"].interval for result in results)
    assert alone is not None and doubled is not None
    assert doubled.high - doubled.low == pytest.approx(alone.high - alone.low, rel=0.03)
    star = PairTask("star", ["0"] * 200, once.sentence2, labels, {}, "file", "made up")
    found = evaluate_duplicates(Angles(), star)
    assert found.figures["ap"].interval is not None  # as of two pairs: 1 + 200 / 200 of each
    assert found.figures["ap"].interval.high - found.figures["ap"].interval.low > 60
    assert "One sentence of star is in 200 of 200 pairs, as if 4 sentences" in caplog.text


@pytest.mark.parametrize(
    ("cosines", "labels", "message"),
    [
        (np.ones(3), np.ones(2), "every pair needs one of each"),
        (np.array([0.1, np.nan]), np.array([0, 1]), "not finite"),
        (np.array([0.1, 0.2]), np.array([0, 2]), "label of pair 2 is 2"),
        (np.array([0.1, 0.2]), np.array([1, 1]), "every label is 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    cosines: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        duplicate_scores(cosines, labels)


def test_labelled_pairs_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.tsv"
    path.write_text("q1\tq2\tlabel\none\ttwo\t1\nthree\tfour\t0\n")
    task = load_duplicates(path, {"sentence1": "q1", "sentence2": "q2"})
    assert task.name == "questions"
    assert (task.sentence1, task.sentence2) == (["one", "three"], ["two", "four"])
    assert task.gold.tolist() == [1, 0]
    path.write_text("q1\tq2\tlabel\none\ttwo\t1\nthree\tfour\t0.5\n")
    with pytest.raises(InputError, match=r"questions.tsv:3: the label is 0.5; it must be 1"):
        load_duplicates(path, {"sentence1": "q1", "sentence2": "q2"})
    path.write_text("q1\tq2\tlabel\none\ttwo\tyes\n")
    with pytest.raises(InputError, match=r"questions.tsv:2: the label is yes; it must be 1"):
        load_duplicates(path, {"sentence1": "q1", "sentence2": "q2"})
    with pytest.raises(InputError, match="has no column for sentence1, sentence2"):
        load_duplicates(path)


@pytest.mark.parametrize(("name", "yes", "no"), [
    ("a.jsonl", "true", "false"), ("a.jsonl", '"True"', '"FALSE"'), ("a.csv", "TRUE", "False"),
])  # fmt: skip
def test_labels_may_be_true_and_false(tmp_path: Path, name: str, yes: str, no: str) -> None:
    rows = [("a", "b", yes), ("c", "d", no), ("e", "f", yes)]
    line = '{"sentence1": "%s", "sentence2": "%s", "label": %s}'
    lines = [line % row if name == "a.jsonl" else ",".join(row) for row in rows]
    head = [] if name == "a.jsonl" else ["sentence1,sentence2,label"]
    (tmp_path / name).write_text("\n".join(head + lines))
    assert load_duplicates(tmp_path / name).gold.tolist() == [1, 0, 1]


class Angles:
    """A text is a number of degrees."""

    name = "angles"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        self.asked += texts
        angles = np.deg2rad([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_a_model_on_a_task() -> None:
    rng = np.random.default_rng(2)
    labels = np.tile([0.0, 1.0], 50)
    turns = np.where(labels == 1, rng.integers(0, 50, 100), rng.integers(20, 90, 100))
    turns = turns + rng.random(100)
    first = [str(200 + number) for number in range(100)]
    second = [str(200 + number + turn) for number, turn in enumerate(turns)]
    task = PairTask("turns", first, second, labels, {}, "file", "made up")
    model = Angles()
    result = evaluate_duplicates(model, task)
    assert len(model.asked) == len(set(model.asked))
    expected = duplicate_scores(np.cos(np.deg2rad(turns)), labels)
    figures = {name: figure.value for name, figure in result.figures.items()}
    assert figures["ap"] == pytest.approx(expected.ap)
    assert figures["f1_threshold"] == pytest.approx(expected.f1_threshold)
    assert figures["best_f1"] == pytest.approx(expected.f1)
    assert figures["best_accuracy"] == pytest.approx(expected.accuracy)
    assert figures["f1"] <= expected.f1 and figures["accuracy"] <= expected.accuracy
    interval = result.figures["ap"].interval
    assert interval is not None
    assert interval.low < expected.ap < interval.high
    assert result.to_json() == evaluate_duplicates(model, task).to_json()


class Cone:
    """All texts lie within about 1e-4 of one direction: cosines from 1 − 1e-7 to 1."""

    def encode(self, texts: list[str], **_: object) -> np.ndarray:
        rows = [np.random.default_rng(list(text.encode())).normal(size=16) for text in texts]
        return (1.0 + 1e-4 * np.array(rows)).astype(np.float32)


def test_a_narrow_space_is_judged_as_scikit_learn_and_scipy_do() -> None:
    from scipy.stats import spearmanr

    from simcse_kit.evaluation.sts.graded import evaluate_graded

    rng = np.random.default_rng(0)
    first = [f"text {number}" for number in range(120)]
    second = [f"text {number}" for number in rng.permutation(120)]
    second[:6] = first[:6]  # equal texts are ties
    labels = (rng.random(120) < 0.4).astype(float)
    sides = [Cone().encode(side).astype(float) for side in (first, second)]
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    cosines = -((unit[0] - unit[1]) ** 2).sum(axis=1)
    assert 1e-9 < np.ptp(cosines) < 1e-6
    task = PairTask("cone", first, second, labels, {}, "file", "memory")
    found = evaluate_duplicates(Cone(), task, draws=200)
    expected = 100 * average_precision_score(labels, cosines)
    assert found.figures["ap"].value == pytest.approx(expected, abs=1e-9)
    graded = evaluate_graded(Cone(), [task], draws=200).figures["cone"].value
    assert graded == pytest.approx(100 * spearmanr(cosines, labels).statistic, abs=1e-9)
