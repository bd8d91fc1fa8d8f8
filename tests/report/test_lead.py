"""The first lines: a choice only where the figures give one, how sure, what for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reporting import small_report
from simcse_kit.evaluation.leakage.search import LeakageReport
from simcse_kit.evaluation.statistics.intervals import Comparison, Interval
from simcse_kit.evaluation.sts.published import published
from simcse_kit.evaluation.sts.tasks import SUITE
from simcse_kit.report.data import Report
from simcse_kit.report.lead import lead, won


@pytest.fixture(scope="module")
def two() -> Report:
    return small_report(2)


@pytest.fixture(scope="module")
def three() -> Report:
    return small_report(3)


def _difference(value: float, p: float) -> Comparison:
    return Comparison(value, Interval(value - 1, value + 1, 0.95), p, p)


def _with(report: Report, averages: dict[str, float], **found: Comparison) -> Report:
    """The report as it would be with these averages and these differences from the first."""
    assert report.comparison is not None
    models = tuple(
        replace(model, result=replace(model.result, average=averages[model.name]))
        for model in report.models
    )
    differences = {name: {"average": one} for name, one in found.items()}
    return replace(
        report, models=models, comparison=replace(report.comparison, differences=differences)
    )


def test_of_two_the_one_that_is_told_to_be_better(two):
    better = _with(two, {"worse": 60.04, "better": 71.26}, better=_difference(11.2, 0.001))
    said = lead(better)
    assert (
        said.choice
        == "For pairs like these, use better rather than worse: it scores 71.3 of 100, worse 60.0."
    )
    assert dict(said.answers)["How sure"].startswith("Told from chance at the 95 % level")
    worse = _with(two, {"worse": 60.0, "better": 50.0}, better=_difference(-10.0, 0.001))
    assert lead(worse).choice.startswith(
        "For pairs like these, use worse rather than better: it scores 60.0 of 100"
    )


def test_no_choice_where_the_difference_may_be_chance(two):
    chance = _with(two, {"worse": 60.0, "better": 60.6}, better=_difference(0.6, 0.3))
    said = lead(chance)
    assert "do not choose between better and worse" in said.choice
    assert "may be chance" in said.choice and not said.choice.startswith("For")
    assert dict(said.answers)["How sure"].startswith("It may be chance")


def test_of_three_what_was_not_tested_is_said(three):
    averages = {"worse": 60.0, "better": 70.0, "middle": 65.0}
    of = {"better": _difference(10.0, 0.001), "middle": _difference(5.0, 0.001)}
    choice = lead(_with(three, averages, **of)).choice
    assert choice.startswith("For pairs like these, use better rather than worse")
    assert "How it stands against middle (65.0) is not tested here" in choice


def test_of_three_the_first_stays_where_none_is_told_better(three):
    averages = {"worse": 60.0, "better": 60.5, "middle": 55.0}
    of = {"better": _difference(0.5, 0.4), "middle": _difference(-5.0, 0.001)}
    said = lead(_with(three, averages, **of))
    assert (
        said.choice == "Nothing here speaks against worse: no other model is told to score higher."
    )
    assert dict(said.answers)["How sure"].startswith("Some differences are told from chance")


def test_a_best_average_that_is_not_told_is_not_chosen(three):
    averages = {"worse": 60.0, "better": 64.0, "middle": 63.0}
    of = {"better": _difference(4.0, 0.2), "middle": _difference(3.0, 0.01)}
    choice = lead(_with(three, averages, **of)).choice
    assert (
        choice.startswith("For pairs like these, use middle rather than worse")
        and "the others are not told to score higher" in choice
    )


def test_one_model_and_missing_comparisons_give_no_choice(two):
    assert "Alone it gives no choice" in lead(small_report(1)).choice
    assert two.comparison is not None
    none = replace(two.comparison, differences={"better": {}}, missing={"average": "Too few."})
    said = lead(replace(two, comparison=none))
    assert said.choice.startswith("These figures give no choice")
    assert won(replace(two, comparison=none)) == {"better": (0, 0, 0)}


def test_what_the_figures_mean_and_are_good_for(two):
    answers = dict(lead(two).answers)
    assert list(answers) == ["How sure", "What the score means", "What for"]
    assert (
        "People rated" in answers["What the score means"]
        and "120 pairs" in answers["What the score means"]
    )
    assert "English" not in answers["What for"]  # of tasks A and B nothing is known
    assert "another seed may score otherwise" in answers["How sure"]
    assert "Published" not in answers["What the score means"]
    rows = published("senteval-all", "bert-base")
    models = tuple(
        replace(m, result=replace(m.result, average_over=SUITE, tasks=dict.fromkeys(SUITE, s)))
        for m in two.models
        for s in [m.result.tasks["A"]]
    )
    suite = dict(lead(replace(two, models=models, published=rows)).answers)
    assert "unsup. SimCSE, BERT-base: 76.25" in suite["What the score means"]
    assert "English" in suite["What for"]


def test_leakage_that_was_looked_for_is_part_of_how_sure(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("a sentence of no task at all whatever\n" * 3, encoding="utf-8")
    found = small_report(2, training=file)
    assert isinstance(found.leakage, LeakageReport)
    assert (
        "training rows holds a sentence of an evaluation set"
        in dict(lead(found).answers)["How sure"]
    )


def test_tasks_won_counts_what_is_told(two):
    assert two.comparison is not None
    found = {
        "A": _difference(5.0, 0.01),
        "B": _difference(-5.0, 0.01),
        "C": _difference(1.0, 0.5),
        "average": _difference(3.0, 0.01),
    }
    report = replace(two, comparison=replace(two.comparison, differences={"better": found}))
    assert won(report) == {"better": (1, 1, 3)}
