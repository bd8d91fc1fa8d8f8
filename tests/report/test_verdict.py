"""The verdict in words: better, worse, not to tell, and one model alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reporting import small_report
from simcse_kit.evaluation.statistics.intervals import Comparison, Interval
from simcse_kit.evaluation.sts.published import published
from simcse_kit.evaluation.sts.tasks import SUITE
from simcse_kit.report.data import Report
from simcse_kit.report.verdict import verdict
from simcse_kit.report.words import brief, figure_and_interval, seconds, setting_rows, signed


@pytest.fixture(scope="module")
def report() -> Report:
    return small_report()


def _with(report: Report, difference: float, low: float, high: float, p: float) -> Report:
    assert report.comparison is not None
    one = Comparison(difference, Interval(low, high, 0.95), p, p)
    differences = {"better": {"average": one}}
    return replace(report, comparison=replace(report.comparison, differences=differences))


def test_better_worse_and_not_to_tell(report):
    said = verdict(_with(report, 2.5, 1.04, 4.0, 0.0002)).headlines
    assert said == (
        "better scores higher than worse: by 2.50 points of Spearman ×100 on average over A, B"
        " (120 pairs), 95 % interval +1.0 to +4.0, p < 0.001.",
    )
    said = verdict(_with(report, -2.5, -4.0, -1.0, 0.01)).headlines
    assert "better scores lower than worse: by 2.50 points" in said[0] and "−4.0 to −1.0" in said[0]
    said = verdict(_with(report, 0.3, -1.0, 1.6, 0.62)).headlines
    assert "Whether better scores higher than worse cannot be told" in said[0]
    assert "−1.0 to +1.6" in said[0] and "p = 0.620" in said[0]
    # Where the interval just touches zero, p is at the level and the difference is told.
    assert "scores higher than" in verdict(_with(report, 1.0, 0.001, 2.0, 0.05)).headlines[0]


def test_what_the_interval_does_not_say_is_said(report):
    caveats = " ".join(verdict(report).caveats)
    assert "not over other trainings" in caveats
    assert "Holm" not in caveats and "Holm" in " ".join(verdict(small_report(3)).caveats)


def test_no_comparison_says_why(report):
    assert report.comparison is not None
    bare = replace(
        report.comparison, differences={"better": {}}, missing={"average": "Too few pairs."}
    )
    said = verdict(replace(report, comparison=bare)).headlines[0]
    assert said == "better cannot be compared with worse: too few pairs."


def test_one_model_stands_beside_the_nearest_published_row():
    report = small_report(1)
    assert verdict(report).headlines[0].startswith("better scores ")
    assert len(verdict(report).headlines) == 1  # of two tasks nothing is published
    model = report.models[0]
    result = replace(model.result, average=76.0, average_over=SUITE)
    for low, high, inside in ((75.0, 77.0, True), (75.9, 76.1, False)):
        sure = replace(model.intervals, average=Interval(low, high, 0.95), average_over=SUITE)
        one = replace(model, result=result, intervals=sure)
        rows = published("senteval-all", "bert-base")
        said = verdict(replace(report, models=(one,), published=rows)).headlines[1]
        assert "unsup. SimCSE, BERT-base, 76.25" in said and "0.25 points below it" in said
        assert ("its interval includes that" in said) is inside


def test_numbers_in_words():
    assert [signed(value, 2) for value in (0.004, -0.004, -1.5)] == ["0.00", "0.00", "−1.50"]
    assert [seconds(value) for value in (1.23, 75, 7325)] == ["1.2 s", "1 min 15 s", "2 h 2 min"]
    assert brief("short") == "short" and brief("a" * 30 + "b" * 30, 11) == "aaaaa…bbbbb"
    assert figure_and_interval(None, 1) == ("–", "")
    rows = setting_rows({"a": None, "b": {"c": 1, "d": [1, 2]}, "e": []})
    assert rows == [("a", "not set"), ("b.c", "1"), ("b.d", "1, 2"), ("e", "none")]
