"""Do 95 % intervals hold the truth in 95 % of test sets, and do tests err in 5 %? By simulation.

    python -m eval.quality.interval_coverage [--simulations 1000] [--draws 999] [--json FILE]

Test sets are drawn anew from a model in which the true Spearman is known: gold scores in steps of
0.2 from 0 to 5, as of STS, from a normal variable, and cosines that correlate with it. Exit code 1
when a coverage is not 95 %, or a false-positive rate not 5 %, within three standard errors (for
recipes of three and five seeds: above that). A rate of 1,000 test sets has one of 0.7.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from eval.provenance import write
from simcse_kit.evaluation.statistics import (
    Bootstrap,
    Figure,
    Interval,
    PairScores,
    bootstrap,
    compare,
    compare_many,
    compare_recipes,
    estimate,
    summarise_seeds,
)

# The suite's tasks, each at a quarter of its pairs: smaller sets are the harder ones.
QUARTER = (777, 375, 937, 750, 296, 345, 1232)
# The rates that must be near 95 %.
COVERED = ("covered", "clustered", "mean covered")
# A covariance needs fewer draws than a percentile. (299 + 1) × 5 % is a whole number, as for 999.
RECIPE_DRAWS = 299
Rates = dict[str, float]


def true_spearman(rho: float) -> float:
    """Population Spearman ×100 of cosines and gold whose underlying normals correlate with `rho`.

    The correlation of the mid-distribution functions; given y, that of the cosine is
    Φ(ρy / √(2 − ρ²)) on average.
    """
    share = (np.arange(100_000) + 0.5) / 100_000
    y = ndtri(share)
    _, level, size = np.unique(_gold(y), return_inverse=True, return_counts=True)
    ranks = ((np.cumsum(size) - size / 2) / len(y))[level]
    covariance = np.mean(ndtr(rho * y / np.sqrt(2 - rho**2)) * ranks) - 0.25
    return float(100 * covariance / np.sqrt((np.mean(ranks**2) - 0.25) / 12))


def coverage(rho: float, n: int, simulations: int, draws: int) -> Rates:
    """How often the interval of a Spearman holds the true one, and how often it lies to a side."""
    truth = true_spearman(rho)
    found = []
    for number in range(simulations):
        rng = np.random.default_rng([n, round(1000 * rho), number])
        y = rng.normal(size=n)
        scores = _cosines(y, [rho], rng.normal(size=(1, n)))
        figure = bootstrap({"task": PairScores(_gold(y), scores)}, draws=draws, seed=number)
        found.append(estimate(figure.figure()).interval)
    return _coverage(found, truth)


def shared_coverage(rho: float, stars: int, size: int, simulations: int, draws: int) -> Rates:
    """The same for pairs in stars, `size` pairs with one sentence in common, that are alike."""
    truth = true_spearman(rho)
    n = stars * size
    pairs = np.stack([np.repeat(np.arange(stars), size), stars + np.arange(n)], axis=1)
    plain, clustered = [], []
    for number in range(simulations):
        rng = np.random.default_rng([n, size, number])

        y = _normals(rng, 1, n, pairs)[0]
        task = PairScores(_gold(y), _cosines(y, [rho], _normals(rng, 1, n, pairs)), pairs)
        resampled = bootstrap({"task": task}, draws=draws, seed=number)
        plain.append(estimate(resampled.figure(clustered=False)).interval)
        clustered.append(estimate(resampled.figure()).interval)
    return {
        "pairs independent": _coverage(plain, truth)["covered"],
        "clustered": _coverage(clustered, truth)["covered"],
    }


def false_positives(
    rho: float, common: float, sizes: Sequence[int], simulations: int, draws: int, models: int = 2
) -> Rates:
    """How often equally good models differ at p ≤ 0.05 in their average over the tasks.

    `common` is the share of their errors that they have in common. Of more than two models, how
    often any differs from the first, by Holm's p-values and by the plain ones.
    """
    significant, plain = 0, 0
    groups = [[0] * models, list(range(models))]
    for number in range(simulations):
        rng = np.random.default_rng([sum(sizes), round(1000 * rho), round(1000 * common), number])
        tasks = {}
        for task, n in enumerate(sizes):
            y = rng.normal(size=n)
            errors = _errors(rng, n, [common, 1 - common], groups)
            tasks[str(task)] = PairScores(_gold(y), _cosines(y, [rho] * models, errors))
        figure = bootstrap(tasks, draws=draws, seed=number).figure()
        found = compare_many(figure, [(model, 0) for model in range(1, models)])
        significant += any(one.told for one in found)
        plain += any(one.p_value <= 0.05 for one in found)
    rates = {"significant": 100 * significant / simulations}
    return rates if models == 2 else rates | {"uncorrected": 100 * plain / simulations}


def shared_false_positives(
    sentences: int, each: int, simulations: int, draws: int, rho: float = 0.75, hub: float = 0.0
) -> Rates:
    """The same for pairs of `sentences`, each of them in `each` pairs, which therefore are alike.

    Of `hub` of the pairs the first sentence is the same.
    """
    n = sentences * each // 2
    significant = {"significant": 0, "pairs independent": 0}
    for number in range(simulations):
        rng = np.random.default_rng([sentences, each, number])
        pairs = shared_sentences(rng, sentences, each)
        pairs[: int(hub * n), 0] = 0
        y = _normals(rng, 1, n, pairs)[0]
        task = PairScores(_gold(y), _cosines(y, [rho, rho], _normals(rng, 2, n, pairs)), pairs)
        resampled = bootstrap({"task": task}, draws=draws, seed=number)
        for name, clustered in (("significant", None), ("pairs independent", False)):
            significant[name] += abs(compare(resampled.figure(clustered=clustered), 1, 0).told)
    return {name: 100 * count / simulations for name, count in significant.items()}


def shared_sentences(rng: np.random.Generator, sentences: int, each: int) -> np.ndarray:
    """Pairs (N, 2) at random of so many sentences, each of them in `each` pairs."""
    return rng.permutation(np.repeat(np.arange(sentences), each)).reshape(-1, 2)


def recipes(
    seeds: int,
    training: float,
    shares: Sequence[float],
    simulations: int,
    draws: int = RECIPE_DRAWS,
    n: int = 500,
    each: int | None = None,
) -> Rates:
    """Two equally good recipes of `seeds` seeds each: false positives, and coverage of the mean.

    Args:
        training: standard deviation of a seed's underlying correlation.
        shares: of the errors, common to all, to a recipe's seeds, and a seed's own.
        n: pairs. each: in how many of them each sentence is; by default in one.
    """
    rho, models = 0.75, 2 * seeds
    first, second = range(seeds), range(seeds, models)
    of_recipe = [number // seeds for number in range(models)]
    # Expected over trainings: the middles of 50 equally likely ranges of the seed's correlation.
    nodes = rho + training * ndtri((np.arange(50) + 0.5) / 50)
    truth = float(np.mean([true_spearman(node) for node in nodes]))
    positive = {"significant": 0, "seeds alone": 0, "pairs alone": 0}
    means = []
    for number in range(simulations):
        rng = np.random.default_rng([models, round(1e4 * training), number])
        pairs = None if each is None else shared_sentences(rng, 2 * n // each, each)
        y = _normals(rng, 1, n, pairs)[0]
        errors = _errors(rng, n, shares, [[0] * models, of_recipe, list(range(models))], pairs)
        task = PairScores(_gold(y), _cosines(y, rng.normal(rho, training, models), errors), pairs)
        figure = bootstrap({"task": task}, draws=draws, seed=number).figure()
        positive["significant"] += abs(compare_recipes(figure, first, second).told)
        alone = Figure(figure.observed, np.empty((0, models)))
        positive["seeds alone"] += compare_recipes(alone, first, second).p_value <= 0.05
        of_means = Figure(_means(figure.observed, seeds), _means(figure.draws, seeds))
        positive["pairs alone"] += compare(of_means, 0, 1).p_value <= 0.05
        means.append(summarise_seeds(figure, first).interval)
    rates = {name: 100 * count / simulations for name, count in positive.items()}
    return rates | {"mean covered": _coverage(means, truth)["covered"]}


def simulate_suite(draws: int) -> float:
    """Seconds of processor time for the paired bootstrap over seven tasks of the suite's sizes."""
    rng = np.random.default_rng(0)
    tasks = {}
    for number, n in enumerate((3108, 1500, 3750, 3000, 1186, 1379, 4927)):
        y = rng.normal(size=n)
        tasks[str(number)] = PairScores(_gold(y), _cosines(y, [0.8, 0.8], rng.normal(size=(2, n))))
    start = time.process_time()
    resampled: Bootstrap = bootstrap(tasks, draws=draws)
    compare(resampled.figure(), 0, 1)
    return time.process_time() - start


