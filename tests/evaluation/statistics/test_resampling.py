"""Spearman of resamples against scipy on the resampled pairs; influence against leaving one out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import spearmanr

from simcse_kit.evaluation.statistics import resampling
from simcse_kit.evaluation.statistics.influence import influence
from simcse_kit.evaluation.statistics.resampling import (
    counted_spearman,
    resampled_spearman,
    spearman,
)
from simcse_kit.evaluation.statistics.sharing import centring, shared_covariance, sharing_covariance


def scored(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three models without, with some and with many ties (3, N), and gold in five steps (N,)."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 5, n).astype(float)
    some = gold + rng.normal(size=n)
    some[: n // 4] = 1.0
    return np.stack([gold + rng.normal(size=n), some, np.round(rng.normal(size=n))]), gold


def by_scipy(scores: np.ndarray, gold: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant input
        return float(100 * spearmanr(scores, gold).statistic)


@pytest.mark.parametrize("n", [3, 5, 40, 101])
def test_counts_give_scipys_spearman_of_the_repeated_pairs(n: int) -> None:
    scores, gold = scored(n)
    counts = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), size=40)
    counts[0] = 1
    counts[1, : n // 2] = 0  # any number of pairs may be drawn
    expected = [
        [by_scipy(np.repeat(row, count), np.repeat(gold, count)) for row in scores]
        for count in counts
    ]
    # Equal to the last bits, and NaN (constant) at the same places.
    np.testing.assert_allclose(counted_spearman(counts, scores, gold), expected, atol=1e-11)


@pytest.mark.parametrize("gold_kind", ["steps", "continuous", "in order"])
def test_resamples_are_those_of_the_generator(
    gold_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "_BLOCK", 150)  # several blocks, the last one smaller
    n, draws = 40, 20
    scores, gold = scored(n)
    if gold_kind != "steps":
        gold = np.random.default_rng(2).normal(size=n)
    if gold_kind == "in order":
        gold = np.sort(gold)
    by_gold = np.argsort(gold, kind="stable")
    rng = np.random.default_rng(3)
    rows = [rng.integers(0, n, size=(min(3, draws - d), n)) for d in range(0, draws, 3)]
    drawn = by_gold[np.concatenate(rows)]
    expected = [[by_scipy(row[pairs], gold[pairs]) for row in scores] for pairs in drawn]
    found = resampled_spearman(scores, gold, draws, np.random.default_rng(3))
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_a_model_alone_has_the_draws_it_has_among_others() -> None:
    scores, gold = scored(60)
    together = resampled_spearman(scores, gold, 50, np.random.default_rng(0))
    for row in range(3):
        alone = resampled_spearman(scores[row : row + 1], gold, 50, np.random.default_rng(0))
        np.testing.assert_array_equal(alone[:, 0], together[:, row])


def test_large_sets_do_not_overflow() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=1_000_000)
    scores = gold + 0.1 * rng.normal(size=len(gold))
    assert spearman(scores[None], gold)[0] == pytest.approx(by_scipy(scores, gold), abs=1e-9)
    assert spearman(gold[None], gold)[0] == pytest.approx(100.0, abs=1e-9)


def test_influence_is_what_leaving_a_pair_out_shows() -> None:
    scores, gold = scored(300, seed=4)
    found = influence(scores, gold)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-10)
    everything = spearman(scores, gold)
    for pair in range(0, 300, 7):
        left = spearman(np.delete(scores, pair, axis=1), np.delete(gold, pair))
        np.testing.assert_allclose(found[:, pair], 299 * (everything - left), atol=1.0)


def test_influence_is_the_derivative_by_the_weight() -> None:
    # A whole number of copies of every pair is the same set; one more is a step of the weight.
    scores, gold = scored(30, seed=5)
    copies = 100_000 // 30
    counts = np.full((30, 30), copies) + np.eye(30, dtype=np.int64)
    slope = (counted_spearman(counts, scores, gold) - spearman(scores, gold)).T * 30 * copies
    np.testing.assert_allclose(influence(scores, gold), slope, atol=0.05)


def test_pairs_that_share_a_sentence_count_together_once() -> None:
    rng = np.random.default_rng(0)
    shares = rng.normal(size=(2, 60))
    sentences = rng.integers(0, 25, size=(60, 2))
    sentences[:4] = [[1, 2], [2, 1], [1, 2], [3, 3]]  # repeated, turned round, one sentence twice
    expected = np.zeros((2, 2))
    for i in range(60):
        for j in range(60):
            if set(sentences[i]) & set(sentences[j]):
                expected += np.outer(shares[:, i], shares[:, j])
    np.testing.assert_allclose(sharing_covariance(shares, sentences), expected)


def test_without_shared_sentences_the_covariance_is_that_of_independent_pairs() -> None:
    shares = np.random.default_rng(0).normal(size=(3, 50))
    found = sharing_covariance(shares, np.arange(100).reshape(50, 2))
    np.testing.assert_allclose(found, shares @ shares.T)


def random_pairs(rng: np.random.Generator, pairs: int, sentences: int) -> np.ndarray:
    found = rng.integers(0, sentences, size=(pairs, 2))
    found[:4] = [[1, 2], [2, 1], [1, 2], [3, 3]]  # repeated, turned round, one sentence twice
    return found


@pytest.mark.parametrize(("pairs", "sentences"), [(30, 40), (60, 25), (90, 30)])
def test_what_centring_leaves_is_the_trace_of_the_definition(pairs: int, sentences: int) -> None:
    numbers = random_pairs(np.random.default_rng(pairs), pairs, sentences)
    of = np.zeros((pairs, sentences))
    for row, both in enumerate(numbers):
        of[row, both] = 1
    shared = (of @ of.T > 0).astype(float)
    centre = np.eye(pairs) - 1 / pairs
    expected = np.trace(of.T @ centre @ shared @ centre @ of) / (of.sum(axis=0) ** 2).sum()
    assert 0 < expected < 1
    assert centring(numbers + 7) == pytest.approx(expected)


def test_the_covariance_of_pairs_that_share_is_unbiased_for_a_mean() -> None:
    """Pairs whose errors are their two sentences': the mean's variance, on average over draws."""
    rng = np.random.default_rng(0)
    hub = np.stack([np.where(np.arange(80) < 20, 0, np.arange(80)), np.arange(80, 160)], axis=1)
    for numbers in (random_pairs(rng, 90, 30), hub):
        effects = rng.normal(size=(1_500, 160))
        errors = effects[:, numbers].sum(axis=2)
        shares = (errors - errors.mean(axis=1, keepdims=True)) / len(numbers)
        raw = np.mean([sharing_covariance(one[None], numbers)[0, 0] for one in shares])
        truth = errors.mean(axis=1).var()
        assert raw < 0.92 * truth
        assert raw / centring(numbers) == pytest.approx(truth, rel=0.1)
        one = shares[:1]
        assert shared_covariance(one, numbers, "x") > sharing_covariance(one, numbers) / centring(
            numbers
        )
