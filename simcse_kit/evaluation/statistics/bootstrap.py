"""Every task's pairs resampled once, with all models on the same resamples. Arrays only.

`bootstrap` is the costly part; what is read off its draws is in `intervals` and `seeds`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics.influence import influence
from simcse_kit.evaluation.statistics.resampling import resampled_spearman, spearman
from simcse_kit.evaluation.statistics.sharing import (
    are_shared,
    design_effect,
    shared_covariance,
    student,
)

_THREADS = 4
_ALMOST = 1 - 1e-12  # Fisher's z of 1 is infinite
# Sums of the cubes of ranks must stay below 2⁶³.
_MOST_PAIRS = 1_000_000


@dataclass(frozen=True, eq=False)
class PairScores:
    """What M models made of the N pairs of one task.

    Args:
        gold: (N,) gold scores.
        scores: (M, N) cosines or other scores, a row a model, the same models in every task;
            (N,) is one model.
        sentences: (N, 2) numbers of the two sentences of each pair, the same sentence having the
            same number in every task; without them pairs are taken for independent.
        parts: where a task's figure is a mean over subsets, each with its weight (scaled to
            sum to 1); by default one correlation over all pairs.

    Raises:
        InputError: fewer than 3 pairs, shapes that do not match, scores that are constant or not
            finite.
    """

    gold: np.ndarray
    scores: np.ndarray
    sentences: np.ndarray | None = None
    parts: tuple[tuple[slice, float], ...] = ((slice(None), 1.0),)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gold", _numbers(self.gold, "gold scores"))
        scores = np.atleast_2d(_numbers(self.scores, "scores"))
        object.__setattr__(self, "scores", scores)
        if self.gold.ndim != 1 or scores.shape[1:] != self.gold.shape or not len(scores):
            raise InputError(
                f"Scores of shape {scores.shape} do not match gold scores of shape"
                f" {self.gold.shape}: each model needs one score a pair."
            )
        if self.sentences is not None and np.shape(self.sentences) != (len(self.gold), 2):
            raise InputError(
                f"The sentences of {len(self.gold)} pairs have the shape"
                f" {np.shape(self.sentences)}: each pair needs the numbers of its two."
            )
        total = sum(weight for _, weight in self.parts)
        if total <= 0 or min(weight for _, weight in self.parts) < 0:
            raise InputError("A task's parts need weights ≥ 0, and one of them above it.")
        parts = tuple((part, weight / total) for part, weight in self.parts)
        object.__setattr__(self, "parts", parts)
        for part, _ in parts:
            _check_part(scores[:, part], self.gold[part])


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure of M models: as observed (M,), and on B resamples shared by them (B, M).

    Spearman ×100 of a task, or the mean over several. `independent` and `sharing` (M, M) are its
    linearised covariances where pairs are independent, and where those that share a sentence are
    not; None where that is not asked for. Of figures from 0 to 100, as shares are, `items` is how
    many items they are over, of which `alike` at most tell as much as one; `freedom` is how many
    degrees of it their draws' spread has where that matters.
    """

    observed: np.ndarray
    draws: np.ndarray
    independent: np.ndarray | None = None
    sharing: np.ndarray | None = None
    items: float | None = None
    alike: float = 1.0
    freedom: int | None = None

    @property
    def clustered(self) -> bool:
        """Whether pairs that share a sentence were taken together."""
        return self.sharing is not None

    def row(self, model: int) -> np.ndarray:
        """1 at the model's row, else 0: (M,). Raises InputError where there is no such row."""
        models = len(self.observed)
        if not 0 <= model < models:
            raise InputError(f"There is no model {model}: the figure has rows 0 to {models - 1}.")
        return np.eye(models)[model]

    def combine(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """The weighted sum over models, `weights` (M,): observed, and its draws (B,).

        For pairs that share a sentence the draws are spread about the observed value by the root
        of the design effect of this very sum (`sharing.design_effect`), as far as such a sum can
        be; of one model by Fisher's z, so that they stay between −100 and 100. Draws of few items
        are spread by what they lack of Student's t, N / (N − 1) in variance and the ratio of the
        quantiles: the expanded percentile interval of Hesterberg (2015, The American Statistician
        69:371–386).
        """
        observed, draws = float(self.observed @ weights), self.draws @ weights
        effect = self._effect(weights)
        if effect == 1:
            return observed, draws
        reach, most = effect**0.5, 100 * float(np.abs(weights).sum())
        if np.count_nonzero(weights) > 1:
            apart = most / 2 if self.items is not None else most  # 100 and 0, or 100 and −100
            return observed, np.clip(observed + reach * (draws - observed), -apart, apart)
        middle, z = (np.arctanh(np.clip(x / most, -_ALMOST, _ALMOST)) for x in (observed, draws))
        return observed, most * np.tanh(middle + reach * (z - middle))

    def _effect(self, weights: np.ndarray) -> float:
        """How many times the draws' variance of a weighted sum is too small, at least 1."""
        if self.independent is not None and self.sharing is not None:
            independent = float(weights @ self.independent @ weights)
            sharing = float(weights @ self.sharing @ weights)
            return design_effect(independent, sharing, self.items, self.alike)
        if self.freedom is None:
            return 1.0
        return (self.freedom + 1) / self.freedom * student(self.freedom) ** 2

    def covariance(self) -> np.ndarray:
        """Of the M figures over other test pairs: (M, M), zeros where there are no draws."""
        if not len(self.draws):
            return np.zeros((len(self.observed), len(self.observed)))
        centred = self.draws - self.draws.mean(axis=0)
        covariance: np.ndarray = centred.T @ centred / (len(centred) - 1)
        if self.independent is not None and self.sharing is not None:
            covariance += self.sharing - self.independent
        return covariance


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The Spearman ×100 of M models on each task: observed (M,), and on its resamples (B, M)."""

    tasks: Mapping[str, PairScores]
    observed: Mapping[str, np.ndarray]
    draws: Mapping[str, np.ndarray]
    _made: dict[tuple[tuple[str, ...], bool | None], Figure] = field(
        default_factory=dict, init=False, repr=False
    )  # one for all contenders: what it warns of is said once

    def figure(
        self, names: Sequence[str] | None = None, *, clustered: bool | None = None
    ) -> Figure:
        """The mean over the named tasks, all by default; of one task, its own figure.

        Tasks are resampled apart from each other, so a draw of the average is over one resample
        of each: the stratified bootstrap. Resamples in which some figure does not exist, because
        all that was drawn is tied, are left out.

        Args:
            clustered: pairs that share a sentence, in any of the tasks, are not independent (and
                three quarters of STS-B's test pairs occur in STS12–16 too). This widens what is
                read off the draws as `sharing.shared_covariance` says. By default where some
                sentence is shared; False takes all pairs for independent.

        Raises:
            InputError: unknown or no task, no figure in half of the resamples, and for True tasks
                without `sentences` or with few in most pairs.
        """
        chosen = list(self.tasks) if names is None else list(names)
        unknown = [name for name in chosen if name not in self.tasks]
        if unknown or not chosen:
            raise InputError(
                f"{unknown[0] if unknown else 'Nothing'} was not resampled: name some of"
                f" {', '.join(self.tasks)}."
            )
        wanted = tuple(chosen), clustered
        if wanted not in self._made:
            self._made[wanted] = self._figure(chosen, clustered)
        return self._made[wanted]

    def _figure(self, chosen: Sequence[str], clustered: bool | None) -> Figure:
        observed = np.mean([self.observed[name] for name in chosen], axis=0)
        draws = np.mean([self.draws[name] for name in chosen], axis=0)
        kept = draws[np.isfinite(draws).all(axis=1)]
        if 2 * len(kept) < len(draws):
            raise InputError(
                f"Most resamples of {', '.join(chosen)} are constant and have no correlation: there"
                " are too few different scores for an interval."
            )
        sentences = None if clustered is False else self._sentences(chosen, clustered is None)
        if sentences is None or not (clustered or are_shared(sentences)):
            return Figure(observed, kept)
        shares = np.concatenate([_shares(self.tasks[name]) for name in chosen], axis=1)
        shares /= len(chosen)
        strict = clustered is True
        sharing = shared_covariance(shares, sentences, ", ".join(chosen), strict=strict)
        return Figure(observed, kept, shares @ shares.T, sharing)

    def _sentences(self, names: Sequence[str], may_lack: bool) -> np.ndarray | None:
        """Both sentences of all pairs of the tasks (N, 2); None where a task does not tell."""
        pairs = []
        for name in names:
            sentences = self.tasks[name].sentences
            if sentences is None and may_lack:
                return None
            if sentences is None:
                raise InputError(
                    f"{name} does not say which sentences its pairs are of: give `sentences`, or"
                    " take its pairs for independent."
                )
            pairs.append(np.asarray(sentences))
        return np.concatenate(pairs)


def bootstrap(tasks: Mapping[str, PairScores], *, draws: int = 10_000, seed: int = 0) -> Bootstrap:
    """Resample the pairs of each task with replacement, all models on the same resamples.

    Args:
        draws: number of resamples.
        seed: of the generators; the same seed gives the same bits. A task's draws depend on its
            name, gold and scores alone, not on the tasks beside it.

    Raises:
        InputError: no task, or another number of models in one.
    """
    if not tasks:
        raise InputError("There is no task to resample: give at least one.")
    if draws < 1 or seed < 0:
        raise InputError(f"{draws} draws with seed {seed}: draws start at 1, and seeds at 0.")
    models = {name: len(task.scores) for name, task in tasks.items()}
    if len(set(models.values())) > 1:
        raise InputError(
            f"The tasks have scores of different numbers of models ({models}): every model needs"
            " scores in every task."
        )
    # numpy lets other threads run while it counts and sums, and each task has its own generator.
    with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1)) as threads:
        each = threads.map(lambda name: _resample(name, tasks[name], draws, seed), tasks)
        resampled = dict(zip(tasks, each, strict=True))
    observed = {name: _observe(task) for name, task in tasks.items()}
    return Bootstrap(dict(tasks), observed, resampled)


def _observe(task: PairScores) -> np.ndarray:
    """The task's figure (M,)."""
    parts = [spearman(task.scores[:, part], task.gold[part]) for part, _ in task.parts]
    figure: np.ndarray = np.average(parts, axis=0, weights=[weight for _, weight in task.parts])
    return figure


def _resample(name: str, task: PairScores, draws: int, seed: int) -> np.ndarray:
    """Draws (B, M) of a task's figure, each part from a stream of its own."""
    total = np.zeros((draws, len(task.scores)))
    for number, (part, weight) in enumerate(task.parts):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        total += weight * resampled_spearman(task.scores[:, part], task.gold[part], draws, rng)
    return total


def _shares(task: PairScores) -> np.ndarray:
    """By how much each pair moves the task's figure, to first order: (M, N)."""
    shares = np.zeros(task.scores.shape)
    for part, weight in task.parts:
        gold = task.gold[part]
        shares[:, part] += weight * influence(task.scores[:, part], gold) / len(gold)
    return shares


def _numbers(values: np.ndarray, what: str) -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"The {what} are no array of numbers: {error}.") from error
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} of the {what} are NaN or infinite, and have no rank: every pair"
            " needs a finite number."
        )
    return numbers


def _check_part(scores: np.ndarray, gold: np.ndarray) -> None:
    n = len(gold)
    if not 3 <= n <= _MOST_PAIRS:
        raise InputError(
            f"There are {n:,} pairs: a correlation needs from 3 to {_MOST_PAIRS:,} of them."
        )
    if np.ptp(gold) == 0:
        raise InputError(
            f"All {n:,} gold scores are {gold[0]:g}: constant scores have no correlation."
        )
    constant = np.flatnonzero(np.ptp(scores, axis=1) == 0)
    if len(constant):
        raise InputError(
            f"Model {constant[0] + 1} gives all {n:,} pairs the same score,"
            f" {scores[constant[0], 0]:g}, which has no correlation with anything."
        )
