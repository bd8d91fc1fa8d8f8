"""SentEval's transfer protocol on miniature data, against scikit-learn used by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold

from mini_senteval import BagOfWords
from mini_transfer import MINI, build_transfer
from simcse_kit.errors import InputError
from simcse_kit.evaluation import task_result
from simcse_kit.evaluation.labels import transfer
from simcse_kit.evaluation.labels.transfer import (
    SUITE,
    TransferResult,
    evaluate_transfer,
    pair_features,
    score_task,
)
from simcse_kit.evaluation.labels.transfer_data import TransferTask, load_transfer


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[TransferTask]:
    return load_transfer(build_transfer(tmp_path_factory.mktemp("transfer")), counts=MINI)


@pytest.fixture
def three_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the work: 3 × 3 fits a strength for 10 × 10."""
    monkeypatch.setattr(transfer, "FOLDS", 3)


@pytest.fixture(scope="module")
def result(tasks: list[TransferTask]) -> TransferResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "FOLDS", 3)
        return evaluate_transfer(BagOfWords(), tasks, name="bag")


def cloud(n: int, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds (N, 6) around a centre a class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, 6))
    return (centres[labels] + 1.2 * rng.normal(size=(n, 6))).astype(np.float32), labels


def as_task(labels: np.ndarray, splits: dict[str, slice], name: str = "toy") -> TransferTask:
    return TransferTask(name, [""] * len(labels), None, labels, splits, "memory")


# -- by hand: SentEval's loops, a fresh classifier for every C and fold, in float64


def trained(x: np.ndarray, y: np.ndarray, c: float) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=1000, tol=1e-7).fit(x, y)


def folds(x: np.ndarray, y: np.ndarray, k: int) -> Any:
    return StratifiedKFold(k, shuffle=True, random_state=1111).split(x, y)


def best_in_folds(x: np.ndarray, y: np.ndarray, k: int, powers: range) -> float:
    scores = [
        np.mean([trained(x[a], y[a], 2.0**t).score(x[b], y[b]) for a, b in folds(x, y, k)])
        for t in powers
    ]
    return float(2.0 ** powers[int(np.argmax(np.round(100 * np.array(scores), 2)))])


def nested_by_hand(x: np.ndarray, y: np.ndarray, k: int) -> tuple[float, list[float]]:
    scores, strengths = [], []
    for train, test in folds(x, y, k):
        strengths.append(best_in_folds(x[train], y[train], k, range(-2, 4)))
        scores.append(trained(x[train], y[train], strengths[-1]).score(x[test], y[test]))
    return 100 * float(np.mean(scores)), strengths


def test_the_protocol_is_sentevals() -> None:
    assert (transfer.FOLDS, transfer.SEED) == (10, 1111)
    assert transfer.STRENGTHS == (0.25, 0.5, 1, 2, 4, 8)
    assert transfer.STRENGTHS_BY_FOLDS == (0.5, 1, 2, 4, 8, 16, 32)


@pytest.mark.usefixtures("three_folds")
def test_nested_folds_are_those_by_hand() -> None:
    x, y = cloud(303)
    score = score_task(as_task(y, {}), x)
    expected, strengths = nested_by_hand(x.astype(float), y, 3)
    assert score.accuracy.value == pytest.approx(expected, abs=0.01)  # 303 = 3 × 101
    assert [one.strength for one in score.chosen] == strengths
    assert score.accuracy.value == pytest.approx(100 * (score.predicted == y).mean())
    assert score.n == 303 and score.f1 is None


@pytest.mark.slow
def test_ten_by_ten_folds_are_those_by_hand() -> None:
    x, y = cloud(150, seed=3)
    score = score_task(as_task(y, {}), x)
    expected, strengths = nested_by_hand(x.astype(float), y, 10)
    assert score.accuracy.value == pytest.approx(expected, abs=0.5)
    assert [one.strength for one in score.chosen] == strengths


@pytest.mark.usefixtures("three_folds")
def test_a_task_with_a_test_set_chooses_by_folds_of_train() -> None:
    x, y = cloud(400, classes=5, seed=1)
    task = as_task(y, {"train": slice(0, 250), "test": slice(250, 400)})
    score = score_task(task, x)
    features = x.astype(float)
    best = best_in_folds(features[:250], y[:250], 3, range(-1, 6))
    fit = trained(features[:250], y[:250], best)
    assert score.chosen[0].strength == best
    assert score.accuracy.value == pytest.approx(100 * fit.score(features[250:], y[250:]))
    assert score.predicted.tolist() == fit.predict(features[250:]).tolist()


def test_a_task_with_a_dev_set_chooses_on_it_and_trains_on_train_alone() -> None:
    x, y = cloud(400, seed=2)
    parts = {"train": slice(0, 200), "dev": slice(200, 300), "test": slice(300, 400)}
    score = score_task(as_task(y, parts), x)
    train, dev, test = ((x[part].astype(float), y[part]) for part in parts.values())
    accuracies = [trained(*train, 2.0**t).score(*dev) for t in range(-2, 4)]
    best = 2.0 ** (int(np.argmax(accuracies)) - 2)
    assert score.chosen[0].strength == best
    assert score.chosen[0].accuracy == pytest.approx(100 * max(accuracies), abs=0.005)
    assert score.accuracy.value == pytest.approx(100 * trained(*train, best).score(*test))


def test_pairs_are_difference_and_product(result: TransferResult) -> None:
    u, v = np.array([[1.0, -2.0]]), np.array([[3.0, 4.0]])
    assert pair_features(u, v).tolist() == [[2.0, 6.0, 3.0, -8.0]]
    score = result.tasks["MRPC"]
    assert score.f1 is not None and score.f1.interval is not None


