"""Few-shot classification: N classes of which K examples each are known. Arrays only.

An episode draws N classes, K examples of each to learn from and Q to be classified (Vinyals et al.
2016). The nearest centroid in cosine is the prototype of Snell et al. (2017) on unit vectors;
logistic regression on them is the baseline of Chen et al. (2019).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import bounded_mean
from simcse_kit.evaluation.task_result import Figure
from simcse_kit.geometry import normalize, whole_number

Classifier = Literal["centroid", "logistic"]


def few_shot(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    ways: int = 5,
    shots: int = 5,
    queries: int = 15,
    episodes: int = 600,
    classifier: Classifier = "centroid",
    seed: int = 0,
    show_progress: bool = False,
) -> np.ndarray:
    """Accuracy ×100 of each episode (E,). The same seed gives the same bits.

    Args:
        embeddings: (N, D), of which only the directions count.
        labels: classes (N,), whole numbers from 0. Those with fewer than shots + queries examples
            are not drawn.
        show_progress: a bar on stderr, when that is a terminal.

    Raises:
        InputError: too few classes with enough examples, sizes that are no whole numbers, rows that
            are zero or not finite.
    """
    if classifier not in get_args(Classifier):
        raise InputError(f"The classifier is centroid or logistic, not {classifier!r}.")
    episodes = whole_number(episodes, "the number of episodes", 2)
    unit = normalize(embeddings)
    large = large_classes(labels, ways, shots, queries)
    classify = _centroid if classifier == "centroid" else _logistic
    right = np.arange(ways)[:, None]
    accuracies = np.empty(episodes)
    # A generator for each episode: more episodes do not change the first ones.
    children = np.random.SeedSequence(seed).spawn(episodes)
    shown = None if show_progress else True
    for number, child in enumerate(tqdm(children, "few-shot", unit="episode", disable=shown)):
        rng = np.random.default_rng(child)
        drawn = [
            rng.choice(large[one], shots + queries, replace=False)
            for one in rng.choice(len(large), ways, replace=False)
        ]
        examples = unit[np.stack(drawn)]  # (ways, shots + queries, D)
        predicted = classify(examples[:, :shots], examples[:, shots:])
        accuracies[number] = 100 * (predicted == right).mean()
    return accuracies


def large_classes(labels: np.ndarray, ways: int, shots: int, queries: int) -> list[np.ndarray]:
    """The rows of each class that has enough examples for an episode.

    Raises InputError where there are fewer such classes than `ways`, and as `few_shot` for sizes.
    """
    ways = whole_number(ways, "the number of ways", 2)
    shots = whole_number(shots, "the number of shots", 1)
    queries = whole_number(queries, "the number of queries", 1)
    members = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    large = [rows for rows in members if len(rows) >= shots + queries]
    if len(large) < ways:
        raise InputError(
            f"{len(large)} class(es) of {len(members)} have the {shots} + {queries} examples of an"
            f" episode, fewer than the {ways} ways: lower ways, shots or queries."
        )
    return large


def _centroid(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Classes (W, Q) of `asked` (W, Q, D): the centroid of `known` (W, K, D) of highest cosine."""
    centroids = known.mean(axis=1)
    lengths = np.linalg.norm(centroids, axis=1, keepdims=True)
    centroids = np.divide(centroids, lengths, out=np.zeros_like(centroids), where=lengths > 0)
    nearest: np.ndarray = (asked @ centroids.T).argmax(axis=-1)
    return nearest


def _logistic(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The same by scikit-learn's logistic regression as it is: C = 1, L-BFGS."""
    from sklearn.linear_model import LogisticRegression

    ways, shots, dimension = known.shape
    fit = LogisticRegression(max_iter=1000)
    fit.fit(known.reshape(-1, dimension), np.repeat(np.arange(ways), shots))
    return np.asarray(fit.predict(asked.reshape(-1, dimension))).reshape(ways, -1)


def mean_accuracy(accuracies: np.ndarray, *, queries: int = 1, level: float = 0.95) -> Figure:
    """The mean over E episodes of `queries` each and its interval, between 0 and 100.

    Wilson's with the variance over episodes and Student's quantile: of many episodes it is that of
    Student's t, as the few-shot literature has it. It speaks of other episodes from the same
    examples: with many of them it is short, however few the examples.
    """
    interval = bounded_mean(accuracies, items_each=queries, level=level)
    return Figure(float(accuracies.mean()), interval)
