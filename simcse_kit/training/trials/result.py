"""What a trial found: each recipe's figures over its seeds, and by how much it differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import (
    Comparison,
    Figure,
    Interval,
    compare_recipes,
    holm,
    summarise_seeds,
)


@dataclass(frozen=True)
class Measured:
    """A figure's mean over the seeds, its standard deviation and interval; None from one seed."""

    mean: float
    sd: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class RecipeResult:
    """What one recipe came to.

    Attributes:
        name: what it is called here.
        needs: what it cannot do without, in words; () for nothing but the rows.
        settings: those that are other than the first recipe's, with its own values.
        runs: by seed: ``steps``, ``best_step``, ``score``, ``stopped``.
        dev, suite: the dev figure, and the average over the suite's tasks; None where there is no
            run, or no suite.
        difference, suite_difference: to the first recipe, over other seeds and other pairs, Holm's
            correction over the recipes; None for the first, and where either has one seed.
        alignment, uniformity, effective_rank: means over the seeds, on the dev set's sentences.
        sentences_per_second, peak_memory_mib, peak_gpu_mib: median speed and most memory.
        left_off: why it has fewer seeds than were asked for, or None.
    """

    name: str
    needs: tuple[str, ...]
    settings: dict[str, Any]
    runs: dict[int, dict[str, Any]]
    dev: Measured | None = None
    suite: Measured | None = None
    difference: Comparison | None = None
    suite_difference: Comparison | None = None
    alignment: float | None = None
    uniformity: float | None = None
    effective_rank: float | None = None
    sentences_per_second: float | None = None
    peak_memory_mib: float | None = None
    peak_gpu_mib: float | None = None
    left_off: str | None = None


@dataclass(frozen=True)
class TrialResult:
    """What `train_trial` left.

    Attributes:
        folder: holds a folder of seeds for each recipe, and ``trial.json``.
        recipes: the best first; those without a run at the end.
        baseline: the name of the one that the others are compared with.
        model, data, rows: what all of them began with.
        figure, pairs: the dev figure, and over how many pairs.
        chosen_on_it: that each run's step was chosen on those pairs, which flatters it.
        suite: the tasks of the suite's average; () without a suite.
        seeds: asked for.
        level, draws: of the intervals.
        rule: when a recipe gets no further seeds, in words, or None.
        unfit: why recipes that were named were left out, by their names.
        missing: why there are no intervals over other pairs, or None.
        made: command, date, hardware and versions.
    """

    folder: Path
    recipes: tuple[RecipeResult, ...]
    baseline: str
    model: str
    data: str
    rows: int
    figure: str
    pairs: int
    suite: tuple[str, ...]
    seeds: int
    level: float
    draws: int
    rule: str | None
    unfit: dict[str, str]
    missing: str | None
    made: dict[str, Any] = field(default_factory=dict)
    chosen_on_it: bool = True

    @property
    def compared(self) -> int:
        """How many comparisons Holm's correction is over."""
        return sum(each.difference is not None for each in self.recipes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self) | {"folder": self.folder.name, "test": TEST}


TEST = "Welch's t over the seeds, with the covariance of the dev pairs that seeds share"


@dataclass(frozen=True)
class Judgements:
    """What all runs of a trial were judged to be.

    Attributes:
        runs: by recipe and seed, as a `SeedFolder` holds them with ``figures`` and ``cost``.
        figure: of all runs in that order, by what it is of ("dev", "suite"), over the same
            resamples of pairs.
    """

    runs: Mapping[str, Mapping[int, Mapping[str, Any]]]
    figures: Mapping[str, Figure]

    def rows(self) -> dict[str, list[int]]:
        """Each recipe's rows in the figures."""
        rows: dict[str, list[int]] = {}
        count = 0
        for name, runs in self.runs.items():
            rows[name] = list(range(count, count + len(runs)))
            count += len(runs)
        return rows


def recipe_results(
    found: Judgements,
    baseline: str,
    *,
    needs: Mapping[str, tuple[str, ...]],
    settings: Mapping[str, dict[str, Any]],
    left_off: Mapping[str, str],
    level: float,
) -> tuple[RecipeResult, ...]:
    """Sum up every recipe, the best first.

    Args:
        found: with the baseline's runs among them.
        needs, settings, left_off: by recipe, as of `RecipeResult`.
    """
    differences = {
        name: _differences(figure, found.rows(), baseline, level)
        for name, figure in found.figures.items()
    }
    results = []
    for name, runs in found.runs.items():
        rows = found.rows()[name]
        measured = {
            key: _measured(figure, rows, level) for key, figure in found.figures.items() if rows
        }
        results.append(
            RecipeResult(
                name,
                needs.get(name, ()),
                settings.get(name, {}),
                {seed: _told(run) for seed, run in runs.items()},
                dev=measured.get("dev"),
                suite=measured.get("suite"),
                difference=differences["dev"].get(name),
                suite_difference=differences.get("suite", {}).get(name),
                left_off=left_off.get(name),
                **_means(runs),
            )
        )
    return tuple(sorted(results, key=_worst_last))


def _worst_last(one: RecipeResult) -> float:
    return float("inf") if one.dev is None else -one.dev.mean


def _differences(
    figure: Figure, rows: Mapping[str, Sequence[int]], baseline: str, level: float
) -> dict[str, Comparison]:
    """By how much each recipe of several seeds differs from the first, Holm-corrected."""
    base = rows[baseline]
    several = [name for name, own in rows.items() if name != baseline and len(own) > 1]
    if len(base) < 2 or not several:
        return {}
    alone = {name: compare_recipes(figure, rows[name], base, level=level) for name in several}
    adjusted = holm([one.p_value for one in alone.values()])
    return {
        name: replace(one, p_adjusted=p_value)
        for (name, one), p_value in zip(alone.items(), adjusted, strict=True)
    }


def _measured(figure: Figure, rows: Sequence[int], level: float) -> Measured:
    if len(rows) == 1:
        return Measured(float(figure.observed[rows[0]]))
    summary = summarise_seeds(figure, rows, level=level)
    return Measured(summary.mean, summary.sd, summary.interval)


def _told(run: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: run[name] for name in ("steps", "best_step", "stopped")}
    return told | {"score": run["figures"]["score"]}


#: What is shown of a recipe's runs, where they are kept, and how they are put together.
_TOGETHER: dict[str, tuple[str, Callable[[list[float]], float]]] = {
    "alignment": ("figures", mean),
    "uniformity": ("figures", mean),
    "effective_rank": ("figures", mean),
    "sentences_per_second": ("cost", mean),
    "peak_memory_mib": ("cost", max),
    "peak_gpu_mib": ("cost", max),
}


def _means(runs: Mapping[int, Mapping[str, Any]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, (where, together) in _TOGETHER.items():
        known = [float(run[where][name]) for run in runs.values() if name in run[where]]
        found[name] = together(known) if known else None
    return found


def over_pairs(make: Callable[[], Figure], observed: Sequence[float]) -> tuple[Figure, str | None]:
    """The figure that `make()` gives; where pairs cannot be resampled, of seeds alone, and why."""
    try:
        return make(), None
    except InputError as error:
        return Figure(np.array(observed), np.empty((0, len(observed)))), str(error)
