"""The STS protocol on miniature data, against scipy and sentence-transformers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from mini_senteval import MINI, BagOfWords, build_tree, sentence, toy_task
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.suite import SUITE, PairTask, evaluate, load_stsb, load_tasks
from simcse_kit.geometry import alignment, uniformity


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tree(tmp_path_factory.mktemp("senteval"))


@pytest.fixture
def suite(tree: Path) -> list[PairTask]:
    return load_tasks(tree, counts=MINI)


def cosines_by_hand(model: BagOfWords, task: PairTask) -> np.ndarray:
    a, b = (model.encode(texts).astype(float) for texts in (task.sentence1, task.sentence2))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.array([float(x @ y) for x, y in zip(a, b, strict=True)]) / norms
    return cosines.round(10)  # two pairs of equal sentences are a tie: both have cosine 1


def test_scores_are_scipys_for_each_aggregation(suite: list[PairTask]) -> None:
    model = BagOfWords()
    results = {how: evaluate(model, suite, aggregation=how) for how in ("all", "mean", "wmean")}
    for task in suite:
        cosines = cosines_by_hand(model, task)
        whole = 100 * spearmanr(cosines, task.gold).statistic
        score = results["all"].tasks[task.name]
        assert score.spearman == pytest.approx(whole, abs=1e-4)
        assert score.pearson == pytest.approx(
            100 * pearsonr(cosines, task.gold).statistic, abs=1e-4
        )
        assert score.n == len(task)
        assert results["all"].cosines[task.name] == pytest.approx(cosines, abs=1e-6)
        if not task.subsets:
            assert results["mean"].tasks[task.name] == score
            continue
        parts = [100 * spearmanr(cosines[p], task.gold[p]).statistic for p in task.subsets.values()]
        assert [s.spearman for s in score.subsets.values()] == pytest.approx(parts, abs=1e-4)
        sizes = [p.stop - p.start for p in task.subsets.values()]
        mean, wmean = (results[how].tasks[task.name].spearman for how in ("mean", "wmean"))
        assert mean == pytest.approx(np.mean(parts), abs=1e-4)
        assert wmean == pytest.approx(np.dot(parts, sizes) / sum(sizes), abs=1e-4)


def test_all_is_not_the_mean_of_the_subsets() -> None:
    # Each subset is ranked perfectly, but one lives on high cosines with low gold scores.
    class Angles:
        def encode(self, sentences: list[str]) -> np.ndarray:
            angles = np.array([float(text) for text in sentences])
            return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    angles = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]
    gold = [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]
    subsets = {"far": slice(0, 3), "near": slice(3, 6)}
    task = PairTask(
        "STS12", ["0.0"] * 6, [str(a) for a in angles], np.array(gold), subsets, "test", "memory"
    )
    mean = evaluate(Angles(), [task], aggregation="mean").tasks["STS12"].spearman
    both = evaluate(Angles(), [task]).tasks["STS12"].spearman
    assert mean == pytest.approx(100.0)
    assert both == pytest.approx(100 * spearmanr(np.cos(angles), gold).statistic, abs=1e-6)
    assert both < 0


def test_ties_get_mean_ranks() -> None:
    task = toy_task([1.0, 1.0, 1.0, 4.0, 5.0])
    model = BagOfWords()
    expected = spearmanr(cosines_by_hand(model, task), task.gold).statistic
    assert evaluate(model, [task]).tasks["toy"].spearman == pytest.approx(100 * expected, abs=1e-4)


def test_pairs_of_equal_sentences_are_ties_whatever_the_rounding() -> None:
    rng = np.random.default_rng(5)
    first = [sentence(rng) for _ in range(200)]
    second = [*first[:150], *(sentence(rng) for _ in range(50))]
    task = PairTask("toy", first, second, rng.uniform(0, 5, 200), {}, "test", "memory")
    assert len(np.unique(evaluate(BagOfWords(384), [task]).cosines["toy"][:150])) == 1


def test_sentence_transformers_gives_the_same_score(
    tree: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    body = Transformer(str(tiny_encoder("bert")))
    model = SentenceTransformer(modules=[body, Pooling(32)], device="cpu")
    task = load_stsb(tree, "dev", counts=MINI)
    theirs = EmbeddingSimilarityEvaluator(task.sentence1, task.sentence2, list(task.gold))(model)
    ours = evaluate(model, [task], encode_kwargs={"show_progress_bar": False})
    score = ours.tasks["STSB-dev"]
    assert score.spearman == pytest.approx(100 * theirs["spearman_cosine"], abs=1e-3)
    assert score.pearson == pytest.approx(100 * theirs["pearson_cosine"], abs=1e-3)
    assert ours.model == "SentenceTransformer"
    assert ours.protocol["max_length"] == model.max_seq_length


def test_every_distinct_sentence_is_embedded_once_in_one_call(suite: list[PairTask]) -> None:
    model = BagOfWords()
    evaluate(model, suite)
    assert len(model.calls) == 1
    texts = {text for task in suite for text in task.sentence1 + task.sentence2}
    assert sorted(model.calls[0]) == sorted(texts)


def test_the_average_says_what_it_is_over(suite: list[PairTask], tree: Path) -> None:
    extra = load_tasks(tree, ["SICKR-MTEB"], counts=MINI)
    full = evaluate(BagOfWords(), [*suite, *extra])
    assert full.average_over == SUITE
    assert full.average == pytest.approx(np.mean([full.tasks[t].spearman for t in SUITE]))
    two = evaluate(BagOfWords(), [suite[0], suite[5]])
    assert two.average_over == ("STS12", "STSB")
    assert two.average == pytest.approx(
        (full.tasks["STS12"].spearman + full.tasks["STSB"].spearman) / 2
    )


def test_geometry_is_over_close_pairs_and_distinct_sentences(suite: list[PairTask]) -> None:
    model = BagOfWords()
    result = evaluate(model, suite, alignment_threshold=3.0)
    stsb = suite[5]
    close = stsb.gold > 3.0
    first = model.encode([t for t, c in zip(stsb.sentence1, close, strict=True) if c])
    second = model.encode([t for t, c in zip(stsb.sentence2, close, strict=True) if c])
    distinct = sorted(set(stsb.sentence1 + stsb.sentence2))
    geometry = result.geometry
    assert geometry is not None
    assert geometry.alignment == pytest.approx(alignment(first, second), abs=1e-5)
    assert geometry.uniformity == pytest.approx(uniformity(model.encode(distinct)), abs=1e-5)
    assert (geometry.task, geometry.split, geometry.threshold) == ("STSB", "test", 3.0)
    assert (geometry.pairs, geometry.sentences) == (close.sum(), len(distinct))


def test_the_threshold_of_alignment_is_strict() -> None:
    task = toy_task([0.0, 1.0, 4.0, 4.001, 5.0])
    geometry = evaluate(BagOfWords(), [task]).geometry
    assert geometry is not None
    assert geometry.pairs == 2


def test_geometry_on_a_task_of_ones_own_and_where_there_is_none(
    suite: list[PairTask], tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = BagOfWords()
    dev = load_stsb(tree, "dev", counts=MINI)
    elsewhere = evaluate(model, suite[:1], geometry=dev)
    assert elsewhere.geometry is not None
    assert (elsewhere.geometry.task, elsewhere.geometry.split) == ("STSB-dev", "dev")
    assert list(elsewhere.tasks) == ["STS12"]
    assert len(model.calls) == 1

    low = toy_task([0.0, 0.2, 0.5, 0.7, 0.75])
    with caplog.at_level(logging.WARNING):
        assert evaluate(model, [low]).geometry is None
    assert "geometry is not measured" in caplog.text
    with pytest.raises(InputError, match=r"above 0.8 \(the highest is 0.75\)"):
        evaluate(model, [low], geometry=low)


class Fixed:
    def __init__(self, make: Callable[[list[str]], Any]) -> None:
        self.make = make

    def encode(self, sentences: list[str], **_: Any) -> Any:
        return self.make(sentences)


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 4))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Fixed(lambda s: np.ones((len(s), 4))), "same cosine.*collapsed"),
        (Fixed(lambda s: np.ones((len(s), 4)) + 1e-5 * noise(len(s))), "same cosine.*collapsed"),
        (Fixed(lambda s: noise(len(s) - 1)), r"returned an array of shape \(9, 4\): \(10, D\)"),
        (Fixed(lambda s: noise(len(s))[0]), "one row a sentence"),
        (Fixed(lambda s: np.full((len(s), 4), np.nan)), r"10 embedding\(s\) are not finite"),
        (Fixed(lambda s: np.zeros((len(s), 4))), "all zero, the first that of 'man 0'"),
        (Fixed(lambda s: s), "no array of numbers"),
        (object(), r"has no encode\(list of str\)"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_has_no_score_is_said_and_never_a_nan(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(model, [toy_task()])


@pytest.mark.filterwarnings("error")
def test_degenerate_tasks_are_refused() -> None:
    model = BagOfWords()
    with pytest.raises(InputError, match="Every gold score of toy is 3"):
        evaluate(model, [toy_task([3.0] * 5)])
    with pytest.raises(InputError, match="2 pair"):
        evaluate(model, [toy_task([1.0, 2.0])])
    flat = toy_task(subsets={"a": slice(0, 3), "b": slice(3, 5)}, name="STS12")
    with pytest.raises(InputError, match="STS12 b has 2 pair"):
        evaluate(model, [flat])
    with pytest.raises(InputError, match="at least one"):
        evaluate(model, [])
    with pytest.raises(InputError, match="one name"):
        evaluate(model, [toy_task(), toy_task()])
    with pytest.raises(InputError, match="all, mean or wmean"):
        evaluate(model, [toy_task()], aggregation="median")  # type: ignore[arg-type]


def test_any_array_kind_and_any_rotation_scores_the_same(suite: list[PairTask]) -> None:
    import torch

    bag = BagOfWords()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))
    expected = evaluate(bag, suite)
    kinds: list[Callable[[list[str]], Any]] = [
        lambda s: torch.tensor(bag.encode(s), requires_grad=True),
        lambda s: [torch.tensor(row) for row in bag.encode(s)],
        lambda s: bag.encode(s).tolist(),
        lambda s: 3.0 * bag.encode(s).astype(np.float64) @ rotation,
    ]
    for kind in kinds:
        result = evaluate(Fixed(kind), suite)
        assert result.average == pytest.approx(expected.average, abs=0.05)
    half = evaluate(Fixed(lambda s: torch.tensor(bag.encode(s)).bfloat16()), suite)
    assert half.average == pytest.approx(expected.average, abs=1.5)


def test_random_embeddings_score_about_nothing() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    task = PairTask(
        "noise",
        [f"a{i}" for i in range(n)],
        [f"b{i}" for i in range(n)],
        rng.uniform(0, 5, n),
        {},
        "test",
        "memory",
    )
    score = evaluate(Fixed(lambda s: rng.normal(size=(len(s), 8))), [task]).tasks["noise"]
    assert abs(score.spearman) < 6  # three standard errors


def test_json_has_the_promised_shape(suite: list[PairTask], tree: Path) -> None:
    data = json.loads(json.dumps(evaluate(BagOfWords(), suite).to_json(), allow_nan=False))
    assert list(data) == ["model", "tasks", "average", "geometry", "protocol"]
    assert data["model"] == "bag-of-words"
    assert list(data["tasks"]) == list(SUITE)
    assert list(data["tasks"]["STS12"]) == ["spearman", "pearson", "n", "subsets"]
    assert data["tasks"]["STS12"]["subsets"]["MSRpar"]["n"] == MINI["STS12"]["MSRpar"]
    assert data["tasks"]["STSB"]["subsets"] == {}
    assert 1 < data["average"] <= 100
    assert list(data["geometry"])[:2] == ["alignment", "uniformity"]
    assert data["protocol"] == {
        "name": "senteval-all",
        "scale": "correlations x 100, from -100 to 100",
        "similarity": "cosine",
        "aggregation": "all",
        "average_over": list(SUITE),
        "splits": dict.fromkeys(SUITE, "test"),
        "sources": dict.fromkeys(SUITE, str(tree)),
        "text": "lower-cased",
        "precision": "fp32",
        "max_length": 32,
        "pooling": "sum",
    }
