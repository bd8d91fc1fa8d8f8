"""One recipe trained with several seeds: a folder a seed, and what they score together."""

from __future__ import annotations

import logging
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simcse_kit.data import Rows, Source, at_home, check_can_make
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import PairTask, STSIntervals, STSResult, evaluate, summarise_runs
from simcse_kit.training.checks import check_apart
from simcse_kit.training.dev import ScoredPairs
from simcse_kit.training.distributed import launched_together
from simcse_kit.training.loading import load_trained
from simcse_kit.training.rows.training_set import further_rows, reading_once, rows_of
from simcse_kit.training.run import train
from simcse_kit.training.runs import overwriting
from simcse_kit.training.runs.checkpoints import newest_whole
from simcse_kit.training.runs.folder import can_go_on, held_alone
from simcse_kit.training.runs.resuming import differences, files_told, same_model
from simcse_kit.training.runs.seed_folder import FILE, SeedFolder, read_seed_folder
from simcse_kit.training.settings.config import TrainConfig

logger = logging.getLogger(__name__)

_FILES = "files of parts"  # what stands for their content among the settings in common


@dataclass(frozen=True)
class SeedsResult:
    """What `train_seeds` left.

    Attributes:
        folder: holds ``seed-<n>/`` for every seed, and ``seeds.json``.
        runs: by seed: ``steps``, ``best_step``, ``best_score``, ``stopped`` (see `TrainResult`).
        mean, sure: the mean of the seeds on the dev set, its interval and their standard
            deviation; None without a dev set, and where a seed's model has collapsed.
        held_out: of `eval_split`, where every seed was scored: ``figure``, ``mean``, ``sd``.
    """

    folder: Path
    runs: dict[int, dict[str, Any]]
    mean: STSResult | None
    sure: STSIntervals | None
    held_out: dict[str, Any] | None = None


