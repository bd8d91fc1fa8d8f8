"""Runs of variants with seeds, each made once and kept, and what their figures say together."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.data import replacing, write_json
from simcse_kit.data.digests import add_texts
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import (
    Figure,
    PairScores,
    bootstrap,
    compare_recipes,
    resample_together,
    summarise_seeds,
)
from simcse_kit.evaluation.sts import PairTask, evaluate
from simcse_kit.evaluation.sts.intervals import numbered_sentences

START = "as it is"
AVERAGE = "STS average"
# What every run shares, whatever the recipe: no trackers, no checkpoints on the way.
QUIET = ("report_to=none", "save_steps=100000", "logging_steps=20")
COSINES = "cosines of "

#: A figure's values, one a query; or the cosines of a task's pairs, under `COSINES` and its name.
Scores = dict[str, np.ndarray]
#: Figures whose values are cosines: the tasks that each is the average of.
Judged = Mapping[str, Sequence[PairTask]]


# ---- runs ---------------------------------------------------------------------------------------


def kept_run(name: str, seed: int, make: Callable[[Path], Scores], folder: Path) -> Scores:
    """The scores of a run, from its file where it is finished; then its models go."""
    file = folder / f"{name}-{seed}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    scores = make(folder / f"{name}-{seed}")
    with replacing(file) as aside, aside.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **scores)
    shutil.rmtree(folder / f"{name}-{seed}", ignore_errors=True)
    print(name, f"seed {seed}", shown(scores), file=sys.stderr, flush=True)
    return scores


def kept_runs(
    names: Sequence[str],
    seeds: Sequence[int],
    start: Callable[[], Scores],
    make: Callable[[str, int, Path], Scores],
    folder: Path,
) -> dict[str, list[Scores]]:
    """By variant the scores of a run a seed, and of the encoder as it was (`START`).

    Seed by seed, all variants with the first and then with the second, so that an early end leaves
    something to compare.

    Args:
        start: judges the encoder as it was.
        make: trains a variant with a seed in the folder it is given, and judges.
    """
    runs = {START: [kept_run("start", 0, lambda _: start(), folder)]}
    for seed in seeds:
        for name in names:
            made = kept_run(name, seed, partial(make, name, seed), folder)
            runs.setdefault(name, []).append(made)
    return runs


def judged(encoder: SentenceEncoder, tasks: Judged) -> Scores:
    """The cosines of every pair of the tasks, and the average Spearman of each figure."""
    scores: Scores = {}
    for figure, group in tasks.items():
        if not group:
            continue
        result = evaluate(encoder, list(group))
        scores |= {f"{COSINES}{task}": cosines for task, cosines in result.cosines.items()}
        scores[figure] = np.array([result.average])
    return scores


def shown(scores: Scores) -> dict[str, float]:
    """Each figure of a run."""
    return {
        name: round(float(values.mean()), 3)
        for name, values in scores.items()
        if not name.startswith(COSINES)
    }


def same_runs(folder: Path, told: Mapping[str, Any], name: str = "asked") -> None:
    """Refuse to mix runs of other settings or texts into one folder.

    Args:
        told: everything that figures rest on, texts as their `digest_of`.
        name: of the runs it is told of, where not of all in the folder.

    Raises:
        InputError: the folder holds runs of which something else was told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    told = json.loads(json.dumps(told))  # tuples as lists, as the file has them
    if file.is_file() and json.loads(file.read_text()) != told:
        raise InputError(
            f"{file} was written by runs of other settings or texts; give another folder"
        )
    write_json(file, dict(told))


def digest_of(*texts: Sequence[str]) -> str:
    """Equal for equal lists of texts: 16 hex digits."""
    digest = hashlib.sha256()
    for some in texts:
        add_texts(digest, some)
    return digest.hexdigest()[:16]


# ---- figures ------------------------------------------------------------------------------------


def above(figure: Figure) -> Figure:
    """The figure of all models but the first, less that of the first."""
    models = len(figure.observed)
    less = np.hstack([-np.ones((models - 1, 1)), np.eye(models - 1)])

    def both(covariance: np.ndarray | None) -> np.ndarray | None:
        return None if covariance is None else less @ covariance @ less.T

    return Figure(
        less @ figure.observed,
        figure.draws @ less.T,
        both(figure.independent),
        both(figure.sharing),
    )


def figures_of(
    runs: Sequence[Scores],
    tasks: Judged,
    draws: int,
    means: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Figure]:
    """By figure, what models score on the same resamples of queries, and of pairs.

    Args:
        means: figures that are the plain mean of others.
    """
    found = {}
    for name, values in runs[0].items():
        if name.startswith(COSINES):
            continue
        if tasks.get(name):
            found[name] = _spearman(runs, tasks[name], draws)
            continue
        models = [_mean_of(run[name]) for run in runs]
        found[name] = resample_together(models, len(values), draws=draws)["mean"]
    for name, parts in (means or {}).items():
        each = [found[part] for part in parts]
        found[name] = Figure(
            np.mean([part.observed for part in each], axis=0),
            np.mean([part.draws for part in each], axis=0),
        )
    return found


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    return lambda counts: {"mean": counts @ values / len(values)}


def _spearman(runs: Sequence[Scores], tasks: Sequence[PairTask], draws: int) -> Figure:
    """The average over the tasks, from the cosines that were kept."""
    numbers: dict[str, int] = {}
    samples = {
        task.name: PairScores(
            task.gold,
            np.stack([run[f"{COSINES}{task.name}"] for run in runs]),
            numbered_sentences(task, numbers),
        )
        for task in tasks
    }
    return bootstrap(samples, draws=draws).figure()


def summary(
    runs: Mapping[str, Sequence[Scores]],
    tasks: Judged,
    draws: int,
    *,
    against: Sequence[str] = (),
    means: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Of each variant: means, sd over seeds, differences to the start and to other variants.

    Args:
        runs: by variant, a run a seed; under `START` the encoder that none was trained of, if it
            is to be compared with.
        against: variants that the others are compared with.
    """
    order = [START, *(name for name in runs if name != START)] if START in runs else list(runs)
    every = [run for name in order for run in runs[name]]
    rows, first = {}, 0
    for name in order:
        rows[name] = range(first, first + len(runs[name]))
        first += len(runs[name])
    told: dict[str, Any] = {name: {} for name in order}
    for label, figure in figures_of(every, tasks, draws, means).items():
        difference = above(figure) if START in runs else None
        for name in order:
            if name == START:
                told[START][label] = {"mean": float(figure.observed[0])}
                continue
            told[name][label] = _told(figure, rows[name], difference)
            for other in against:
                if other in rows and name != other and min(len(runs[name]), len(runs[other])) > 1:
                    compared = compare_recipes(figure, rows[name], rows[other])
                    told[name][label][f"above {other}"] = asdict(compared)
    return told


def _told(figure: Figure, rows: range, difference: Figure | None) -> dict[str, Any]:
    observed = figure.observed[list(rows)]
    told: dict[str, Any] = {"mean": float(observed.mean()), "seeds": len(rows)}
    if len(rows) > 1:
        told["sd"] = float(observed.std(ddof=1))
    if difference is None:
        return told
    own = [row - 1 for row in rows]
    told["above start"] = float(difference.observed[own].mean())
    if len(own) > 1:
        sure = summarise_seeds(difference, own)
        told["interval"] = [sure.interval.low, sure.interval.high]
    return told


def show(told: Mapping[str, Any]) -> None:
    """Print the means of a `summary`, a line a variant."""
    for name, figures in told.items():
        print(f"{name:24}", {label: round(each["mean"], 2) for label, each in figures.items()})
