"""One run of a trial, in a process of its own: trained, then judged; and whether it could be."""

from __future__ import annotations

import contextlib
import logging
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simcse_kit.compute import logger_level, peak_memory
from simcse_kit.data import Rows
from simcse_kit.encoder import CachedEncoder, SentenceEncoder, VectorCache
from simcse_kit.errors import FULL, explain
from simcse_kit.evaluation import embed
from simcse_kit.evaluation.sts import PairTask, evaluate
from simcse_kit.geometry import effective_rank
from simcse_kit.training.dev import DevSet, ScoredPairs, judged_on
from simcse_kit.training.rows.training_set import reading_once
from simcse_kit.training.run import train
from simcse_kit.training.runs.folder import read_ended
from simcse_kit.training.runs.result import TrainResult
from simcse_kit.training.settings.config import TrainConfig

#: What the dev set's items are kept as, beside those of the suite's tasks by their names.
DEV = "dev"
#: What says how a run goes: a line an evaluation. Its settings are the trial's to tell, once.
_COURSE = ("simcse_kit.training.trainer", "simcse_kit.training.progress")
_MIB = 1 << 20


@dataclass(frozen=True)
class Job:
    """A run to be made: what `train` takes, and the tasks of the suite to judge it on."""

    model: str
    rows: Rows
    config: TrainConfig
    folder: Path
    dev: PairTask | None
    suite: tuple[PairTask, ...] = ()
    resume: bool = False
    cache: VectorCache | None = None

    def dev_set(self) -> DevSet:
        """What the run is judged on; quietly, for training says what is to be said of it."""
        with _quiet():
            _, dev = judged_on(self.rows, self.dev, self.config)
        assert dev is not None
        return dev

    def keys(self) -> dict[str, str]:
        """The data sets it is judged on, each with what tells it from others."""
        suite = {task.name: ScoredPairs(task).key for task in self.suite}
        return {DEV: self.dev_set().key} | suite


@dataclass(frozen=True)
class Judged:
    """What a run came to.

    Attributes:
        run: how it ended, as ``seeds.json`` has it.
        figures: of the chosen model: ``score`` (the dev figure), ``suite``, ``alignment``,
            ``uniformity``, ``effective_rank``; those that there are.
        cost: ``sentences_per_second``, ``peak_memory_mib``, ``peak_gpu_mib``; those that are known.
        items: what the model makes of each pair, by data set.
    """

    run: dict[str, Any]
    figures: dict[str, float]
    cost: dict[str, float]
    items: dict[str, np.ndarray]


@dataclass(frozen=True)
class Failed:
    """Why a run that could be begun has come to nothing."""

    why: str


def train_and_judge(job: Job) -> Judged | Failed:
    """Train one run, or go on with it, and judge the model it chose.

    A recipe whose weights or whose space break down is a result; what is wrong with the machine,
    a full disk or a bug, is raised.
    """
    had_ended = read_ended(job.folder) is not None
    try:
        with _quiet(but=_COURSE):
            result = train(
                job.model,
                job.rows,
                job.config,
                job.folder,
                eval_data=job.dev,
                resume=job.resume,
                overwrite=not job.resume and job.folder.is_dir(),
            )
        cost = {} if had_ended else _memory()  # before the suite takes its own
        figures, items = judge(result.encoder, job)
    except Exception as error:
        sentence = explain(error)
        if sentence is None or FULL in sentence or isinstance(error.__cause__ or error, OSError):
            raise
        return Failed(sentence)
    return Judged(_told(result), figures, cost | _speed(result), items)


def judge(encoder: SentenceEncoder, job: Job) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Figures of a model, and what it makes of each pair.

    Raises InputError where its space has collapsed.
    """
    if job.cache is not None:
        encoder = CachedEncoder.of(encoder, job.cache)
    dev = job.dev_set()
    found = dev.score(encoder)
    figures = {"score": found[dev.figure]}
    figures |= {
        name: found[f"eval_{name}"]
        for name in ("alignment", "uniformity")
        if f"eval_{name}" in found
    }
    with _quiet():
        figures["effective_rank"] = effective_rank(embed(encoder, list(dev.texts)))
        items = {DEV: dev.items}
        if job.suite:
            result = evaluate(encoder, job.suite, suite=[task.name for task in job.suite])
            figures["suite"] = result.average
            items |= result.cosines
    return figures, items


def _told(result: TrainResult) -> dict[str, Any]:
    names = ("steps", "best_step", "best_score", "stopped", "dev")
    return {name: getattr(result, name) for name in names}


def _memory() -> dict[str, float]:
    """The most memory so far: of the process, whatever it is for, and of its tensors on a GPU."""
    found = {"peak_memory_mib": peak_memory() / _MIB}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / _MIB
    return found


def _speed(result: TrainResult) -> dict[str, float]:
    """The median of what the log says of training alone, its first entry left out: it warms up."""
    name = "sentences_per_second"
    rates = [float(entry[name]) for entry in result.history if name in entry]
    return {name: statistics.median(rates[1:] or rates)} if rates else {}


# ---- whether runs could be begun -----------------------------------------------------------------


class _Begun(Exception):
    """All that a run is given is checked."""


def misfits(jobs: Mapping[str, Job]) -> dict[str, str]:
    """Why jobs cannot be run, by their names: each as far as `train` checks before it writes."""
    found = {}
    with tempfile.TemporaryDirectory() as nowhere, _quiet(), reading_once():
        for name, job in jobs.items():
            try:
                train(
                    job.model,
                    job.rows,
                    job.config,
                    Path(nowhere) / "run",
                    eval_data=job.dev,
                    ready=_begun,
                )
            except _Begun:
                continue
            except Exception as error:
                sentence = explain(error)
                if sentence is None:
                    raise
                found[name] = sentence
    return found


def _begun() -> None:
    raise _Begun


@contextlib.contextmanager
def _quiet(*, but: Sequence[str] = ()) -> Iterator[None]:
    """Without notes: what a run itself says, or what is the same in every run of a trial.

    Args:
        but: loggers whose notes, with all warnings, are kept; without any, errors alone are.
    """
    ours = logger_level("simcse_kit")
    shown = ours.chosen or logging.getLogger().getEffectiveLevel()
    with contextlib.ExitStack() as held:
        held.enter_context(ours.held(logging.WARNING if but else logging.ERROR))
        for name in but:
            held.enter_context(logger_level(name).held(shown))
        yield


def with_seed(job: Job, seed: int, folder: Path, *, resume: bool) -> Job:
    """The same job with a seed of its own."""
    config = job.config.model_copy(update={"seed": seed})
    return replace(job, config=config, folder=folder, resume=resume)