def train_seeds(
    model: str | Path,
    data: Source | Rows,
    config: TrainConfig,
    output_dir: str | Path,
    *,
    seeds: int,
    eval_data: PairTask | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> SeedsResult:
    """Train one recipe with the seeds config.seed, config.seed + 1, …, each from `model`.

    Each seed is a run of `train` in ``output_dir/seed-<n>/``. At the end the chosen models of all
    finished seeds are scored on the dev set: mean ± standard deviation, with an interval over
    other seeds and other dev pairs. The steps were chosen on that set, which flatters it.

    Args:
        seeds: how many, 2 or more.
        resume: go on in `output_dir`: finished seeds stay, one that was begun goes on from its
            last checkpoint. With a larger `seeds` the further ones are added.
        overwrite: replace an earlier training of several seeds in `output_dir`.
        model, data, config, eval_data: as for `train`.

    Raises:
        InputError: as `train` does; fewer than two seeds; another recipe, model, data or dev
            set than those of the finished seeds to go on from; several ranks.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once a checkpoint of the seed at work
            is saved.
    """
    _check_request(seeds, config)
    check_apart(at_home(output_dir), model, data, eval_data, config, overwrite=overwrite)
    rows = rows_of(data, config)
    with reading_once():
        settings = common_settings(start_of(model, rows, eval_data), config)
        state = _open(at_home(output_dir), settings, resume, overwrite)
        numbers = range(config.seed, config.seed + seeds)
        with held_alone(state.folder):
            for count, seed in enumerate(numbers, start=1):
                if seed in state.runs:
                    logger.info("seed %d (%d of %d) is finished", seed, count, seeds)
                    continue
                logger.info("seed %d (%d of %d)", seed, count, seeds)
                given = model, rows, config, eval_data
                state.runs[seed] = _train_one(state, seed, *given, resume, overwrite)
                state.write()
    runs = dict(sorted(state.runs.items()))
    if eval_data is None:
        state.summary = _held_out_summary(runs)
        state.write()
        return SeedsResult(state.folder, runs, None, None, state.summary)
    try:
        results = [_score(state.of(seed), config, eval_data) for seed in runs]
    except InputError as error:  # a collapsed one; a mean over the others would hide it
        logger.warning("there is no mean over the seeds: %s", error)
        return SeedsResult(state.folder, runs, None, None)
    mean, sure = summarise_runs(results, [eval_data])
    state.summary = _as_json(eval_data, results, sure)
    state.write()
    return SeedsResult(state.folder, runs, replace(mean, model=str(state.folder)), sure)


def _check_request(seeds: int, config: TrainConfig) -> None:
    if seeds < 2:
        raise InputError(f"{seeds} seed(s) have no spread; train with two or more, or leave it out")
    if launched_together():
        raise InputError(
            "several seeds are trained one after another in one process; with torchrun train each"
            " by itself, with --set seed=… and an --output-dir of its own"
        )
    if config.push_to_hub:
        raise InputError(
            "push_to_hub would upload every seed to one place; train the seeds without it and"
            " push the one you choose"
        )


def start_of(model: str | Path, rows: Rows, dev: PairTask | None) -> dict[str, Any]:
    """What all recipes have in common: model, rows, and the set their steps are chosen on."""
    judge = None if dev is None else f"{dev.source} ({ScoredPairs(dev).key})"
    return {"model": str(model), "data": rows.source, "rows": rows.content(), "dev": judge}


def common_settings(start: dict[str, Any], config: TrainConfig) -> dict[str, Any]:
    """What all seeds have in common: the start (`start_of`) and the recipe."""
    common = config.model_dump(mode="json", exclude={"seed", "cache_dir"})
    told = dict(start)
    if config.datasets:
        told["rows of datasets"] = ", ".join(each.content() for each in further_rows(config))
    files = [
        digest for each in config.of_each_dataset() for digest in files_told(each).get("files", [])
    ]
    if files:
        told[_FILES] = ", ".join(files)
    return told | common


def check_alike(found: SeedFolder, settings: dict[str, Any]) -> None:
    """InputError where seeds that are to come would not be of the recipe of those that are done."""
    older = {key: settings[key] for key in ("rows", "dev", _FILES) if key in settings}
    other = differences(older | found.settings, settings)
    other.pop("data", None)  # its rows are what counts
    if same_model(*other.get("model", ("", ""))):
        other.pop("model", None)
    if other and found.runs:
        key, (before, now) = next(iter(other.items()))
        names = {
            "rows": "other rows of the same name",
            "dev": "the dev set",
            _FILES: "other content of a file that a part reads",
        }
        raise InputError(
            f"the finished seeds in {str(found.folder)!r} were trained with {names.get(key, key)}"
            f" {before!r}, not {now!r}; go on with the same, or give a new folder"
        )


def _open(folder: Path, settings: dict[str, Any], resume: bool, overwrite: bool) -> SeedFolder:
    """The folder as it is to go on from, or to begin; nothing is written yet."""
    check_can_make(folder)
    found = read_seed_folder(folder)
    if resume:
        if found is None:
            raise InputError(f"nothing to resume: {str(folder)!r} holds no {FILE}")
        check_alike(found, settings)
        return SeedFolder(folder, settings, found.runs)
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise InputError(
                f"output folder {str(folder)!r} is not empty; give a new one, or --resume or"
                " --overwrite the seeds in it"
            )
        if found is None:
            raise InputError(
                f"output folder {str(folder)!r} holds no earlier training of several seeds"
                f" ({FILE} is missing), so it is not overwritten; give a new folder"
            )
    return SeedFolder(folder, settings)


def _train_one(
    state: SeedFolder,
    seed: int,
    model: str | Path,
    rows: Rows,
    config: TrainConfig,
    dev: PairTask | None,
    resume: bool,
    overwrite: bool,
) -> dict[str, Any]:
    own = state.of(seed)
    begun = resume and can_go_on(own)
    first = not state.runs and not begun
    if resume and not begun and (lost := newest_whole(own)[1]):
        logger.warning("seed %d is trained from its start: %s", seed, ", ".join(lost))

    def ready() -> None:
        if first:  # all that was given is checked: what is there may be replaced
            state.folder.mkdir(parents=True, exist_ok=True)
            if not resume:
                _open(state.folder, state.settings, resume, overwrite)  # another may have begun
                overwriting.set_aside(state.folder, _of_seeds)
        state.write()

    try:
        result = train(
            model,
            rows,
            config.model_copy(update={"seed": seed}),
            own,
            eval_data=dev,
            resume=begun,
            overwrite=own.is_dir() and not begun,
            ready=ready,
        )
    except BaseException:
        if first and state.folder.is_dir() and not can_go_on(own):
            _give_up(state.folder)
        raise
    overwriting.drop(state.folder)
    return {
        "steps": result.steps,
        "best_step": result.best_step,
        "best_score": result.best_score,
        "stopped": result.stopped,
        "dev": result.dev,
    }


def _of_seeds(path: Path) -> bool:
    return path.name == FILE or (path.name.startswith("seed-") and path.is_dir())


def _give_up(folder: Path) -> None:
    """Leave the folder of seeds as it was before the first of them, which left nothing."""
    if (folder / overwriting.REPLACED).is_dir():
        overwriting.bring_back(folder, _of_seeds)
    elif not any(folder.glob("seed-*")):
        (folder / FILE).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _held_out_summary(runs: dict[int, dict[str, Any]]) -> dict[str, Any] | None:
    """What the seeds' best steps have in common on the pairs held out; None without any."""
    scores = [run["best_score"] for run in runs.values()]
    figures = {run.get("dev") for run in runs.values()}
    if None in figures or None in scores or len(scores) < 2:
        return None
    return {
        "figure": figures.pop(),
        "chosen_on_it": True,
        "scores": {f"seed-{seed}": score for seed, score in zip(runs, scores, strict=True)},
        "mean": statistics.mean(scores),
        "sd": statistics.stdev(scores),
    }


def _score(folder: Path, config: TrainConfig, dev: PairTask) -> STSResult:
    """The chosen model of a seed on the dev set, as its training scored it."""
    try:
        return evaluate(load_trained(folder, config), [dev], name=folder.name)
    except InputError as error:
        raise InputError(f"{folder.name}: {error}") from error


def _as_json(dev: PairTask, results: list[STSResult], sure: STSIntervals) -> dict[str, Any]:
    scores = [result.tasks[dev.name].spearman for result in results]
    interval = sure.tasks.get(dev.name)
    return {
        "task": dev.name,
        "split": dev.split,
        "source": dev.source,
        "n": len(dev),
        "scale": results[0].protocol["scale"],
        "chosen_on_it": True,
        "spearman": {result.model: score for result, score in zip(results, scores, strict=True)},
        "mean": sum(scores) / len(scores),
        "sd": sure.sd.get(dev.name),
        "interval": None if interval is None else [interval.low, interval.high],
        "level": sure.level,
        "draws": sure.draws,
    }
