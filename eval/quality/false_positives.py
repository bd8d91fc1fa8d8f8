"""Do tests find differences where there are none? Every p-value that commands print, by simulation.

    python -m eval.quality.false_positives [--simulations 1000] [--draws 199] [--json FILE]

Models that are equally good and make part of their errors in common are compared over 20, 100 and
1,000 items drawn anew, by the functions that `compare`, `task` and `report` call: paired bootstraps
over pairs, those that share a sentence taken together or none shared, over queries, examples,
episodes and pairs called by a threshold; several models by Holm; recipes of several seeds. A test
at 5 % errs in 5 of 100. Clustering (V-measure, AMI, ARI) and transfer tasks print no test.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from eval.provenance import write
from eval.quality.interval_coverage import (
    Rates,
    false_positives,
    recipes,
    shared_false_positives,
    simulated,
    simulation_options,
)
from eval.quality.printed_intervals import SIZES, shown_by_size
from simcse_kit.evaluation.labels.classification import labelled_items
from simcse_kit.evaluation.search.duplicates import pair_items
from simcse_kit.evaluation.task_comparison import compare_tasks
from simcse_kit.evaluation.task_result import Items, TaskResult, means

#: Rates of tests that are not printed, but for what they would do.
BESIDE = ("uncorrected", "pairs independent", "f1")
#: The share of two models' errors that both make.
COMMON = 0.7
#: What a simulated test set gives: two models' items.
Drawn = tuple[Items, Items]


def told(found: Iterator[Drawn], draws: int) -> Rates:
    """How often each figure of two models is told apart by `compare_tasks`."""
    times: Counter[str] = Counter()
    sets: Counter[str] = Counter()
    for number, items in enumerate(found):
        results = {
            name: TaskResult(name, "task", {}, {}, "", each)
            for name, each in zip("ab", items, strict=True)
        }
        compared = compare_tasks(results, draws=draws, seed=number)
        assert compared is not None
        for figure, one in compared.differences[0].figures.items():
            sets[figure] += 1
            times[figure] += abs(one.told)
    return {figure: 100 * times[figure] / sets[figure] for figure in sets}


def two_models(rng: np.random.Generator, n: int) -> np.ndarray:
    """What two models make of n items: unit normals (2, N) that have `COMMON` in common."""
    common, own = rng.normal(size=(1, n)), rng.normal(size=(2, n))
    return np.asarray(COMMON**0.5 * common + (1 - COMMON) ** 0.5 * own)


def retrieval(first: float, n: int, simulations: int) -> Iterator[Drawn]:
    """Queries whose document is the first with this probability, and seldom far behind."""
    for number in range(simulations):
        rng = np.random.default_rng([n, round(1e4 * first), number])
        ranks = np.ceil(np.exp(1.5 * (two_models(rng, n) - ndtri(first)))).clip(min=1)
        one, other = (
            means(
                {
                    "recall@1": 100.0 * (rank == 1),
                    "mrr": 100 / rank,
                    "ndcg@10": np.where(rank <= 10, 100 / np.log2(rank + 1), 0.0),
                }
            )
            for rank in ranks
        )
        yield one, other


def classification(
    right: float, classes: int, n: int, simulations: int, copies: int = 1
) -> Iterator[Drawn]:
    """Examples predicted right with this probability, else as any other class; texts in copies."""
    for number in range(simulations):
        rng = np.random.default_rng([n, classes, round(1e4 * right), copies, number])
        texts = n // copies
        labels = rng.integers(0, classes, texts)
        wrong = (labels + rng.integers(1, classes, (2, texts))) % classes
        predicted = np.where(two_models(rng, texts) < ndtri(right), labels, wrong)
        one, other = (
            labelled_items(
                np.repeat(labels, copies),
                {"probe": np.repeat(each, copies)},
                np.repeat(np.arange(texts), copies),
            )
            for each in predicted
        )
        yield one, other


def duplicates(
    apart: float, positive: float, n: int, simulations: int, each: int = 1
) -> Iterator[Drawn]:
    """Pairs whose cosines are `apart` higher where they are duplicates; a query in `each` of them.

    Half of what is no duplicate's is its query's, where it has several pairs.
    """
    query = np.arange(n) // each
    sentences = np.stack([query, n + np.arange(n)], axis=1)
    for number in range(simulations):
        rng = np.random.default_rng([n, round(1e3 * apart), round(1e3 * positive), each, number])
        labels = (rng.random(n) < positive).astype(float)
        if min(labels.sum(), n - labels.sum()) < 2:
            continue  # there is nothing to call by
        noise = two_models(rng, n)
        if each > 1:
            noise = (noise + two_models(rng, n // each)[:, query]) / 2**0.5
        one, other = (
            pair_items(cosines, labels, sentences, number, also=("f1",))
            for cosines in apart * labels + noise
        )
        yield one, other


def few_shot(p: float, episodes: int, simulations: int, queries: int = 75) -> Iterator[Drawn]:
    """Accuracies of episodes, some of which are harder than others."""
    for number in range(simulations):
        rng = np.random.default_rng([episodes, round(1e4 * p), number])
        ease = ndtr(1.25**0.5 * ndtri(p) + 0.5 * two_models(rng, episodes))
        right = 100 * rng.binomial(queries, ease) / queries
        one, other = (means({"accuracy": each}) for each in right)
        yield one, other


def of_recipes(*arguments: Any, **more: Any) -> Rates:
    """How often `recipes` finds a difference by the test that is printed."""
    return {"significant": recipes(*arguments, **more)["significant"]}


def cases(simulations: int, draws: int) -> dict[str, Callable[[], Rates]]:
    """What is simulated, by name."""
    each = {"simulations": simulations, "draws": draws}
    found: dict[str, Callable[[], Rates]] = {}

    def add(name: str, make: Callable[[], Iterator[Drawn]]) -> None:
        found[name] = lambda: told(make(), draws)

    for n in SIZES:
        found[f"Spearman, {n} pairs"] = partial(false_positives, 0.75, COMMON, (n,), **each)
        found[f"average of three tasks, {n} pairs each"] = partial(
            false_positives, 0.75, COMMON, (n,) * 3, **each
        )
        found[f"four models by Holm, {n} pairs"] = partial(
            false_positives, 0.75, COMMON, (n,), models=4, **each
        )
        shared = partial(shared_false_positives, n // 4, 8, **each)
        found[f"Spearman, {n} pairs of {n // 4} sentences"] = shared
        found[f"Spearman, {n} pairs, a quarter of one sentence"] = partial(
            shared_false_positives, 2 * n, 1, hub=0.25, **each
        )
        for seeds in (3, 5):
            parts = seeds, 0.01, (0.8, 0.1, 0.1), simulations
            found[f"recipes of {seeds} seeds, {n} pairs"] = partial(of_recipes, *parts, n=n)
        found[f"recipes of 3 seeds, {n} pairs of {n // 4} sentences"] = partial(
            of_recipes, 3, 0.01, (0.8, 0.1, 0.1), simulations, n=n, each=8
        )
        for first in (0.5, 0.95):
            add(f"retrieval, {first} first, {n} queries", partial(retrieval, first, n, simulations))
        for right, classes in ((0.7, 2), (0.95, 2), (0.7, 10)):
            name = f"classification, {right} right of {classes} classes, {n} examples"
            add(name, partial(classification, right, classes, n, simulations))
        name = f"classification, 0.7 right of 2 classes, {n} examples, each text twice"
        add(name, partial(classification, 0.7, 2, n, simulations, 2))
        for apart, positive in ((1.0, 0.4), (3.0, 0.4), (2.0, 0.1)):
            name = f"duplicates, {positive} of {n} pairs, {apart} sd apart"
            add(name, partial(duplicates, apart, positive, n, simulations))
        name = f"duplicates, 0.4 of {n} pairs, 1.0 sd apart, a query in 4 of them"
        add(name, partial(duplicates, 1.0, 0.4, n, simulations, 4))
        for p in (0.6, 0.97):
            add(f"few-shot, {p} right, {n} episodes", partial(few_shot, p, n, simulations))
    return found


def claim(found: Mapping[str, Any]) -> str:
    """What the figures of the result file say."""
    by_size: dict[int, list[float]] = {n: [] for n in SIZES}
    plain, called = [], []
    for name, rates in found["rates"].items():
        of = next(n for n in SIZES if f" {n} " in name)
        by_size[of] += [rate for figure, rate in rates.items() if figure not in BESIDE]
        plain += [rates["uncorrected"]] if "uncorrected" in rates else []
        called += [rates["f1"]] if "f1" in rates else []
    shown = shown_by_size(by_size)
    return (
        f"Over {found['simulations']:,} simulated test sets a case, tests at 5 % of every kind that"
        f" commands print found a difference between equal models in {shown}; without Holm's"
        f" correction three comparisons would have found one in {max(plain):.1f} % at most, and a"
        f" test of the F1 of pairs called by a threshold, which is not printed, in"
        f" {max(called):.1f} %."
    )


def main() -> int:
    """Simulate every case, print and write the rates."""
    options = simulation_options(__doc__, simulations=1000, draws=199)
    figures = simulated(cases(options.simulations, options.draws))
    if options.json:
        found = {
            "simulations": options.simulations,
            "draws": options.draws,
            "errors_in_common": COMMON,
            "rates": figures,
        }
        write(options.json, found, claim(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
