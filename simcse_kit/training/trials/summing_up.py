"""From the runs of a trial to its result."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.evaluation import provenance, short
from simcse_kit.evaluation.statistics import Figure
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training.dev import DevSet, resampled
from simcse_kit.training.runs.resuming import differences
from simcse_kit.training.trials.needs import needs_of
from simcse_kit.training.trials.plan import Plan
from simcse_kit.training.trials.result import (
    Judgements,
    TrialResult,
    over_pairs,
    recipe_results,
)
from simcse_kit.training.trials.run import DEV

_LEVEL = 0.95


def sum_up(plan: Plan, draws: int) -> TrialResult:
    """What there is of a trial so far, whose first recipe has a run."""
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    items: list[dict[str, np.ndarray]] = []
    for recipe, seeds in plan.seeds.items():
        if recipe not in plan.jobs:
            continue
        runs[recipe] = {}
        for seed in plan.numbers:
            if found := plan.items(recipe, seed):
                runs[recipe][seed] = seeds.runs[seed]
                items.append(found)
    job = plan.jobs[plan.first]
    dev = job.dev_set()
    figures, missing = _figures(dev, job.suite, items, [*_each(runs)], draws)
    settings = {name: each.config.model_dump(mode="json") for name, each in plan.jobs.items()}
    others = {
        name: {key: now for key, (_, now) in differences(settings[plan.first], own).items()}
        for name, own in settings.items()
    }
    for own in others.values():
        own.pop("seed", None)  # all have the same
    return TrialResult(
        plan.state.folder,
        recipe_results(
            Judgements(runs, figures),
            plan.first,
            needs={name: needs_of(each.config) for name, each in plan.jobs.items()},
            settings=others,
            left_off=plan.state.left_off,
            level=_LEVEL,
        ),
        plan.first,
        model=short(job.model),
        data=short(job.rows.source),
        rows=len(job.rows),
        figure=dev.name,
        pairs=len(dev),
        suite=tuple(task.name for task in job.suite),
        seeds=len(plan.numbers),
        level=_LEVEL,
        draws=draws,
        rule=None if plan.drop is None else str(plan.drop),
        unfit=plan.state.unfit,
        missing=missing,
        made=provenance(Path(sys.argv[0]).name),
    )


def _each(runs: Mapping[str, Mapping[int, dict[str, Any]]]) -> list[dict[str, float]]:
    return [run["figures"] for of_recipe in runs.values() for run in of_recipe.values()]


def _figures(
    dev: DevSet,
    suite: Sequence[PairTask],
    items: Sequence[Mapping[str, np.ndarray]],
    judged: Sequence[Mapping[str, float]],
    draws: int,
) -> tuple[dict[str, Figure], str | None]:
    """The dev figure and the suite's average of all runs, over the same resamples of the pairs."""
    stacked = np.stack([each[DEV] for each in items])
    observed = [each["score"] for each in judged]
    figure, missing = over_pairs(lambda: dev.together(stacked, draws=draws), observed)
    found = {"dev": figure}
    if suite:
        cosines = {task.name: np.stack([each[task.name] for each in items]) for task in suite}
        observed = [each["suite"] for each in judged]
        found["suite"], _ = over_pairs(lambda: resampled(suite, cosines, draws=draws), observed)
    return found, missing
