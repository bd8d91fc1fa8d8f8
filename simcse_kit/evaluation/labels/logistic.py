"""Logistic regression whose strength is chosen on held-out examples. Arrays only.

scikit-learn's `LogisticRegression`: softmax over the classes, an L2 penalty that spares the
intercept. Its `C` is the strength: the inverse weight of the penalty, against the summed loss.
Two classes are solved by Newton's method, which needs no more steps where features differ in scale,
as a raw encoder's do; more classes by L-BFGS, for the size of Newton's matrix grows with their
square.

Hundreds of small fits go fold by fold to all cores, each on one thread, so that the same data give
the same bits on any number of cores. On all of the training examples the strengths go from weak to
strong, each starting from the solution before it. Without a fold, Newton's method starts from the
solution with it, which is near: it lands on the optimum in a step or two from anywhere close.
L-BFGS creeps up and stops at a tolerance, where a start that has seen the fold could be told, so
there the strengths of a fold start from one another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.repeats import first_rows, rows_of
from simcse_kit.geometry import finite_rows

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# Of the mean loss's gradient. The default, 1e-4, stops a fit that starts near its solution at once.
TOLERANCE = 1e-5
MOST_ITERATIONS = 1000
SOLVERS = "newton-cholesky (two classes), lbfgs (more)"

Fold = tuple[np.ndarray, np.ndarray]  # rows to train on, rows held out
Solution = tuple[np.ndarray, np.ndarray]  # coefficients (1 or classes, D), intercepts
T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """The strength (C) with the best accuracy ×100 on held-out examples."""

    strength: float
    accuracy: float


def as_features(rows: Any, name: str) -> np.ndarray:
    """Rows (N, D) as float32, checked, ready for many fits; their lengths stay as they are.

    Raises InputError, naming `name`, for what is not (N, D) or not finite.
    """
    features: np.ndarray = finite_rows(rows, name).cpu().numpy()
    # Less than a rounding error of the others; but products of such numbers are subnormal, and
    # those slow linear algebra several times. Some encoders have dimensions of them.
    negligible = np.abs(features) < 1e-12 * np.abs(features).max()
    return np.where(negligible, np.float32(0), features)


def stratified_folds(
    labels: np.ndarray, folds: int, seed: int, groups: np.ndarray | None = None
) -> list[Fold]:
    """Rows to train on and rows held out, shuffled, with every class in equal shares.

    Rows of one of the `groups` (N,) are in one fold; by default each row is its own.

    Raises InputError where a class has fewer examples than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    if folds < 2:
        raise InputError(f"Cross-validation needs at least 2 folds, not {folds}.")
    groups = np.arange(len(labels)) if groups is None else groups
    rows = first_rows(groups)
    sizes = np.bincount(labels[rows])
    sizes = sizes[sizes > 0]
    if sizes.min() < folds:
        raise InputError(
            f"The smallest class has {sizes.min()} example(s) to train on, fewer than the {folds}"
            " folds: take fewer folds, or leave the class out."
        )
    drawn = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [
        (rows_of(rows[train], groups), rows_of(rows[held], groups))
        for train, held in drawn.split(np.zeros(len(rows)), labels[rows])
    ]


def choose_by_folds(
    features: np.ndarray,
    labels: np.ndarray,
    folds: Sequence[Fold],
    strengths: Sequence[float],
    *,
    cores: int | None = None,
) -> Chosen:
    """The strength whose accuracy is best on average over the folds.

    Args:
        features: (N, D). labels: classes (N,), from 0.
        strengths: ascending; the weakest of those that are equal to 0.01 points is chosen.
        cores: to compute on; default all.
    """

    def path(_: None) -> list[Solution]:
        return [_solution(fit) for fit in _fits(features, labels, strengths)]

    starts = on_every_core(path, [None], cores)[0] if _is_newtons(labels) else None

    def held_out(fold: Fold) -> list[float]:
        train, held = fold
        fits = _fits(features[train], labels[train], strengths, starts)
        right = labels[held]
        there = features[held]
        return [float((fit.predict(there) == right).mean()) for fit in fits]

    return _best(strengths, np.mean(on_every_core(held_out, folds, cores), axis=0))


def choose_on(
    features: np.ndarray,
    labels: np.ndarray,
    held_features: np.ndarray,
    held_labels: np.ndarray,
    strengths: Sequence[float],
) -> Chosen:
    """The strength whose accuracy is best on one held-out set; `choose_by_folds` says the rest."""

    def held_out(one: Sequence[float]) -> float:
        (fit,) = _fits(features, labels, one)
        return float((fit.predict(held_features) == held_labels).mean())

    return _best(strengths, np.array(on_every_core(held_out, [[one] for one in strengths])))


def predict(
    features: np.ndarray,
    labels: np.ndarray,
    strength: float,
    test: np.ndarray,
    *,
    cores: int | None = None,
) -> np.ndarray:
    """Classes (M,) of `test` (M, D) after training on `features` (N, D) and `labels` (N,)."""

    def fitted(one: float) -> np.ndarray:
        (fit,) = _fits(features, labels, [one])
        return np.asarray(fit.predict(test))

    return on_every_core(fitted, [strength], cores)[0]


def _best(strengths: Sequence[float], shares: np.ndarray) -> Chosen:
    scores = (100 * shares).round(2)
    best = int(scores.argmax())
    return Chosen(strengths[best], float(scores[best]))


def _is_newtons(labels: np.ndarray) -> bool:
    return bool(labels.max() == 1)


def _solution(fit: LogisticRegression) -> Solution:
    """What a fit found, as a start for others."""
    return fit.coef_.copy(), fit.intercept_.copy()


def _fits(
    features: np.ndarray,
    labels: np.ndarray,
    strengths: Sequence[float],
    starts: Sequence[Solution] | None = None,
) -> Iterator[LogisticRegression]:
    """The classifier after each strength in turn, from its start or from the one before."""
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(
        solver="newton-cholesky" if _is_newtons(labels) else "lbfgs",
        tol=TOLERANCE,
        max_iter=MOST_ITERATIONS,
        warm_start=True,
    )
    for place, strength in enumerate(strengths):
        if starts is not None:
            fit.coef_, fit.intercept_ = starts[place]
        fit.set_params(C=strength).fit(features, labels)
        if fit.n_iter_.max() >= MOST_ITERATIONS:
            logger.warning(
                "logistic regression with C = %g stopped after %d iterations",
                *(strength, MOST_ITERATIONS),
            )
        yield fit


def on_every_core(
    work: Callable[[Any], T], items: Sequence[Any], cores: int | None = None
) -> list[T]:
    """`work` of each item, on `cores` threads, by default as many as linear algebra would take."""
    import warnings

    from joblib import Parallel, delayed
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_info, threadpool_limits

    threads = cores or max((pool["num_threads"] for pool in threadpool_info()), default=1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said above, once
        parallel = Parallel(n_jobs=min(threads, len(items)), prefer="threads")
        return list(parallel(delayed(work)(item) for item in items))
