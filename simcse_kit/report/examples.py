"""Sentences that show what figures cannot: neighbours before and after, and the worst pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simcse_kit.evaluation.leakage import folded_words
from simcse_kit.evaluation.sts import PairTask

_QUERIES = 1000  # of those whose neighbours are counted
_SHORT, _LONG = 5, 14  # words of a sentence that is shown


@dataclass(frozen=True)
class Neighbour:
    """A sentence near another, with the cosine of the two."""

    text: str
    cosine: float


@dataclass(frozen=True)
class Neighbourhood:
    """The nearest sentences of `text`, model by model, nearest first."""

    text: str
    nearest: dict[str, tuple[Neighbour, ...]]


@dataclass(frozen=True)
class Neighbourhoods:
    """Some sentences with their neighbours, and how many of all neighbours stay.

    Attributes:
        shown: sentences drawn at random.
        pool: how many different sentences the neighbours are from, and `source` which.
        kept: of the `k` nearest by the first model, how many on average are by each other model
            too, over `queries` sentences drawn at random.
    """

    shown: tuple[Neighbourhood, ...]
    source: str
    pool: int
    k: int
    queries: int
    kept: dict[str, float]
    seed: int


@dataclass(frozen=True)
class Misjudged:
    """A pair that a model ranks far from where the annotators do.

    Attributes:
        gold_rank: share of the task's pairs the annotators put below it, 0 to 100.
        cosine, rank: of each model: its cosine, and the share of pairs it puts below.
    """

    task: str
    sentence1: str
    sentence2: str
    gold: float
    gold_rank: float
    cosine: dict[str, float]
    rank: dict[str, float]

    def off(self, model: str) -> float:
        """By how many percentiles the model ranks the pair too high, or (below 0) too low."""
        return self.rank[model] - self.gold_rank


def neighbourhoods(
    texts: Sequence[str],
    embeddings: Mapping[str, np.ndarray],
    source: str,
    *,
    shown: int = 3,
    nearest: int = 3,
    k: int = 10,
    seed: int = 0,
) -> Neighbourhoods | None:
    """Neighbours of a few sentences by each model, from `embeddings` (N, D) of the N `texts`.

    A sentence that differs from the query in case and punctuation alone is no neighbour. None
    where there are too few sentences to have any.
    """
    if len(texts) <= k + 1:
        return None
    units = {name: _unit(rows) for name, rows in embeddings.items()}
    folded = [" ".join(folded_words(text)) for text in texts]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(texts))
    fit = [row for row in order if _SHORT <= len(texts[row].split()) <= _LONG]
    drawn = (fit or list(order))[:shown]
    counted = np.sort(rng.permutation(len(texts))[:_QUERIES])
    sets = {name: _nearest_sets(unit, counted, k) for name, unit in units.items()}
    first = next(iter(sets.values()))
    kept = {
        name: float(np.mean([len(a & b) for a, b in zip(first, other, strict=True)]))
        for name, other in list(sets.items())[1:]
    }
    listed = tuple(
        Neighbourhood(
            texts[row],
            {name: _nearest(unit, row, texts, folded, nearest) for name, unit in units.items()},
        )
        for row in drawn
    )
    return Neighbourhoods(listed, source, len(texts), k, len(counted), kept, seed)


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _nearest(
    unit: np.ndarray, row: int, texts: Sequence[str], folded: Sequence[str], count: int
) -> tuple[Neighbour, ...]:
    cosines = unit @ unit[row]
    found: dict[str, Neighbour] = {}
    for other in np.argsort(-cosines, kind="stable"):
        if folded[other] != folded[row] and folded[other] not in found:
            found[folded[other]] = Neighbour(texts[other], float(cosines[other]))
        if len(found) == count:
            break
    return tuple(found.values())


def _nearest_sets(unit: np.ndarray, queries: np.ndarray, k: int) -> list[set[int]]:
    """The rows of the k nearest of each query, itself left out."""
    found: list[set[int]] = []
    for start in range(0, len(queries), 256):
        some = queries[start : start + 256]
        cosines = unit[some] @ unit.T
        cosines[np.arange(len(some)), some] = -np.inf
        found += [set(row) for row in np.argpartition(-cosines, k, axis=1)[:, :k].tolist()]
    return found


def misjudged(
    tasks: Sequence[PairTask],
    cosines: Mapping[str, Mapping[str, np.ndarray]],
    model: str,
    *,
    each: int = 3,
) -> tuple[tuple[Misjudged, ...], tuple[Misjudged, ...]]:
    """The pairs that `model` ranks most too high, and most too low, `each` of them.

    Ranks and not cosines, because ranks are what Spearman is of; each within its task. A pair
    that occurs in several tasks is listed once.

    Args:
        cosines: by model and task, (N,).
    """
    candidates = []
    for task in tasks:
        gold = _percentile(task.gold)
        off = _percentile(cosines[model][task.name]) - gold
        order = np.argsort(off, kind="stable")
        some = 4 * each + 8  # the same pairs come back in other tasks
        for row in {*order[:some].tolist(), *order[-some:].tolist()}:
            candidates.append((float(off[row]), task, row))
    candidates.sort(key=lambda found: (found[0], found[1].name, found[2]))
    high = [found for found in candidates[::-1] if found[0] > 0]
    low = [found for found in candidates if found[0] < 0]
    return _first_different(high, cosines, each), _first_different(low, cosines, each)


def _first_different(
    candidates: Sequence[tuple[float, PairTask, int]],
    cosines: Mapping[str, Mapping[str, np.ndarray]],
    count: int,
) -> tuple[Misjudged, ...]:
    found: dict[frozenset[str], Misjudged] = {}
    for _, task, row in candidates:
        pair = (task.sentence1[row], task.sentence2[row])
        key = frozenset(" ".join(folded_words(text)) for text in pair)
        if key in found:
            continue
        found[key] = Misjudged(
            task.name,
            *pair,
            gold=float(task.gold[row]),
            gold_rank=float(_percentile(task.gold)[row]),
            cosine={name: float(of[task.name][row]) for name, of in cosines.items()},
            rank={name: float(_percentile(of[task.name])[row]) for name, of in cosines.items()},
        )
        if len(found) == count:
            break
    return tuple(found.values())


def _percentile(values: np.ndarray) -> np.ndarray:
    """Mid-ranks as a share of all, 0 to 100: ties share theirs."""
    from scipy.stats import rankdata

    ranks: np.ndarray = 100 * (rankdata(values) - 0.5) / len(values)
    return ranks
