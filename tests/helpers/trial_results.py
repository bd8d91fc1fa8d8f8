"""A small trial's result, as values: nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from simcse_kit.evaluation.statistics import Comparison, Interval
from simcse_kit.training import Measured, RecipeResult, TrialResult

MADE: dict[str, Any] = {
    "command": "simcse-kit trial --recipes plain,better",
    "date": "2026-01-02",
    "hardware": {"cpu": "a processor", "threads": 2},
    "versions": {"simcse-kit": "1.2", "torch": "2.9"},
}


def measured(*scores: float) -> Measured:
    middle = sum(scores) / len(scores)
    if len(scores) == 1:
        return Measured(middle)
    return Measured(middle, 0.25, Interval(middle - 0.5, middle + 0.5, 0.95))


def difference(points: float, half: float) -> Comparison:
    p_value = 0.001 if half < abs(points) else 0.4
    return Comparison(points, Interval(points - half, points + half, 0.95), p_value, 2 * p_value)


def recipe(name: str, *scores: float, place: int = 0, **more: Any) -> RecipeResult:
    runs = {
        42 + number: {"steps": 500, "best_step": 400, "score": score, "stopped": None}
        for number, score in enumerate(scores)
    }
    figures: dict[str, Any] = {"dev": measured(*scores)} if scores else {}
    if scores:
        figures |= {
            "alignment": 0.2 + place / 50,
            "uniformity": -2.2 - place / 7,
            "effective_rank": 120.0 + place,
            "sentences_per_second": 1234.5 - 50 * place,
            "peak_memory_mib": 900.0 + place,
        }
    return RecipeResult(name, runs=runs, **({"needs": (), "settings": {}} | figures | more))


def small_trial(better: str = "better", **changes: Any) -> TrialResult:
    """Four recipes: one better than the first, one that cannot be told from it, one that failed."""
    result = TrialResult(
        Path("/private/trial"),
        (
            recipe(
                *(better, 77.0, 77.5, 78.0),
                place=1,
                difference=difference(2.5, 1.0),
                needs=("hard negatives", "a teacher"),
                settings={"temperature": 0.1, "objective": {"name": "info_nce", "beta": 2}},
            ),
            recipe("near", 75.0, 75.6, place=2, difference=difference(0.3, 1.1)),
            recipe("plain", 74.8, 75.0, 75.2),
            recipe("broken", left_off="seed 42 failed: the weights are not finite"),
        ),
        baseline="plain",
        model="a-model",
        data="texts.txt",
        rows=32_000,
        figure="STSB-dev Spearman",
        pairs=1500,
        suite=(),
        seeds=3,
        level=0.95,
        draws=10_000,
        rule=None,
        unfit={"labels": "text rows have no labels"},
        missing=None,
        made=MADE,
    )
    return replace(result, **changes)
