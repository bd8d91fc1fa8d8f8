"""Do the intervals that commands print hold the truth? Of every kind, small sets and bounds too.

    python -m eval.quality.printed_intervals [--simulations 1000] [--draws 399] [--json FILE]

Test sets of 20, 100 and 1,000 items are drawn anew from models in which the true figure is known.
What is printed by which command: shares (accuracy, recall@k), means between 0 and 100 (MRR, nDCG),
F1 of a class and macro-F1, average precision, F1, precision and recall of pairs called by a
threshold (the truth is that of the very thresholds), few-shot accuracy, Spearman, and differences
of two models, which are tested too. `interval_coverage` has the suite, clusters and recipes,
`false_positives` every test, `tests/geometry/test_intervals.py` the figures of a space.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from eval.provenance import write
from eval.quality.interval_coverage import coverage as spearman_coverage
from eval.quality.interval_coverage import false_positives, simulated, simulation_options
from simcse_kit.evaluation.labels.classes import accuracy, f1
from simcse_kit.evaluation.labels.few_shot import mean_accuracy
from simcse_kit.evaluation.search.duplicates import crossed_thresholds, figures_of_pairs
from simcse_kit.evaluation.statistics import (
    Interval,
    compare,
    mean_estimates,
    resample_together,
)
from simcse_kit.evaluation.task_result import means

SIZES = (20, 100, 1000)
Rates = dict[str, float]
#: What a simulated test set gives: the true figure ×100 and the interval.
Drawn = tuple[float, Interval]


def held(found: Iterator[Drawn]) -> Rates:
    """How often intervals hold the truth, lie to a side of it, and how wide they are."""
    pairs = list(found)
    truth = np.array([one for one, _ in pairs])
    low = np.array([interval.low for _, interval in pairs]) - 1e-9
    high = np.array([interval.high for _, interval in pairs]) + 1e-9
    return {
        "covered": float(100 * np.mean((low <= truth) & (truth <= high))),
        "all above it": float(100 * np.mean(low > truth)),
        "all below it": float(100 * np.mean(high < truth)),
        "mean width": float(np.mean(high - low)),
    }


def shares(p: float, n: int, simulations: int) -> Iterator[Drawn]:
    """Accuracy of a classifier that is right with probability p."""
    for number in range(simulations):
        right = np.random.default_rng([n, round(1e4 * p), number]).random(n) < p
        interval = accuracy(np.ones(n), right.astype(float)).interval
        assert interval is not None
        yield 100 * p, interval


def of_classes(
    right: float, classes: int, n: int, simulations: int, of_class: int | None = None
) -> Iterator[Drawn]:
    """F1 of balanced classes predicted right with this probability, else as any other, alike."""
    # TP, labelled and predicted have the shares right/K, 1/K, 1/K of all, in every class.
    for number in range(simulations):
        rng = np.random.default_rng([n, classes, round(1e4 * right), number])
        labels = rng.integers(0, classes, n)
        wrong = (labels + rng.integers(1, classes, n)) % classes
        figure = f1(labels, np.where(rng.random(n) < right, labels, wrong), of_class=of_class)
        assert figure.interval is not None
        yield 100 * right, figure.interval


def of_pairs(
    apart: float, positive: float, n: int, simulations: int
) -> dict[str, Callable[[], Rates]]:
    """Each figure of duplicates whose cosines are normal and `apart` standard deviations higher."""
    average_precision = 100 * _true_ap(apart, positive)

    def drawn(figure: str) -> Iterator[Drawn]:
        for number in range(simulations):
            rng = np.random.default_rng([n, round(1e3 * apart), round(1e3 * positive), number])
            labels = (rng.random(n) < positive).astype(float)
            cosines = rng.normal(apart * labels)
            if min(labels.sum(), n - labels.sum()) < 2:
                continue  # there is nothing to call by
            sentences = np.arange(2 * n).reshape(n, 2)
            found = figures_of_pairs(cosines, labels, sentences, seed=number)[figure]
            assert found.interval is not None
            thresholds = crossed_thresholds(cosines, labels, number)
            assert thresholds is not None
            truth = _called(thresholds, apart, positive) | {"ap": average_precision}
            yield truth[figure], found.interval

    figures = ("ap", "f1", "precision", "recall", "accuracy")
    return {figure: partial(_held_of, drawn, figure) for figure in figures}


def _held_of(drawn: Callable[[str], Iterator[Drawn]], figure: str) -> Rates:
    return held(drawn(figure))


def _true_ap(apart: float, positive: float) -> float:
    """The mean over duplicates of the precision at their cosine."""
    at = apart + ndtri((np.arange(20_000) + 0.5) / 20_000)
    above = positive * ndtr(apart - at), (1 - positive) * ndtr(-at)
    return float(np.mean(above[0] / (above[0] + above[1])))


def _called(thresholds: np.ndarray, apart: float, positive: float) -> Rates:
    """True figures ×100 of pairs called at these thresholds (2, N), for F1 and for accuracy."""
    found, other = (positive * ndtr(apart - thresholds), (1 - positive) * ndtr(-thresholds))
    right, wrong = found.mean(axis=1), other.mean(axis=1)
    called = max(1e-12, right[0] + wrong[0])
    return {
        "f1": 200 * right[0] / (called + positive),
        "precision": 100 * right[0] / called,
        "recall": 100 * right[0] / positive,
        "accuracy": 100 * (right[1] + (1 - positive) - wrong[1]),
    }


def _reciprocal_ranks(rng: np.random.Generator, n: int, found: float) -> np.ndarray:
    """MRR@10 of queries whose document has a geometric rank, `found` of them the first."""
    ranks = rng.geometric(found, n)
    return np.where(ranks <= 10, 100 / ranks, 0.0)


def of_queries(found: float, n: int, simulations: int, draws: int) -> Iterator[Drawn]:
    """The mean reciprocal rank of n queries."""
    ranks = np.arange(1, 11)
    truth = 100 * float((found * (1 - found) ** (ranks - 1) / ranks).sum())
    for number in range(simulations):
        values = _reciprocal_ranks(np.random.default_rng([n, number]), n, found)
        estimates = mean_estimates({"mrr": values}, draws=draws, seed=number, bounded=True)
        yield truth, estimates["mrr"].interval


def recall(p: float, n: int, simulations: int, draws: int) -> Iterator[Drawn]:
    """The share of n queries that are answered."""
    for number in range(simulations):
        rng = np.random.default_rng([n, round(1e4 * p), number, 1])
        values = 100.0 * (rng.random(n) < p)
        estimates = mean_estimates({"recall": values}, draws=draws, seed=number, bounded=True)
        yield 100 * p, estimates["recall"].interval


def few_shot(p: float, episodes: int, simulations: int, queries: int = 75) -> Iterator[Drawn]:
    """Mean accuracy over episodes, some of which are harder than others."""
    for number in range(simulations):
        rng = np.random.default_rng([episodes, round(1e4 * p), number])
        ease = rng.beta(20 * p, 20 * (1 - p), episodes)
        figure = mean_accuracy(100 * rng.binomial(queries, ease) / queries, queries=queries)
        assert figure.interval is not None
        yield 100 * p, figure.interval


def two_models(p: float, common: float, n: int, simulations: int, draws: int) -> Rates:
    """The difference in recall of two equally good models: coverage of 0, and how often p ≤ 0.05.

    `common` is the share of queries on which they do alike.
    """
    covered = significant = 0
    for number in range(simulations):
        rng = np.random.default_rng([n, round(1e4 * p), round(1e3 * common), number])
        one, other = rng.random((2, n)) < p
        other = np.where(rng.random(n) < common, one, other)
        items = [means({"recall": 100.0 * values}) for values in (one, other)]
        figure = resample_together([each.figures for each in items], n, draws=draws, seed=number)
        found = compare(figure["recall"], 1, 0)
        covered += found.interval.low <= 0 <= found.interval.high
        significant += found.p_value <= 0.05
    rates = {"zero in it": covered, "significant": significant}
    return {name: 100 * count / simulations for name, count in rates.items()}


def cases(simulations: int, draws: int) -> dict[str, Callable[[], Rates]]:
    """What is simulated, by name."""
    found: dict[str, Callable[[], Rates]] = {}

    def add(name: str, make: Callable[[], Iterator[Drawn]]) -> None:
        found[name] = lambda: held(make())

    for n in SIZES:
        for p in (0.5, 0.9, 0.99):
            add(f"accuracy {p}, {n} examples", partial(shares, p, n, simulations))
            add(f"recall {p}, {n} queries", partial(recall, p, n, simulations, draws))
        for top in (0.3, 0.9):
            add(f"MRR, {top} first, {n} queries", partial(of_queries, top, n, simulations, draws))
        for right in (0.7, 0.95):
            for classes in sorted({2, 5, n // 10}):  # many classes of few examples, too
                name = f"macro-F1 {right} of {classes} classes, {n} examples"
                add(name, partial(of_classes, right, classes, n, simulations))
            add(f"F1 {right}, {n} examples", partial(of_classes, right, 2, n, simulations, 1))
        for apart, positive in ((1.0, 0.4), (3.0, 0.4), (2.0, 0.1)):
            for figure, rates in of_pairs(apart, positive, n, simulations).items():
                found[f"{figure} of {n} pairs, {positive} duplicates, {apart} sd apart"] = rates
        for rho in (0.3, 0.75, 0.95):
            name = f"Spearman, rho {rho}, {n} pairs"
            found[name] = partial(spearman_coverage, rho, n, simulations, draws)
        for p in (0.5, 0.95):
            name = f"two models, recall {p}, {n} queries"
            found[name] = partial(two_models, p, 0.7, n, simulations, draws)
        name = f"two models, Spearman, rho 0.75, {n} pairs"
        found[name] = partial(false_positives, 0.75, 0.7, (n,), simulations, draws)
    for episodes in (3, 20, 600):
        for p in (0.6, 0.97):
            add(f"few-shot {p}, {episodes} episodes", partial(few_shot, p, episodes, simulations))
    return found


def shown_by_size(by_size: Mapping[int, Sequence[float]]) -> str:
    """Median, least and most of some rates in %, by the number of items that they are of."""
    return "; ".join(
        f"{np.median(rates):.1f} % ({min(rates):.1f} to {max(rates):.1f}) at {n:,} items"
        for n, rates in by_size.items()
    )


def claim(found: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    by_size: dict[int, list[float]] = {n: [] for n in SIZES}
    for name, rates in found["rates"].items():
        for n in SIZES:
            if "covered" in rates and f" {n} " in name:
                by_size[n].append(rates["covered"])
    covered = shown_by_size(by_size)
    most = max(rates["significant"] for rates in found["rates"].values() if "significant" in rates)
    return (
        f"Over {found['simulations']:,} simulated test sets a case, 95 % intervals of every kind of"
        f" figure that commands print covered the truth in {covered}; tests of two equal models"
        f" found a difference in {most:.1f} % at most."
    )


def main() -> int:
    """Simulate every case, print and write the rates."""
    options = simulation_options(__doc__, simulations=1000, draws=399)
    figures = simulated(cases(options.simulations, options.draws))
    if options.json:
        settings = {"simulations": options.simulations, "draws": options.draws}
        found = settings | {"rates": figures}
        write(options.json, found, claim(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