def test_f1_of_pairs_is_that_of_paraphrases(
    tasks: list[TransferTask], result: TransferResult
) -> None:
    mrpc, score = tasks[-1], result.tasks["MRPC"]
    gold = mrpc.labels[mrpc.splits["test"]]
    assert score.f1 is not None
    assert score.f1.value == pytest.approx(100 * f1_score(gold, score.predicted))


def test_seven_tasks_are_scored_from_one_embedding_of_each_text(
    tasks: list[TransferTask], result: TransferResult
) -> None:
    assert tuple(result.tasks) == SUITE
    tested = {"SST2": 24, "TREC": 30, "MRPC": 26}
    for task in tasks:
        score = result.tasks[task.name]
        assert score.n == tested.get(task.name, len(task))
        interval = score.accuracy.interval
        assert interval is not None and interval.low < score.accuracy.value < interval.high
    assert result.average == pytest.approx(
        np.mean([score.accuracy.value for score in result.tasks.values()])
    )
    assert result.tasks["MR"].accuracy.value > 60  # the words do tell


@pytest.mark.usefixtures("three_folds")
def test_texts_are_embedded_once_in_one_call(tasks: list[TransferTask]) -> None:
    model = BagOfWords()
    few = [task for task in tasks if task.splits]
    evaluate_transfer(model, few)
    assert len(model.calls) == 1
    texts = {t for task in few for t in [*task.sentence1, *(task.sentence2 or [])]}
    assert sorted(model.calls[0]) == sorted(texts)


@pytest.mark.usefixtures("three_folds")
def test_the_same_input_gives_the_same_bits_on_any_number_of_threads() -> None:
    from threadpoolctl import threadpool_limits

    x, y = cloud(300, seed=5)
    task = as_task(y, {})
    scores = [score_task(task, x)]
    for threads in (1, 3):
        with threadpool_limits(threads):
            scores.append(score_task(task, x))
    for other in scores[1:]:
        assert other.to_json() == scores[0].to_json()
        assert np.array_equal(other.predicted, scores[0].predicted)


def test_figures_are_json_and_a_table(result: TransferResult) -> None:
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert written["average_over"] == list(SUITE)
    mr = written["tasks"]["MR"]
    assert set(mr) == {
        "accuracy", "interval", "f1", "f1_interval", "n", "dev_accuracy", "strengths"
    }  # fmt: skip
    assert len(mr["strengths"]) == 3 and mr["f1"] is None
    protocol = written["protocol"]
    assert protocol["protocol"].startswith("SentEval")
    assert protocol["splits"]["SST2"] == ["train", "dev", "test"]
    assert (protocol["pooling"], protocol["max_length"]) == ("sum", 32)
    shown = task_result.markdown(result.figures())
    assert f"| Avg. | {result.average:.2f} |" in shown and "| MRPC F1 |" in shown
    assert "Avg. is over the seven tasks" in shown


class Fixed:
    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def encode(self, sentences: list[str]) -> Any:
        return self.make(len(sentences))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Fixed(lambda n: np.ones((n - 1, 4))), r"returned an array of shape \(\d+, 4\)"),
        (Fixed(lambda n: np.full((n, 4), np.inf)), r"embedding\(s\) are not finite"),
        (object(), "cannot be judged: it has no encode"),
    ],
)
def test_a_broken_model_is_named(tasks: list[TransferTask], model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_transfer(model, tasks[:1])


def test_unusable_tasks_are_named(tasks: list[TransferTask]) -> None:
    x, y = cloud(40)
    with pytest.raises(InputError, match="toy: every label is 1"):
        score_task(as_task(np.ones(40), {}), x)
    with pytest.raises(InputError, match="there are 39 embeddings and labels of shape"):
        score_task(as_task(y, {}), x[1:])
    with pytest.raises(InputError, match="toy is not finite: row 3"):
        broken = x.copy()
        broken[3, 0] = np.nan
        score_task(as_task(y, {}), broken)
    rare = np.array([1] * 9 + [0] * 31)
    with pytest.raises(InputError, match=r"smallest class has 9 example\(s\).*the 10 folds"):
        score_task(as_task(rare, {}), x)
    with pytest.raises(InputError, match="each once; given were none"):
        evaluate_transfer(BagOfWords(), [])
    twice = [tasks[0], replace(tasks[1], name="MR")]
    with pytest.raises(InputError, match="each once; given were MR, MR"):
        evaluate_transfer(BagOfWords(), twice)


def test_the_library_reads_the_tree_it_is_given(tmp_path: Path) -> None:
    build_transfer(tmp_path, {"TREC": MINI["TREC"]})
    (trec,) = load_transfer(tmp_path, ["trec"], counts=MINI)
    score = evaluate_transfer(BagOfWords(64), [trec]).tasks["TREC"]
    assert score.accuracy.value > 40  # one in six by chance


def test_texts_that_sentevals_folds_may_part_are_counted_and_said(
    three_folds: None, tasks: list[TransferTask]
) -> None:
    task = next(task for task in tasks if not task.splits)
    before = transfer._repeated(task)
    again = replace(task, sentence1=[task.sentence1[1].upper(), *task.sentence1[1:]])
    assert transfer._repeated(again) == before + 1
    found = evaluate_transfer(BagOfWords(), [again], name="bag")
    assert found.protocol["repeated_texts"] == {task.name: before + 1}
    assert f"SentEval's folds may part: {task.name} {before + 1}." in found.figures().summary
