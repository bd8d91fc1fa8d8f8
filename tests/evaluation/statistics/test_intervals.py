"""Intervals, tests and seeds: against scipy, against their definitions, and by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import spearmanr, t, ttest_ind

from eval.quality import interval_coverage
from mini_senteval import MINI, BagOfWords, build_tree
from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics.bootstrap import Bootstrap, Figure, PairScores, bootstrap
from simcse_kit.evaluation.statistics.intervals import (
    Interval,
    compare,
    compare_many,
    estimate,
    holm,
    percentile_interval,
)
from simcse_kit.evaluation.statistics.seeds import compare_recipes, summarise_seeds
from simcse_kit.evaluation.sts.intervals import intervals, resample
from simcse_kit.evaluation.sts.suite import SUITE, evaluate, load_tasks


def task(n: int = 80, models: int = 3, seed: int = 0, **more: object) -> PairScores:
    rng = np.random.default_rng(seed)
    gold = np.round(rng.uniform(0, 5, n), 1)
    noise = 0.5 + np.arange(models)[:, None]
    return PairScores(gold, gold + noise * rng.normal(size=(models, n)), **more)


@pytest.fixture(scope="module")
def resampled() -> Bootstrap:
    tasks = {"one": task(80, seed=1), "two": task(60, seed=2), "three": task(90, seed=3)}
    return bootstrap(tasks, draws=999)


def test_the_interval_is_that_of_scipy() -> None:
    data = task(120, models=1)
    ours = estimate(bootstrap({"task": data}, draws=4999).figure())
    theirs = scipy_bootstrap(
        (data.scores[0], data.gold),
        lambda x, y: spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=1999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert ours.value == pytest.approx(100 * spearmanr(data.scores[0], data.gold).statistic)
    assert ours.interval.low == pytest.approx(100 * theirs.low, abs=0.7)
    assert ours.interval.high == pytest.approx(100 * theirs.high, abs=0.7)


def test_twice_the_same_bits_and_another_seed_other_draws() -> None:
    tasks = {"one": task(), "two": task(40, seed=5)}
    first, second = (bootstrap(tasks, draws=99, seed=7) for _ in range(2))
    for name in tasks:
        np.testing.assert_array_equal(first.draws[name], second.draws[name])
    assert (bootstrap(tasks, draws=99, seed=8).draws["one"] != first.draws["one"]).any()
    alone = bootstrap({"two": tasks["two"]}, draws=99, seed=7)
    np.testing.assert_array_equal(alone.draws["two"], first.draws["two"])


def test_the_average_is_over_the_tasks_draw_by_draw(resampled: Bootstrap) -> None:
    figure = resampled.figure()
    np.testing.assert_allclose(figure.observed, np.mean(list(resampled.observed.values()), axis=0))
    np.testing.assert_allclose(figure.draws, np.mean(list(resampled.draws.values()), axis=0))
    two = resampled.figure(["one", "three"])
    assert two.observed[1] == (resampled.observed["one"][1] + resampled.observed["three"][1]) / 2


def test_a_comparison_is_its_definition(resampled: Bootstrap) -> None:
    figure = resampled.figure()
    found = compare(figure, 0, 1)
    differences = np.sort(figure.draws[:, 0] - figure.draws[:, 1])
    assert found.difference == pytest.approx(figure.observed[0] - figure.observed[1])
    assert found.interval == Interval(differences[24], differences[-25], 0.95)
    against = min((differences <= 0).sum(), (differences >= 0).sum())
    assert found.p_value == min(1.0, 2 * (against + 1) / 1000) == found.p_adjusted
    turned = compare(figure, 1, 0)
    assert turned.difference == pytest.approx(-found.difference)
    assert (turned.interval.low, turned.interval.high) == pytest.approx(
        (-found.interval.high, -found.interval.low)
    )
    assert compare(figure, 1, 1).p_value == 1.0


@pytest.mark.parametrize("draws", [99, 199, 1000])
def test_p_is_at_most_a_twentieth_where_the_interval_leaves_out_zero(draws: int) -> None:
    rng = np.random.default_rng(draws)
    for shift in np.linspace(1.5, 2.5, 40):
        figure = Figure(np.array([shift, 0.0]), np.zeros((draws, 2)))
        figure.draws[:, 0] = rng.normal(shift, 1.0, draws)
        found = compare(figure, 0, 1)
        assert (found.p_value <= 0.05) == (found.interval.low > 0)


def test_holm_against_the_formula_and_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(InputError, match="from 0 to 1"):
        holm([0.2, float("nan")])


def test_many_comparisons_are_corrected_together(resampled: Bootstrap) -> None:
    figure = resampled.figure(["one"])
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = compare_many(figure, pairs)
    alone = [compare(figure, *pair) for pair in pairs]
    assert [one.p_value for one in found] == [one.p_value for one in alone]
    assert [one.p_adjusted for one in found] == holm([one.p_value for one in alone])
    assert [one.interval for one in found] == [one.interval for one in alone]


def test_parts_are_resampled_apart_and_averaged() -> None:
    whole = task(90, models=2)
    cut = slice(0, 30), slice(30, 90)
    data = PairScores(whole.gold, whole.scores, parts=((cut[0], 30), (cut[1], 60)))
    figure = bootstrap({"task": data}, draws=199).figure()
    expected = [
        [100 * spearmanr(row[part], whole.gold[part]).statistic for part in cut]
        for row in whole.scores
    ]
    assert figure.observed == pytest.approx(np.average(expected, axis=1, weights=[1, 2]))
    each = [PairScores(whole.gold[part], whole.scores[:, part]) for part in cut]
    spread = [bootstrap({"x": part}, draws=999).figure().draws[:, 0].var() for part in each]
    expected_variance = spread[0] / 9 + spread[1] * 4 / 9
    assert figure.draws[:, 0].var() == pytest.approx(expected_variance, rel=0.4)


def test_pairs_that_share_nothing_are_independent() -> None:
    data = task(100, sentences=np.arange(200).reshape(100, 2))
    resampled = bootstrap({"task": data}, draws=399)
    plain, clustered = resampled.figure(), resampled.figure(clustered=True)
    for model in range(3):
        wide, narrow = (estimate(f, model).interval for f in (clustered, plain))
        assert (wide.low, wide.high) == pytest.approx((narrow.low, narrow.high))
    assert compare(clustered, 0, 1).p_value == compare(plain, 0, 1).p_value


def test_every_pair_twice_is_half_as_many_pairs() -> None:
    # Doubled pairs double nothing: clustered, the interval is that of the single ones.
    single = task(150, models=2, sentences=np.arange(300).reshape(150, 2))
    assert single.sentences is not None
    twice = PairScores(
        np.tile(single.gold, 2),
        np.tile(single.scores, 2),
        np.concatenate([single.sentences, single.sentences[:, ::-1]]),
    )
    draws = 1999
    expected = estimate(bootstrap({"task": single}, draws=draws).figure()).interval
    resampled = bootstrap({"task": twice}, draws=draws)
    found = estimate(resampled.figure(clustered=True)).interval
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.08)
    naive = estimate(resampled.figure(clustered=False)).interval
    assert naive.high - naive.low == pytest.approx(
        (expected.high - expected.low) / 2**0.5, rel=0.08
    )
    both = bootstrap({"a": single, "b": single}, draws=draws).figure(clustered=True)
    across = estimate(both).interval  # the same pairs in two tasks are no second evidence either
    assert across.high - across.low == pytest.approx(expected.high - expected.low, rel=0.08)


def test_seeds_alone_are_students_and_welchs() -> None:
    scores = np.array([74.8, 75.3, 76.0, 73.9, 74.4, 74.1, 73.2])
    figure = Figure(scores, np.empty((0, 7)))
    summary = summarise_seeds(figure, [0, 1, 2])
    assert (summary.mean, summary.sd) == pytest.approx((scores[:3].mean(), scores[:3].std(ddof=1)))
    half = t.ppf(0.975, 2) * summary.sd / 3**0.5
    assert summary.interval.low == pytest.approx(summary.mean - half)
    assert summary.seeds == 3 and summarise_seeds(figure).seeds == 7
    found = compare_recipes(figure, [0, 1, 2], [3, 4, 5, 6])
    theirs = ttest_ind(scores[:3], scores[3:], equal_var=False)
    assert found.p_value == pytest.approx(theirs.pvalue)
    low, high = theirs.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


def test_what_pairs_do_to_all_seeds_alike_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    scores = np.array([70.0, 70.4, 69.8, 72.0, 72.5, 72.2])
    own = 0.2 * rng.normal(size=(20_000, 6))
    common = 0.8 * rng.normal(size=(20_000, 1))
    recipe = np.repeat(0.6 * rng.normal(size=(20_000, 2)), 3, axis=1)
    with_draws = Figure(scores, scores + own + common + recipe)
    alone = Figure(scores, np.empty((0, 6)))
    variance = scores[:3].var(ddof=1) / 3 + 0.8**2 + 0.6**2
    freedom = variance**2 / ((scores[:3].var(ddof=1) / 3) ** 2 / 2)
    summary = summarise_seeds(with_draws, [0, 1, 2]).interval
    expected = 2 * t.ppf(0.975, freedom) * variance**0.5
    assert summary.high - summary.low == pytest.approx(expected, rel=0.02)
    # Common to both recipes, the pairs' effect drops out of the difference; of one alone, it stays.
    found = compare_recipes(with_draws, [3, 4, 5], [0, 1, 2])
    training = sum(scores[rows].var(ddof=1) / 3 for rows in (slice(3), slice(3, 6)))
    assert found.difference == pytest.approx(scores[3:].mean() - scores[:3].mean())
    half = (found.interval.high - found.interval.low) / 2
    assert half == pytest.approx(1.96 * (training + 2 * 0.6**2) ** 0.5, rel=0.05)
    assert found.p_value > compare_recipes(alone, [3, 4, 5], [0, 1, 2]).p_value


def test_seeds_that_agree_to_the_bit() -> None:
    figure = Figure(np.array([70.0, 70.0, 71.0, 71.0]), np.empty((0, 4)))
    assert summarise_seeds(figure, [0, 1]).interval == Interval(70.0, 70.0, 0.95)
    assert compare_recipes(figure, [0, 1], [2, 3]).p_value == 0.0


GOLD = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
SCORES = np.array([0.1, 0.3, 0.2, 0.5, 0.4])


@pytest.mark.parametrize(
    ("gold", "scores", "message"),
    [
        (GOLD[:2], SCORES[:2], "There are 2 pairs: a correlation needs from 3"),
        (GOLD, SCORES[:4], r"shape \(1, 4\) do not match gold scores of shape \(5,\)"),
        (GOLD * 0, SCORES, "All 5 gold scores are 0: constant"),
        (GOLD, SCORES * 0 + 0.5, "Model 1 gives all 5 pairs the same score, 0.5"),
        (GOLD, np.stack([SCORES, SCORES * 0]), "Model 2 gives"),
        (GOLD, SCORES * np.nan, "5 of the scores are NaN"),
        (np.append(GOLD[:4], np.inf), SCORES, "1 of the gold scores are NaN or infinite"),
        (GOLD, ["a"] * 5, "no array of numbers"),
        (GOLD, np.empty((0, 5)), "do not match"),
    ],
)
def test_what_has_no_correlation_is_refused(
    gold: np.ndarray, scores: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        PairScores(gold, scores)


def test_requests_that_cannot_be_met_are_refused(resampled: Bootstrap) -> None:
    star = np.stack([np.zeros(80, dtype=int), np.arange(1, 81)], axis=1)
    with pytest.raises(InputError, match="each pair needs the numbers of its two"):
        task(80, sentences=star[:5])
    with pytest.raises(InputError, match="weights"):
        task(parts=())
    with pytest.raises(InputError, match="at least one"):
        bootstrap({})
    with pytest.raises(InputError, match="different numbers of models"):
        bootstrap({"one": task(models=1), "two": task(models=2)})
    with pytest.raises(InputError, match="0 draws"):
        bootstrap({"one": task()}, draws=0)
    with pytest.raises(InputError, match="four was not resampled: name some of one, two"):
        resampled.figure(["four"])
    with pytest.raises(InputError, match="one does not say which sentences"):
        resampled.figure(clustered=True)
    with pytest.raises(InputError, match="in 80 of 80 pairs"):
        bootstrap({"hub": task(80, sentences=star)}, draws=99).figure(clustered=True)
    figure = resampled.figure()
    with pytest.raises(InputError, match="no model 3: the figure has rows 0 to 2"):
        compare(figure, 0, 3)
    with pytest.raises(InputError, match="no model -1"):
        summarise_seeds(figure, [0, -1])
    for rows in ([0], [1, 1], []):
        with pytest.raises(InputError, match="too few or repeated"):
            summarise_seeds(figure, rows)
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(InputError, match="between 0 and 1"):
            percentile_interval(figure.draws[:, 0], level)
        with pytest.raises(InputError, match="between 0 and 1"):
            summarise_seeds(figure, level=level)
    with pytest.raises(InputError, match="more than 38 draws"):
        percentile_interval(figure.draws[:38, 0])
    assert percentile_interval(figure.draws[:39, 0]).low == figure.draws[:39, 0].min()


def test_constant_resamples_are_left_out_and_too_many_are_refused() -> None:
    rare = bootstrap({"task": PairScores(GOLD[:3], SCORES[:3])}, draws=999)
    kept = rare.figure().draws
    assert 800 < len(kept) < 999 and np.isfinite(kept).all()
    gold = np.zeros(50)
    gold[0] = 1.0  # missing in more than a third of the resamples of each task
    data = PairScores(gold, np.arange(50.0))
    assert 550 < len(bootstrap({"task": data}, draws=999).figure().draws) < 700
    with pytest.raises(InputError, match="too few different scores"):
        bootstrap({"a": data, "b": data}, draws=999).figure()


@pytest.mark.parametrize("aggregation", ["all", "mean", "wmean"])
def test_intervals_of_sts_results(tmp_path: Path, aggregation: str) -> None:
    counts = {name: dict.fromkeys(parts, 25) for name, parts in MINI.items()}
    tasks = load_tasks(build_tree(tmp_path, counts), counts=counts)
    results = [evaluate(BagOfWords(size), tasks, aggregation=aggregation) for size in (4, 64)]
    resampled = resample(results, tasks, draws=199)
    for row, result in enumerate(results):
        for name, score in result.tasks.items():
            assert resampled.observed[name][row] == pytest.approx(score.spearman)
        assert resampled.figure(SUITE).observed[row] == pytest.approx(result.average)
        found = intervals(result, tasks, draws=199)
        assert found.average_over == SUITE
        assert found.average.low < result.average < found.average.high
        for name, score in result.tasks.items():
            assert found.tasks[name].low < score.spearman < found.tasks[name].high
        clustered = intervals(result, tasks, draws=199, clustered=True).average
        assert clustered.high - clustered.low >= found.average.high - found.average.low - 1e-9
    with pytest.raises(InputError, match="give the tasks that were evaluated"):
        resample(results[:1], [*tasks, *load_tasks(tmp_path, ["STSB-dev"], counts=counts)])
    with pytest.raises(InputError, match="one aggregation"):
        resample([], tasks)


def test_the_simulations_truth_is_that_of_a_large_sample() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=400_000)
    scores = 0.75 * y + (1 - 0.75**2) ** 0.5 * rng.normal(size=len(y))
    gold = np.round(25 * interval_coverage.ndtr(y)) / 5
    expected = 100 * spearmanr(scores, gold).statistic
    assert interval_coverage.true_spearman(0.75) == pytest.approx(expected, abs=0.2)


def test_coverage_and_false_positives_in_brief() -> None:
    # The standard error of 95 % over 200 simulations is 1.5 points.
    assert interval_coverage.coverage(0.75, 60, 200, 199)["covered"] == pytest.approx(95, abs=4.5)
    rates = interval_coverage.false_positives(0.75, 0.5, (120, 80), 200, 199)
    assert rates["significant"] <= 9.5
    shared = interval_coverage.shared_coverage(0.75, 30, 10, 200, 199)
    assert shared["pairs independent"] < 88 < shared["clustered"]
    shared = interval_coverage.shared_false_positives(50, 8, 200, 199)
    assert shared["significant"] <= 9 and shared["pairs independent"] >= 15
    rates = interval_coverage.recipes(3, 0.02, (0.9, 0.05, 0.05), 60, 99)
    assert rates["significant"] <= 15 < rates["pairs alone"]


@pytest.mark.slow
def test_coverage_and_false_positives() -> None:
    rates = [interval_coverage.coverage(rho, 200, 1000, 999) for rho in (0.3, 0.75, 0.9)]
    rates.append(interval_coverage.shared_coverage(0.75, 100, 10, 1000, 499))
    rates.append(interval_coverage.false_positives(0.75, 0.5, (200,), 1000, 999))
    assert [one for one in rates if not interval_coverage.holds(one)] == []


def test_no_interval_of_pairs_that_share_sentences_passes_100() -> None:
    """Widened plainly, that of few pairs of one sentence ran from −366 to 189."""
    rng = np.random.default_rng(0)
    gold = np.arange(12.0)
    scores = np.stack([gold + rng.normal(size=12), gold + 3 * rng.normal(size=12)])
    star = np.stack([np.zeros(12, dtype=int), np.arange(1, 13)], axis=1)
    figure = bootstrap({"task": PairScores(gold, scores, star)}, draws=999).figure()
    assert figure.clustered
    for model in (0, 1):
        found = estimate(figure, model)
        assert -100 <= found.interval.low < found.value < found.interval.high <= 100
        assert found.interval.high - found.interval.low > 20
    difference = compare(figure, 1, 0)
    assert -200 <= difference.interval.low <= difference.interval.high <= 200
    seeds = Figure(np.array([99.0, 70.0]), np.empty((0, 2)))
    assert summarise_seeds(seeds).interval.high == 100
    recipes = Figure(np.array([99.0, -60.0, 10.0, -95.0]), np.empty((0, 4)))
    found = compare_recipes(recipes, [0, 1], [2, 3]).interval
    assert (found.low, found.high) == (-200, 200)  # no two Spearmans are further apart
