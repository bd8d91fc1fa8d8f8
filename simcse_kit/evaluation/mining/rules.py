"""Which of an anchor's nearest candidates are its hard negatives. Arrays only.

Named and meant as in sentence-transformers' ``mine_hard_negatives``, where it has them. Near texts
that nobody labelled are often positives (Qu et al. 2021, arXiv 2010.08191, section 3.2: 70 % of the
best-ranked passages of MS MARCO); what keeps them out are ranks left out, bounds, margins to the
positive (de Souza et al. 2024, arXiv 2407.15831: at most 95 % of the positive's score, a relative
margin of 0.05), and a second encoder that is asked (GISTEmbed: Solatorio 2024, arXiv 2402.16829).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from simcse_kit.errors import InputError

#: Nearest candidates looked at for each negative, where `range_max` does not say how many.
_DEPTH = 10


@dataclass(frozen=True)
class Rules:
    """What is a hard negative, and how many are taken; scores are cosines.

    Attributes:
        num_negatives: taken of each anchor, if so many are left.
        range_min: so many of the nearest that the other rules leave are passed over.
        range_max: nearest candidates looked at; None is 10 for each negative, after `range_min`.
        max_score, min_score: bounds to a negative's score, both allowed.
        absolute_margin: a negative's score is at least so much below the positive's.
        relative_margin: at least this share of the positive's magnitude below it:
            ``p - margin · |p|``, which is below p whatever its sign.
        guide_margin: where there is a guide, what it scores above its own score of the positive
            less this is taken out.
        sampling_strategy: the nearest that are left, or any of them at random.
        seed: of the random ones, which depend on it and the anchor's number alone.

    Of an anchor with several positives the lowest score counts.

    Raises:
        InputError: a number that is none, or no rank left between `range_min` and `range_max`.
    """

    num_negatives: int = 3
    range_min: int = 0
    range_max: int | None = None
    max_score: float | None = None
    min_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    guide_margin: float = 0.0
    sampling_strategy: Literal["top", "random"] = "top"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("num_negatives", 1), ("range_min", 0), ("seed", 0)):
            _check(name, getattr(self, name), least)
        if self.range_max is not None:
            _check("range_max", self.range_max, 1)
        for name in ("max_score", "min_score", "absolute_margin", "relative_margin"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise _wrong(name, value, "a finite number")
        if not math.isfinite(self.guide_margin):
            raise _wrong("guide_margin", self.guide_margin, "a finite number")
        if self.sampling_strategy not in ("top", "random"):
            raise _wrong("sampling_strategy", self.sampling_strategy, "top or random")
        for name in ("absolute_margin", "relative_margin"):
            if (getattr(self, name) or 0.0) < 0:
                raise _wrong(name, getattr(self, name), "0 or more, or negatives may be positives")
        self._check_bounds()

    def _check_bounds(self) -> None:
        low, high = self.min_score, self.max_score
        if low is not None and high is not None and low > high:
            raise _complaint(f"min_score {low:g} is above max_score {high:g}; no score is between")
        between = self.depth - self.range_min
        if between < self.num_negatives:
            raise _complaint(
                f"range_min {self.range_min} and range_max {self.depth} leave {max(0, between)}"
                f" ranks for {self.num_negatives} negatives; raise range_max, or lower range_min or"
                " num_negatives"
            )

    @property
    def depth(self) -> int:
        """How many of the nearest candidates are looked at."""
        if self.range_max is not None:
            return self.range_max
        return self.range_min + _DEPTH * self.num_negatives


def _check(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _wrong(name, value, f"a whole number from {least}")


def _wrong(name: str, value: object, wanted: str) -> InputError:
    return _complaint(f"{name} is {value}; it must be {wanted}")


def _complaint(sentence: str) -> InputError:
    return InputError(sentence, command_line=as_options(sentence))


def as_options(sentence: str) -> str:
    """A sentence that names fields of `Rules`, with the command line's options in their place."""
    for field in fields(Rules):
        sentence = re.sub(rf"\b{field.name}\b", f"--{field.name.replace('_', '-')}", sentence)
    return sentence


@dataclass(frozen=True, eq=False)
class Scored:
    """Cosines of N anchors with their W nearest candidates, float64 (N, W), −inf for none; and the
    lowest of each anchor's positives, float64 (N,).
    """

    candidates: np.ndarray
    positive: np.ndarray


@dataclass(frozen=True, eq=False)
class Choice:
    """What is taken of N anchors' W candidates, and what became of the rest.

    Attributes:
        columns: int64 (N, num_negatives), in descending order of score; −1 where none is left.
        looked_at: candidates that there were.
        taken_out: how many each rule took of what those before it had left, in their order, and
            last those that were left and not needed.
    """

    columns: np.ndarray
    looked_at: int
    taken_out: dict[str, int]


def choose(scored: Scored, rules: Rules, guide: Scored | None = None, *, first: int = 0) -> Choice:
    """Apply the rules one after the other.

    Args:
        scored: the nearest first.
        guide: the same candidates as the guide scores them.
        first: the number of the first of these anchors, for random choices.
    """
    left = np.isfinite(scored.candidates)
    looked_at = int(left.sum())
    taken: dict[str, int] = {}
    for name, out in _taken_out(scored, rules, guide):
        taken[name] = int((left & out).sum())
        left &= ~out
    if rules.range_min:
        ahead = left.cumsum(axis=1) <= rules.range_min
        taken["range_min"] = int((left & ahead).sum())
        left &= ~ahead
    if rules.sampling_strategy == "random":
        chosen = _drawn(left, rules, first)
    else:
        chosen = left & (left.cumsum(axis=1) <= rules.num_negatives)
    taken["not_needed"] = int(left.sum() - chosen.sum())
    columns = np.full((len(left), rules.num_negatives), -1, dtype=np.int64)
    rows, where = np.nonzero(chosen)
    columns[rows, (chosen.cumsum(axis=1) - 1)[rows, where]] = where
    return Choice(columns, looked_at, taken)


def _taken_out(
    scored: Scored, rules: Rules, guide: Scored | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The name of each rule that is set, and which candidates it takes out, bool (N, W)."""
    scores, positive = scored.candidates, scored.positive[:, None]
    if rules.absolute_margin is not None:
        yield "absolute_margin", scores + rules.absolute_margin > positive
    if rules.relative_margin is not None:
        yield "relative_margin", scores > positive - rules.relative_margin * np.abs(positive)
    if rules.max_score is not None:
        yield "max_score", scores > rules.max_score
    if rules.min_score is not None:
        yield "min_score", scores < rules.min_score
    if guide is not None:
        yield "guide", guide.candidates > guide.positive[:, None] - rules.guide_margin


def _drawn(left: np.ndarray, rules: Rules, first: int) -> np.ndarray:
    """Up to `num_negatives` of each anchor's, drawn without replacement."""
    drawn = np.zeros_like(left)
    for row, there in enumerate(left):
        (columns,) = np.nonzero(there)
        draw = np.random.default_rng([rules.seed, first + row])
        drawn[row, draw.permutation(columns)[: rules.num_negatives]] = True
    return drawn
