"""The rules against a loop over candidates, one after the other."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from simcse_kit.errors import InputError
from simcse_kit.evaluation.mining.rules import Rules, Scored, choose


def scored(seed: int, n: int = 7, w: int = 12) -> Scored:
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.uniform(-1, 1, size=(n, w)), axis=1)
    scores[2, 5:], scores[3] = -np.inf, -np.inf  # fewer candidates, none
    scores[4, 2:6] = scores[4, 2]  # ties
    return Scored(scores, rng.uniform(-0.5, 1, size=n))


def naive(given: Scored, rules: Rules, guide: Scored | None) -> tuple[list[list[int]], dict]:
    taken: dict[str, int] = {}
    columns = []
    for row, (scores, p) in enumerate(zip(given.candidates, given.positive, strict=True)):
        left = []
        for column, score in enumerate(scores):
            if score == -np.inf:
                continue
            absolute, relative = rules.absolute_margin, rules.relative_margin
            if absolute is not None and score + absolute > p:
                rule = "absolute_margin"
            elif relative is not None and score > p - relative * abs(p):
                rule = "relative_margin"
            elif rules.max_score is not None and score > rules.max_score:
                rule = "max_score"
            elif rules.min_score is not None and score < rules.min_score:
                rule = "min_score"
            elif guide is not None and (
                guide.candidates[row, column] > guide.positive[row] - rules.guide_margin
            ):
                rule = "guide"
            else:
                left.append(column)
                continue
            taken[rule] = taken.get(rule, 0) + 1
        passed = left[: rules.range_min]
        if passed:
            taken["range_min"] = taken.get("range_min", 0) + len(passed)
        left = left[rules.range_min :]
        columns.append(left[: rules.num_negatives])
        taken["not_needed"] = taken.get("not_needed", 0) + len(left) - len(columns[-1])
    return columns, taken


SETTINGS: list[dict[str, Any]] = [
    {},
    {"range_min": 3},
    {"absolute_margin": 0.1},
    {"relative_margin": 0.05},
    {"relative_margin": 0.0, "max_score": 0.4},
    {"max_score": 0.5, "min_score": -0.2, "range_min": 1},
    {"absolute_margin": 0.05, "relative_margin": 0.2, "max_score": 0.3, "num_negatives": 1},
]


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_is_the_naive_loop(settings: dict[str, Any], guided: bool) -> None:
    rules = Rules(**settings, guide_margin=0.1 if guided else 0.0)
    given, guide = scored(0), None
    if guided:
        rng = np.random.default_rng(1)
        guide = Scored(rng.uniform(-1, 1, given.candidates.shape), rng.uniform(0, 1, 7))
    choice = choose(given, rules, guide)
    columns, taken = naive(given, rules, guide)
    assert [[c for c in row if c >= 0] for row in choice.columns.tolist()] == columns
    assert choice.columns.shape == (7, rules.num_negatives)
    assert {name: count for name, count in choice.taken_out.items() if count} == {
        name: count for name, count in taken.items() if count
    }
    assert choice.looked_at == np.isfinite(given.candidates).sum()
    chosen = int((choice.columns >= 0).sum())
    assert chosen + sum(choice.taken_out.values()) == choice.looked_at


def test_a_relative_margin_lies_below_a_positive_of_either_sign() -> None:
    given = Scored(np.array([[-0.49, -0.51, -0.56]]), np.array([-0.5]))
    assert choose(given, Rules(1, relative_margin=0.05)).columns.tolist() == [[2]]
    assert choose(given, Rules(1, relative_margin=0.0)).columns.tolist() == [[1]]


def test_random_ones_are_of_those_left_and_hang_on_seed_and_anchor_alone() -> None:
    given = Scored(np.tile(np.linspace(0.9, 0.0, 10), (400, 1)), np.ones(400))
    rules = Rules(3, range_min=1, max_score=0.85, sampling_strategy="random", seed=5)
    columns = choose(given, rules).columns
    assert columns.min() == 2 and (np.diff(columns, axis=1) > 0).all()
    counts = np.bincount(columns.ravel(), minlength=10)[2:]
    assert np.abs(counts - 150).max() < 5 * np.sqrt(400 * 3 / 8 * 5 / 8)
    some = Scored(given.candidates[100:110], given.positive[100:110])
    assert choose(some, rules, first=100).columns.tolist() == columns[100:110].tolist()
    other = Rules(**asdict(rules) | {"seed": 6})
    assert choose(given, other).columns.tolist() != columns.tolist()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_negatives": 0}, "--num-negatives is 0; it must be a whole number from 1"),
        ({"num_negatives": True}, "--num-negatives is True; it must be a whole number from 1"),
        ({"range_min": -1}, "--range-min is -1; it must be a whole number from 0"),
        ({"range_max": 0}, "--range-max is 0; it must be a whole number from 1"),
        ({"range_min": 5, "range_max": 7}, "--range-min 5 and --range-max 7 leave 2 ranks for 3"),
        ({"range_min": 9, "range_max": 7}, "leave 0 ranks for 3 negatives; raise --range-max"),
        ({"max_score": float("nan")}, "--max-score is nan; it must be a finite number"),
        ({"min_score": 0.5, "max_score": 0.4}, "--min-score 0.5 is above --max-score 0.4"),
        ({"absolute_margin": -0.1}, "--absolute-margin is -0.1; it must be 0 or more"),
        ({"relative_margin": -0.1}, "--relative-margin is -0.1; it must be 0 or more"),
        ({"guide_margin": float("inf")}, "--guide-margin is inf; it must be a finite number"),
        ({"sampling_strategy": "best"}, "--sampling-strategy is best; it must be top or random"),
        ({"seed": -1}, "--seed is -1; it must be a whole number from 0"),
    ],
)
def test_what_leaves_nothing_is_said_in_a_sentence(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as raised:
        Rules(**settings)
    assert says in raised.value.command_line and "--" not in str(raised.value)
