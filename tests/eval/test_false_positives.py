"""Tests of equal models err seldom, in brief; `false_positives` itself takes minutes."""

from __future__ import annotations

import pytest

from eval.quality import false_positives, interval_coverage
from eval.quality.false_positives import BESIDE, cases, claim

# Of 100 test sets a rate of 5 % has a standard error of 2.2 points; these are seeded.
_SIMULATIONS, _DRAWS = 100, 99
_QUICK = [
    "four models by Holm, 20 pairs",
    "Spearman, 100 pairs of 25 sentences",
    "Spearman, 100 pairs, a quarter of one sentence",
    "recipes of 3 seeds, 20 pairs",
    "retrieval, 0.5 first, 100 queries",
    "retrieval, 0.95 first, 20 queries",
    "classification, 0.7 right of 10 classes, 100 examples",
    "duplicates, 0.4 of 100 pairs, 1.0 sd apart",
    "duplicates, 0.4 of 100 pairs, 1.0 sd apart, a query in 4 of them",
    "few-shot, 0.6 right, 20 episodes",
]


@pytest.mark.parametrize("name", _QUICK)
def test_equal_models_are_seldom_told_apart(name: str) -> None:
    rates = cases(_SIMULATIONS, _DRAWS)[name]()
    assert max(rate for figure, rate in rates.items() if figure not in BESIDE) <= 13.0


def test_a_difference_is_found_where_there_is_one() -> None:
    """So that no test passes by telling nothing: the second model is right more often."""

    def better() -> false_positives.Iterator[false_positives.Drawn]:
        for one, other in zip(
            false_positives.retrieval(0.5, 200, 20),
            false_positives.retrieval(0.8, 200, 20),
            strict=True,
        ):
            yield one[0], other[1]

    assert min(false_positives.told(better(), 99).values()) == 100


def test_without_the_corrections_equal_models_are_told_apart() -> None:
    rates = interval_coverage.false_positives(0.75, 0.7, (100,), 200, 299, models=6)
    assert rates["significant"] <= 9 < 11 < rates["uncorrected"]
    rates = interval_coverage.shared_false_positives(800, 1, 150, 99, hub=0.25)
    assert rates["significant"] <= 9 < 15 < rates["pairs independent"]


def test_every_size_and_the_claim_are_there() -> None:
    names = cases(2, 99)
    sizes = {n: [name for name in names if f" {n} " in name] for n in false_positives.SIZES}
    assert len({len(each) for each in sizes.values()}) == 1
    assert sum(map(len, sizes.values())) == len(names)
    rates = {f"x, {n} y": {"significant": 5.0, "uncorrected": n / 100} for n in (20, 100, 1000)}
    rates["z, 20 pairs"] = {"ap": 3.0, "f1": 11.0, "pairs independent": 40.0}
    said = claim({"simulations": 50, "rates": rates})
    assert "in 4.0 % (3.0 to 5.0) at 20 items; 5.0 % (5.0 to 5.0) at 100 items" in said
    assert "found one in 10.0 % at most" in said and said.endswith("in 11.0 %.")