def _gold(y: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(25 * ndtr(y)) / 5)


def _cosines(y: np.ndarray, rhos: Sequence[float] | np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(M, N) scores that correlate with y (N,) as the rhos (M,) say."""
    rho = np.asarray(rhos)[:, None]
    return np.asarray(rho * y + np.sqrt(1 - rho**2) * errors)


def _normals(
    rng: np.random.Generator, count: int, n: int, pairs: np.ndarray | None = None
) -> np.ndarray:
    """(count, N) unit normals, of whose variance nine tenths are the two sentences' of `pairs`."""
    if pairs is None:
        return rng.normal(size=(count, n))
    of_sentence = rng.normal(size=(count, int(pairs.max()) + 1))
    both = of_sentence[:, pairs[:, 0]] + of_sentence[:, pairs[:, 1]]
    return np.asarray(np.sqrt(0.45) * both + np.sqrt(0.1) * rng.normal(size=(count, n)))


def _errors(
    rng: np.random.Generator,
    n: int,
    shares: Sequence[float],
    groups: Sequence[Sequence[int]],
    pairs: np.ndarray | None = None,
) -> np.ndarray:
    """(M, N) unit normals: of each variance share, the models of one group have the same."""
    errors = np.zeros((len(groups[0]), n))
    for share, group in zip(shares, groups, strict=True):
        errors += np.sqrt(share) * _normals(rng, max(group) + 1, n, pairs)[list(group)]
    return errors


def _means(values: np.ndarray, seeds: int) -> np.ndarray:
    """(…, 2K) figures of two recipes' seeds to (…, 2) means."""
    return np.asarray(values.reshape(*values.shape[:-1], 2, seeds).mean(axis=-1))


def _coverage(intervals: Sequence[Interval], truth: float) -> Rates:
    low = np.array([interval.low for interval in intervals])
    high = np.array([interval.high for interval in intervals])
    return {
        "covered": float(100 * np.mean((low <= truth) & (truth <= high))),
        "all above it": float(100 * np.mean(low > truth)),
        "all below it": float(100 * np.mean(high < truth)),
        "mean width": float(np.mean(high - low)),
    }


def cases(simulations: int, draws: int) -> dict[str, Callable[[], Rates]]:
    """What is simulated, by name."""
    each = {"simulations": simulations, "draws": draws}
    found: dict[str, Callable[[], Rates]] = {}
    for n in (200, 1500):
        for rho in (0.3, 0.75, 0.9):
            found[f"interval, rho {rho}, {n} pairs"] = partial(coverage, rho, n, **each)
    for size in (2, 10):
        name = f"interval, {1000 // size} stars of {size} pairs"
        found[name] = partial(shared_coverage, 0.75, 1000 // size, size, **each)
    for rho, common, sizes in (
        (0.75, 0.5, (200,)),
        (0.75, 0.9, (1500,)),
        (0.9, 0.8, (1500,)),
        (0.75, 0.8, QUARTER),
    ):
        name = f"two models, rho {rho}, errors {common} common, pairs {sizes}"
        found[name] = partial(false_positives, rho, common, sizes, **each)
    for sentences in (100, 400):
        name = f"two models, {sentences} sentences in 8 pairs each"
        found[name] = partial(shared_false_positives, sentences, 8, **each)
    for seeds in (3, 5):
        for training, shares in (
            (0.006, (0.9, 0.0, 0.1)),
            (0.006, (0.8, 0.1, 0.1)),
            (0.02, (0.9, 0.05, 0.05)),
            (0.0, (0.85, 0.1, 0.05)),
        ):
            name = f"two recipes of {seeds} seeds, sd {training}, shares {shares}"
            found[name] = partial(recipes, seeds, training, shares, simulations)
    return found


def holds(rates: Rates, simulations: int) -> bool:
    """Whether the rates of a case are what they should be, within three standard errors."""
    tolerance = 3 * (95 * 5 / simulations) ** 0.5
    covered = [rates[name] for name in COVERED if name in rates]
    good = all(abs(rate - 95) <= tolerance for rate in covered)
    if "significant" in rates:
        # Welch's test of three seeds is conservative where training is all there is.
        least = 0.0 if "seeds alone" in rates else 5 - tolerance
        good &= least <= rates["significant"] <= 5 + tolerance
    return good


def claim(found: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    rates = found["rates"].items()
    covered = [rate[key] for _, rate in rates for key in COVERED if key in rate]
    significant = [rate["significant"] for name, rate in rates if name.startswith("two models")]
    return (
        f"Over {found['simulations']:,} simulated test sets a case, 95 % intervals covered the "
        f"truth in {min(covered):.1f}–{max(covered):.1f} %, and the paired test of two models "
        f"found a difference where none was in {min(significant):.1f}–{max(significant):.1f} %."
    )


def simulation_options(doc: str, *, simulations: int, draws: int) -> argparse.Namespace:
    """Read ``--simulations``, ``--draws`` and ``--json``; the first line of `doc` is the help's."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=simulations)
    parser.add_argument("--draws", type=int, default=draws)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def simulated(
    cases: Mapping[str, Callable[[], Rates]], holds: Callable[[Rates], bool] = lambda _: True
) -> dict[str, Rates]:
    """The rates of every case, each printed as it comes, with OUT before one that does not hold."""
    figures: dict[str, Rates] = {}
    log = logging.getLogger("simcse_kit")
    level = log.level
    log.setLevel(logging.ERROR)  # that sentences are few would be said of every test set
    for name, case in cases.items():
        figures[name] = case()
        shown = ", ".join(f"{key} {value:.2f}" for key, value in figures[name].items())
        print(f"{'' if holds(figures[name]) else 'OUT '}{name}: {shown}", flush=True)
    log.setLevel(level)
    return figures


def main() -> int:
    """Simulate every case, print and write the rates, and tell by the exit code."""
    options = simulation_options(__doc__, simulations=1000, draws=999)
    good = partial(holds, simulations=options.simulations)
    figures = simulated(cases(options.simulations, options.draws), good)
    seconds = simulate_suite(10_000)
    print(f"paired bootstrap over the suite, 10,000 draws: {seconds:.1f} s of processor time")
    if options.json:
        settings = {
            "simulations": options.simulations,
            "draws": options.draws,
            "draws_of_recipes": RECIPE_DRAWS,
        }
        found = settings | {"rates": figures, "suite_cpu_seconds": seconds}
        write(options.json, found, claim(found))
    return int(not all(map(good, figures.values())) or seconds > 10)


if __name__ == "__main__":
    sys.exit(main())
