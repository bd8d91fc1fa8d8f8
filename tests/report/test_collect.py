"""A report's values: the same figures as measured one by one, each text embedded once."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from reporting import RUN, Bag, small_report, task
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.comparison import compare_results
from simcse_kit.evaluation.sts.protocols import PROTOCOLS
from simcse_kit.evaluation.sts.suite import PairTask, evaluate
from simcse_kit.geometry import alignment, uniformity
from simcse_kit.report.collect import Subject, collect
from simcse_kit.report.data import Report

NAMED = PROTOCOLS["senteval-all"]


@pytest.fixture(scope="module")
def report() -> Report:
    return small_report()


def test_each_text_is_embedded_once(report):
    bag = Bag(0.5)
    tasks = [task("A"), task("B", seed=1)]
    collect([Subject("m", lambda: bag)], tasks, named=NAMED, draws=100)
    texts = [text for call in bag.calls for text in call]
    assert len(bag.calls) == 1 and len(texts) == len(set(texts))
    assert set(texts) == {text for one in tasks for text in one.sentence1 + one.sentence2}


def test_sentences_of_ones_own_are_embedded_too(report):
    bag = Bag(0.5)
    pool = [f"man plays guitar {number}" for number in range(20)]
    found = collect(
        [Subject("m", lambda: bag)], [task("A")], named=NAMED, draws=100, sentences=pool, source="x"
    )
    assert len(bag.calls) == 2 and bag.calls[1] == pool
    assert found.neighbours is not None and found.neighbours.pool == 20


def test_figures_are_those_of_evaluate_and_compare(report):
    tasks = [task("A"), task("B", seed=1)]
    alone = {"worse": evaluate(Bag(4.0), tasks), "better": evaluate(Bag(0.5), tasks)}
    compared = compare_results({name: [one] for name, one in alone.items()}, tasks, draws=200)
    assert report.comparison is not None
    assert report.comparison.differences == compared.differences
    for model in report.models:
        assert model.result.tasks == alone[model.name].tasks
        assert model.intervals == compared.intervals[model.name]
        assert model.result.protocol["sources"] == {"A": "A.tsv", "B": "B.tsv"}
    assert report.pairs == 120


def test_the_space_is_of_the_sentences_of_the_table(report):
    one, first = task("A"), report.models[0]
    close = one.gold > 4
    left, right = (
        Bag(4.0).encode([text for text, near in zip(side, close, strict=True) if near])
        for side in (one.sentence1, one.sentence2)
    )
    every = list(dict.fromkeys(one.sentence1 + one.sentence2))
    figures = first.space.figures
    assert figures["alignment"].value == pytest.approx(alignment(left, right), rel=1e-5)
    measured = uniformity(Bag(4.0).encode(every))
    assert figures["uniformity"].value == pytest.approx(measured, rel=1e-4)
    assert first.result.geometry is not None
    assert figures["alignment"].value == pytest.approx(first.result.geometry.alignment)


def test_bands_hold_each_pair_once_and_separation_is_the_area_under_the_curve(report):
    gold = task("A").gold
    for model in report.models:
        bands, cosines = model.bands, model.result.cosines["A"]
        assert bands.edges == (0, 1, 2, 3, 4, 5)
        assert sorted(np.concatenate(bands.cosines)) == sorted(cosines)
        assert len(bands.cosines[-1]) == ((gold >= 4) & (gold <= 5)).sum()
        ends = (gold < 1) | (gold >= 4)
        area = roc_auc_score(gold[ends] >= 4, cosines[ends])
        assert bands.separation == pytest.approx(area)


def test_the_same_report_twice_and_nothing_private_in_it(report):
    def figures(one: Report) -> dict:
        return {key: value for key, value in one.to_json().items() if key != "made"}

    text = json.dumps(report.to_json(), allow_nan=False)
    assert json.dumps(figures(small_report())) == json.dumps(figures(report))
    assert "/private" not in text
    assert report.made["seed"] == 0 and set(report.made["seconds"]) >= {"geometry", "leakage"}


def test_a_single_model_has_no_comparison():
    alone = small_report(1)
    assert alone.comparison is None and list(alone.misjudged) == ["better"]
    assert alone.models[0].run == RUN
    assert alone.neighbours is not None and alone.neighbours.kept == {}


def test_a_task_too_small_for_neighbours_and_intervals_is_still_reported():
    texts = ["a man plays", "a dog eats", "a girl reads"]
    tiny = PairTask("tiny", texts, texts[::-1], np.array([1.0, 5.0, 2.0]), {}, "test", "x")
    found = collect([Subject("m", lambda: Bag(1.0))], [tiny], named=NAMED, draws=100)
    assert found.neighbours is None
    assert found.leakage.overlaps == ()


def test_training_data_are_looked_for(tmp_path):
    (tmp_path / "train.txt").write_text("\n".join([task("A").sentence1[0], "something else"]))
    found = small_report(training=tmp_path / "train.txt").leakage.training
    assert found is not None and found.source == "train.txt"
    assert {leak.name: leak.rows_exact for leak in found.leaks} == {"A": 1, "B": 0}


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_models_need_different_names(names):
    with pytest.raises(InputError, match="different names"):
        collect([Subject(name, lambda: Bag(1.0)) for name in names], [task("A")], named=NAMED)


def test_a_figure_that_cannot_be_measured_is_left_out_and_the_report_says_why():
    from simcse_kit.report import html, markdown

    report = small_report(2)
    why = "Every length is 4, so length bias cannot be measured"
    models = tuple(
        replace(m, space=replace(m.space, missing={"length_bias": why})) for m in report.models
    )
    report = replace(report, models=models)
    said = f"Length bias is left out: {why}"
    assert markdown(report).count(said) == 1 and html(report).count(said) == 1
    assert report.to_json()["models"][0]["geometry"]["missing"] == {"length_bias": why}
