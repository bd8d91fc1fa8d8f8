"""Mining block by block: each becomes a few arrays, which are kept when it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.corpus import Barred, cosines_at, nearest
from simcse_kit.evaluation.mining.approximate import Approximate
from simcse_kit.evaluation.mining.pool import Pool
from simcse_kit.evaluation.mining.rules import Rules, Scored, choose
from simcse_kit.evaluation.mining.vectors import Vectors
from simcse_kit.evaluation.mining.workplace import Workplace

Index = Literal["exact", "faiss"]
#: From queries, a depth and what is barred to candidates and cosines, as `nearest` gives them.
Search = Callable[[np.ndarray, int, Barred], tuple[np.ndarray, np.ndarray]]
Arrays = Mapping[str, np.ndarray]

#: What stands before the name of a rule among a block's arrays.
TAKEN = "taken_out:"

_LAYOUT = 1  # of a block's arrays
_NUMBERS = 1 << 22  # candidates found for the anchors of a block, at most
_SAMPLE = 256  # anchors that tell how many of the nearest an index finds


@dataclass(frozen=True, eq=False)
class Plan:
    """What is mined and how.

    Attributes:
        vectors_keys: of all vectors that are used, the guide's too.
        block: anchors, and candidates, compared at a time.
    """

    pool: Pool
    rules: Rules
    vectors_keys: Sequence[str]
    index: Index
    block: int

    @property
    def key(self) -> str:
        """Of all that a block's arrays depend on."""
        told = [_LAYOUT, self.vectors_keys, asdict(self.rules), self.index, self.block]
        digest = hashlib.sha256(json.dumps(told).encode())
        digest.update(self.pool.anchor.tobytes())
        digest.update(self.pool.positive.tobytes())
        return digest.hexdigest()[:16]

    def starts(self) -> range:
        """The first anchor of each block: blocks are smaller where many candidates are found."""
        at_once = max(1, min(self.block, _NUMBERS // self.rules.depth))
        return range(0, len(self.pool.anchors), at_once)

    def pairs(self, start: int, stop: int) -> slice:
        """Which pairs are those of the anchors from `start` up to `stop`."""
        return slice(*np.searchsorted(self.pool.anchor, [start, stop]))


def search_by(plan: Plan, vectors: Vectors, place: Workplace) -> tuple[Search, float | None]:
    """How candidates are found; and of an index, the share of the nearest that it finds.

    The share is that of the `Rules.depth` nearest of 256 anchors, evenly taken.
    """

    def exact(queries: np.ndarray, depth: int, barred: Barred) -> tuple[np.ndarray, np.ndarray]:
        return nearest(queries, vectors.candidates, depth, barred, block=plan.block)

    if plan.index == "exact":
        return exact, None
    key = plan.vectors_keys[1]  # of the candidates
    search = Approximate(vectors.candidates, place.folder / f"index-{key}.faiss")
    count = len(plan.pool.anchors)
    some = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).round().astype(int))
    found = there = 0
    for number in some.tolist():
        one = slice(number, number + 1)
        asked, barred = vectors.anchors[one], plan.pool.barred.between(number, number + 1)
        (wanted,), _ = exact(asked, plan.rules.depth, barred)
        (given,), _ = search(asked, plan.rules.depth, barred)
        found += int(np.isin(wanted[wanted >= 0], given).sum())
        there += int((wanted >= 0).sum())
    return search, found / max(1, there)


def mined_blocks(
    plan: Plan,
    search: Search,
    vectors: Vectors,
    guide: Vectors | None,
    place: Workplace,
    *,
    show_progress: bool,
) -> Iterator[Arrays]:
    """The arrays of each block in order, from their files as far as these are there.

    negatives: int64 (n, num_negatives), candidates taken of each anchor, −1 behind the last.
    scores: float64 (n, num_negatives), their cosines, −inf there. positives: float64 (p,), the
    cosine of each pair. looked_at, and the counts of `Choice.taken_out`, named behind `TAKEN`.
    """
    key, starts = plan.key, plan.starts()
    bar = tqdm(
        total=len(plan.pool.anchors),
        unit="anchor",
        desc="mine",
        disable=None if show_progress else True,
    )
    with bar:
        for number, start in enumerate(starts):
            stop = min(start + starts.step, len(plan.pool.anchors))
            arrays: Arrays | None = place.block(key, number)
            if arrays is None:
                arrays = _mined(plan, search, vectors, guide, start, stop)
                place.finish(key, number, dict(arrays))
            yield arrays
            bar.update(stop - start)


def _mined(
    plan: Plan, search: Search, vectors: Vectors, guide: Vectors | None, start: int, stop: int
) -> Arrays:
    """The arrays of the anchors from `start` up to `stop`."""
    queries = np.asarray(vectors.anchors[start:stop])
    found, cosines = search(queries, plan.rules.depth, plan.pool.barred.between(start, stop))
    lowest = partial(_lowest, plan, start, stop)
    positives = _of_pairs(plan, vectors, start, stop)
    guided = None
    if guide is not None:
        candidates = cosines_at(guide.anchors[start:stop], guide.candidates, found)
        guided = Scored(candidates, lowest(_of_pairs(plan, guide, start, stop)))
    scored = Scored(cosines, lowest(positives))
    choice = choose(scored, plan.rules, guided, first=start)
    taken = choice.columns >= 0
    at = np.maximum(choice.columns, 0)
    return {
        "negatives": np.where(taken, np.take_along_axis(found, at, 1), -1),
        "scores": np.where(taken, np.take_along_axis(cosines, at, 1), -np.inf),
        "positives": positives,
        "looked_at": np.array(choice.looked_at),
    } | {f"{TAKEN}{name}": np.array(count) for name, count in choice.taken_out.items()}


def _of_pairs(plan: Plan, vectors: Vectors, start: int, stop: int) -> np.ndarray:
    """The cosine of each pair of these anchors, float64 (p,)."""
    some = plan.pairs(start, stop)
    queries, places = vectors.anchors[plan.pool.anchor[some]], plan.pool.positive[some, None]
    return cosines_at(queries, vectors.candidates, places)[:, 0]


def _lowest(plan: Plan, start: int, stop: int, scores: np.ndarray) -> np.ndarray:
    """Of the scores of the pairs the lowest of each anchor, float64 (stop − start,)."""
    anchors = plan.pool.anchor[plan.pairs(start, stop)]
    lowest: np.ndarray = np.minimum.reduceat(
        scores, np.searchsorted(anchors, np.arange(start, stop))
    )
    return lowest
