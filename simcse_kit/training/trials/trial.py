"""Which recipe helps? Each trained from one start, on the same rows, with several seeds."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from simcse_kit.data import Rows, Source, at_home, check_can_make
from simcse_kit.encoder import VectorCache
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training.checks import check_apart, check_dev
from simcse_kit.training.distributed import launched_together
from simcse_kit.training.rows.training_set import reading_once, rows_of
from simcse_kit.training.runs import overwriting
from simcse_kit.training.runs.folder import can_go_on, held_alone
from simcse_kit.training.runs.own_process import in_own_process
from simcse_kit.training.runs.seed_folder import SeedFolder, read_seed_folder
from simcse_kit.training.seeds import check_alike, common_settings, start_of
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.trials.folder import (
    FILE,
    TrialFolder,
    keep_items,
    of_a_trial,
    read_trial_folder,
)
from simcse_kit.training.trials.plan import Drop, Plan
from simcse_kit.training.trials.result import TrialResult
from simcse_kit.training.trials.run import Failed, Job, misfits, train_and_judge, with_seed
from simcse_kit.training.trials.summing_up import sum_up

logger = logging.getLogger(__name__)

_NAME = re.compile(r"\w[\w.+-]*")  # of a folder on any system, and of an option's list


def train_trial(
    model: str | Path,
    data: Source | Rows,
    recipes: Mapping[str, TrainConfig],
    output_dir: str | Path,
    *,
    seeds: int = 3,
    eval_data: PairTask | None = None,
    suite: Sequence[PairTask] = (),
    drop: Drop | None = None,
    skip_unfit: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    draws: int = 10_000,
    cache: VectorCache | None = None,
) -> TrialResult:
    """Train every recipe with every seed, from `model` on the same rows; compare with the first.

    Each run is one of `train` in a process of its own, in ``output_dir/<recipe>/seed-<n>/``, first
    all recipes with the first seed, then with the second. A script that calls this needs its
    ``if __name__ == "__main__":``. What a recipe differs by has an interval over other seeds and
    other dev pairs (`evaluation.statistics.compare_recipes`).

    Args:
        model, data, eval_data: as for `train`. Without `eval_data` every recipe holds the same
            pairs out (`eval_split`).
        recipes: by name; the first is what the others are compared with. Its seed is the first
            seed of all.
        seeds: how many, from the first recipe's `seed` on. From one there are no intervals.
        suite: tasks that the chosen models are scored on besides, at the end of each run.
        drop: when a recipe gets no further seeds; None: never.
        skip_unfit: leave recipes out that cannot be trained on these data, rather than refuse.
        resume: go on in `output_dir`: finished runs stay, one that was begun goes on from its
            last checkpoint; further recipes, seeds and tasks are added.
        overwrite: replace an earlier trial in `output_dir`.
        draws: resamples of the dev pairs for the intervals.
        cache: of vectors of the chosen models, while they are judged.

    Raises:
        InputError: what is given makes no trial; recipes that cannot be trained on these data, all
            of them named together, before any training; other data, recipes or dev pairs than
            those of the finished runs to go on from; the first recipe's training broke down.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once a checkpoint of the run at work is
            saved.
    """
    folder = at_home(output_dir)
    _check_request(recipes, seeds, drop, eval_data)
    for config in recipes.values():
        check_apart(folder, model, data, eval_data, config, overwrite=overwrite)
        check_dev(eval_data, config)
    check_can_make(folder)
    rows = rows_of(data, next(iter(recipes.values())))
    base = next(iter(recipes.values())).seed
    jobs = {
        name: Job(str(model), rows, config, folder / name, eval_data, tuple(suite), cache=cache)
        for name, config in recipes.items()
    }
    state = _open(folder, [*recipes], resume, overwrite)
    plan = Plan(state, jobs, range(base, base + seeds), drop, keys={})
    start = start_of(model, rows, eval_data)
    with reading_once():
        for name, config in recipes.items():
            settings = common_settings(start, config)
            plan.seeds[name] = SeedFolder(folder / name, settings)
            if resume and (found := read_seed_folder(folder / name)) is not None:
                check_alike(found, settings)
                plan.seeds[name].runs = found.runs
    _leave_unfit_out(plan, skip_unfit)
    plan.keys = _one_dev_set(plan.jobs)
    with held_alone(folder):
        _begin(plan, resume, overwrite)
        try:
            _train(plan)
        except BaseException:
            _give_up(plan)
            raise
        result = sum_up(plan, draws)
        plan.state.result = result.to_json()
        plan.state.write()
    return result


# ---- what is asked ------------------------------------------------------------------------------


def _check_request(
    recipes: Mapping[str, TrainConfig], seeds: int, drop: Drop | None, dev: PairTask | None
) -> None:
    if len(recipes) < 2:
        raise InputError("a trial compares two recipes or more; to train one, take train --seeds")
    if seeds < 1:
        raise InputError(f"a trial takes one seed or more, not {seeds}")
    if drop is not None and drop.after >= seeds:
        raise InputError(
            f"--drop-after {drop.after} of {seeds} seeds saves none; give fewer, or leave it out"
        )
    if launched_together():
        raise InputError("a trial's runs are one process each; start it without torchrun")
    for name, config in recipes.items():
        if not _NAME.fullmatch(name) or name == overwriting.REPLACED:
            raise InputError(
                f"recipe {name!r} cannot name a folder; call its file by letters, digits, - and _"
            )
        if config.push_to_hub:
            raise InputError(
                f"recipe {name}: push_to_hub would upload every run to one place; leave it out, and"
                " push the model you choose"
            )
        if dev is None and config.eval_split is None:
            raise InputError(
                f"recipe {name} has no dev set, so nothing would tell which recipe helps; give"
                " scored pairs with --eval-data, or hold pairs out with --eval-split"
            )


def _open(folder: Path, recipes: list[str], resume: bool, overwrite: bool) -> TrialFolder:
    """The folder as it is to go on from, or to begin; nothing is written yet."""
    found = read_trial_folder(folder)
    if resume:
        if found is None:
            raise InputError(f"nothing to resume: {str(folder)!r} holds no {FILE}")
        return TrialFolder(folder, recipes)
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise InputError(
                f"output folder {str(folder)!r} is not empty; give a new one, or --resume or"
                " --overwrite the trial in it"
            )
        kept = overwriting.where_kept(folder)
        if found is None and (kept is None or read_trial_folder(kept) is None):
            raise InputError(
                f"output folder {str(folder)!r} holds no earlier trial ({FILE} is missing), so it"
                " is not overwritten; give a new folder"
            )
    return TrialFolder(folder, recipes)


def _leave_unfit_out(plan: Plan, skip: bool) -> None:
    """Refuse recipes that these data cannot train, all in one sentence; or do without them."""
    new = {name: job for name, job in plan.jobs.items() if not plan.seeds[name].runs}
    if not new:
        return
    logger.info("checking that %s can be trained on these data", ", ".join(new))
    unfit = in_own_process(misfits, new, called="the check of the recipes")
    if not unfit:
        return
    said = "; ".join(f"{name}: {why}" for name, why in unfit.items())
    left = [name for name in plan.jobs if name not in unfit]
    if not skip or plan.first in unfit or len(left) < 2:
        more = ""
        if not skip and plan.first not in unfit and len(left) > 1:
            more = "; --skip-unfit does without"
        raise InputError(f"recipes that cannot be trained so: {said}{more}")
    logger.warning("left out: %s", said)
    plan.state.unfit = unfit
    plan.state.recipes = left
    plan.jobs = {name: plan.jobs[name] for name in left}


def _one_dev_set(jobs: Mapping[str, Job]) -> dict[str, str]:
    """The data sets that all recipes are judged on; InputError where they are not the same."""
    found = {name: job.keys() for name, job in jobs.items()}
    first = next(iter(found))
    other = next((name for name, keys in found.items() if keys != found[first]), None)
    if other is not None:
        raise InputError(
            f"recipes {first} and {other} would be judged on different pairs (eval_split,"
            " eval_split_seed and document_prompt say which); set the same for all, with --set or"
            " --eval-split"
        )
    return found[first]


# ---- the runs -----------------------------------------------------------------------------------


def _begin(plan: Plan, resume: bool, overwrite: bool) -> None:
    """The first thing that is written: all that was given is checked."""
    folder = plan.state.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        _open(folder, plan.state.recipes, resume, overwrite)  # another may have begun since
        overwriting.set_aside(folder, of_a_trial)
    plan.state.write()


def _give_up(plan: Plan) -> None:
    """Leave the folder as it was before a trial that has left nothing yet."""
    folder = plan.state.folder
    for name, seeds in plan.seeds.items():
        begun = any(can_go_on(each) for each in (folder / name).glob("seed-*"))
        if (folder / name).is_dir() and not seeds.runs and not begun:
            shutil.rmtree(folder / name)
    if any((folder / name).is_dir() for name in plan.seeds):
        return
    if (folder / overwriting.REPLACED).is_dir():
        overwriting.bring_back(folder, of_a_trial)
    elif not any(path.name != FILE for path in folder.iterdir()):
        (folder / FILE).unlink(missing_ok=True)
        folder.rmdir()


def _train(plan: Plan) -> None:
    """All runs that are left, seed by seed, so that recipes can be compared at any time."""
    every = len(plan.jobs) * len(plan.numbers)
    count = 0
    for seed in plan.numbers:
        for recipe in plan.jobs:
            count += 1
            if recipe in plan.state.left_off:
                continue
            if plan.items(recipe, seed):
                logger.info("%s, seed %d (%d of %d) is finished", recipe, seed, count, every)
            elif (why := plan.dropped(recipe)) is not None:
                plan.state.left_off[recipe] = why
                plan.state.write()
                logger.info("%s is %s", recipe, why)
            else:
                logger.info("%s, seed %d (%d of %d)", recipe, seed, count, every)
                _run(plan, recipe, seed)


def _run(plan: Plan, recipe: str, seed: int) -> None:
    """One run, and its place in the recipe's folder."""
    seeds = plan.seeds[recipe]
    own = seeds.of(seed)
    job = with_seed(plan.jobs[recipe], seed, own, resume=can_go_on(own))
    seeds.folder.mkdir(exist_ok=True)
    seeds.write()  # a folder of the trial's from now on
    found = in_own_process(train_and_judge, job, called=f"{recipe}, seed {seed}")
    if isinstance(found, Failed):
        if recipe == plan.first:
            raise InputError(
                f"{recipe}, seed {seed}, which the others are to be compared with: {found.why}"
            )
        logger.warning("%s gets no further seeds: seed %d: %s", recipe, seed, found.why)
        plan.state.left_off[recipe] = f"seed {seed} failed: {found.why}"
        plan.state.write()
        return
    keep_items(seeds, seed, found.items)
    cost = seeds.runs.get(seed, {}).get("cost", {}) | found.cost
    judged = {"figures": found.figures, "cost": cost, "judged_on": plan.keys}
    seeds.runs[seed] = found.run | judged
    seeds.write()
    overwriting.drop(plan.state.folder)
