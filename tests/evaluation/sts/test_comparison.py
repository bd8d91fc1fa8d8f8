"""Models and recipes compared on STS tasks, and the tables that show it."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from mini_senteval import MINI, BagOfWords, build_tree, toy_task
from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import enough_draws
from simcse_kit.evaluation.sts.comparison import (
    AVERAGE,
    check_contenders,
    compare_pairwise,
    compare_results,
)
from simcse_kit.evaluation.sts.intervals import intervals, mean_result, summarise_runs
from simcse_kit.evaluation.sts.published import published
from simcse_kit.evaluation.sts.suite import SUITE, PairTask, STSResult, evaluate, load_tasks
from simcse_kit.evaluation.sts.tables import (
    comparison_markdown,
    comparison_table,
    markdown_table,
    sts_table,
)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[PairTask]:
    return load_tasks(build_tree(tmp_path_factory.mktemp("senteval")), counts=MINI)


@pytest.fixture(scope="module")
def results(tasks: list[PairTask]) -> dict[str, STSResult]:
    return {
        name: evaluate(BagOfWords(size), tasks, name=name)
        for name, size in (("wide", 64), ("middle", 16), ("narrow", 2))
    }


def alone(results: dict[str, STSResult]) -> dict[str, list[STSResult]]:
    return {name: [result] for name, result in results.items()}


def test_differences_are_those_of_the_scores_and_intervals_those_of_each_model(
    results: dict[str, STSResult], tasks: list[PairTask]
) -> None:
    found = compare_results(alone(results), tasks, draws=400, clustered=False)
    assert found.baseline == "wide" and list(found.differences) == ["middle", "narrow"]
    for name, differences in found.differences.items():
        assert list(differences) == [AVERAGE, *SUITE]
        difference = results[name].average - results["wide"].average
        assert differences[AVERAGE].difference == pytest.approx(difference, abs=1e-9)
        for task in SUITE:
            one, other = (results[n].tasks[task].spearman for n in (name, "wide"))
            assert differences[task].difference == pytest.approx(one - other, abs=1e-9)
        # Alone, a model sees the very same resamples.
        assert found.intervals[name] == intervals(results[name], tasks, draws=400, clustered=False)


def test_the_paired_test_is_that_of_a_loop(tasks: list[PairTask]) -> None:
    """One task, resampled by hand with the same generator."""
    import zlib

    task = max(tasks, key=len)
    both = {str(size): evaluate(BagOfWords(size), [task]) for size in (32, 4)}
    found = compare_results(alone(both), [task], draws=199, clustered=False)
    rng = np.random.default_rng([0, zlib.crc32(task.name.encode()), 0])
    by_gold = np.argsort(task.gold, kind="stable")
    gold = task.gold[by_gold]
    one, other = (both[name].cosines[task.name][by_gold] for name in ("4", "32"))
    drawn = rng.integers(0, len(gold), size=(199, len(gold)))
    differences = np.array(
        [100 * (spearmanr(one[i], gold[i])[0] - spearmanr(other[i], gold[i])[0]) for i in drawn]
    )
    fewest = min((differences <= 0).sum(), (differences >= 0).sum())
    expected = min(1.0, 2 * (1 + fewest) / 200)
    one_found = found.differences["4"][task.name]
    assert one_found.p_value == pytest.approx(expected)
    ordered = np.sort(differences)
    assert one_found.interval.low == pytest.approx(ordered[4], abs=1e-8)
    assert one_found.interval.high == pytest.approx(ordered[-5], abs=1e-8)


def test_holm_is_over_the_models_of_each_figure(
    results: dict[str, STSResult], tasks: list[PairTask]
) -> None:
    found = compare_results(alone(results), tasks, draws=400)
    for figure in (AVERAGE, "STS14"):
        each = [differences[figure] for differences in found.differences.values()]
        smaller, larger = sorted(each, key=lambda one: one.p_value)
        assert smaller.p_adjusted == min(1.0, 2 * smaller.p_value)
        assert larger.p_adjusted == max(larger.p_value, smaller.p_adjusted)


def test_sentences_say_whether_it_can_be_told(
    results: dict[str, STSResult], tasks: list[PairTask]
) -> None:
    found = compare_results(alone(results), tasks, draws=400, baseline="narrow")
    wide, middle = found.sentences()
    assert wide.startswith("wide is ") and "points above narrow on average over the seven" in wide
    assert wide.endswith("can be told from zero.")
    assert "corrected for 2 comparisons (Holm)" in middle
    twin = {"a": [results["wide"]], "b": [replace(results["wide"], model="b")]}
    (same,) = compare_results(twin, tasks, draws=400).sentences()
    assert same.startswith("b is level with a on average") and "p = 1.000" in same
    assert same.endswith("cannot be told from zero.")


def test_recipes_are_compared_with_their_seeds(tasks: list[PairTask]) -> None:
    recipes = {
        "one": [evaluate(BagOfWords(size), tasks, name=str(size)) for size in (60, 64, 68)],
        "two": [evaluate(BagOfWords(size), tasks, name=str(size)) for size in (3, 4, 5)],
    }
    found = compare_results(recipes, tasks, draws=400)
    assert found.of_recipes and found.seeds == {"one": 3, "two": 3}
    means = {name: np.mean([r.average for r in runs]) for name, runs in recipes.items()}
    difference = found.differences["two"][AVERAGE].difference
    assert difference == pytest.approx(means["two"] - means["one"], abs=1e-9)
    mean, sure = summarise_runs(recipes["one"], tasks, draws=400)
    assert found.intervals["one"] == sure
    assert mean.average == pytest.approx(means["one"])
    averages = [run.average for run in recipes["one"]]
    assert sure.sd[AVERAGE] == pytest.approx(np.std(averages, ddof=1), abs=1e-9)
    assert sure.seeds == 3 and sure.average is not None
    table = markdown_table({"one": mean}, {"one": sure})
    assert f"{mean.average:.2f} ± {sure.sd[AVERAGE]:.2f} (" in table
    assert "over 3 training seeds" in table
    assert "other trainings of the recipes" in comparison_markdown(found)


def test_models_are_not_compared_with_recipes() -> None:
    assert check_contenders({"a": 1, "b": 1}) == "a"
    assert check_contenders({"a": 5, "b": 3}, "b") == "b"
    for seeds, baseline, says in (
        ({"a": 1}, None, "two models or more"),
        ({}, None, "two models or more"),
        ({"a": 1, "b": 1}, "c", "cannot be compared with c"),
        ({"a": 5, "b": 1}, None, "b is one model and a is 5 seeds"),
    ):
        with pytest.raises(InputError, match=says):
            check_contenders(seeds, baseline)


def test_what_has_no_interval_is_said(results: dict[str, STSResult]) -> None:
    """One pair has another gold, another one another cosine: few resamples hold both."""
    task = toy_task(gold=(1.0, 0.0, 0.0, 0.0, 0.0), name="tiny")
    cosines = {"tiny": np.array([0.0, 0.0, 0.0, 0.0, 1.0])}
    result = replace(evaluate(BagOfWords(), [task]), cosines=cosines)
    found = intervals(result, [task], draws=200)
    assert found.tasks == {} and found.average is None
    assert "too few different scores" in found.missing["tiny"]
    table = markdown_table({"bag": result}, {"bag": found})
    assert "bag has no interval on tiny: Most resamples" in table
    two = {"a": [result], "b": [replace(result, model="b")]}
    compared = compare_results(two, [task], draws=200)
    assert compared.sentences() == [] and "tiny" in compared.missing
    assert "No comparison on tiny" in comparison_markdown(compared)


def test_pairs_that_share_sentences_widen_the_interval() -> None:
    """Every pair twice, in the other order: half the information, so √2 the width."""
    rng = np.random.default_rng(0)
    gold = np.arange(120) / 24
    task = toy_task(gold=tuple(gold[:30]), name="x")
    first = [f"{a} {b}" for a, b in rng.integers(0, 50, (120, 2))]
    second = [f"{a} {b} {c}" for a, b, c in rng.integers(0, 50, (120, 3))]
    twice = PairTask("x", first + second, second + first, np.tile(gold, 2), {}, "test", "memory")
    assert len(task) == 30
    result = evaluate(BagOfWords(8), [twice])
    found = [intervals(result, [twice], draws=999, clustered=c) for c in (False, None)]
    assert [one.clustered for one in found] == [False, True]  # by default, for some are shared
    plain, clustered = (one.tasks["x"] for one in found)
    ratio = (clustered.high - clustered.low) / (plain.high - plain.low)
    assert ratio == pytest.approx(2**0.5, rel=0.1)


def test_json_holds_all_of_it(results: dict[str, STSResult], tasks: list[PairTask]) -> None:
    found = compare_results(alone(results), tasks, draws=200)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(data["differences"]["narrow"][AVERAGE]) == {
        "difference", "interval", "p_value", "p_adjusted",
    }  # fmt: skip
    assert data["baseline"] == "wide" and data["draws"] == 200
    assert data["test"].startswith("paired bootstrap")
    assert data == json.loads(
        json.dumps(compare_results(alone(results), tasks, draws=200).to_json())
    )


@pytest.mark.parametrize("width", [80, 120, 200])
def test_tables_show_every_figure_at_any_width(
    results: dict[str, STSResult], tasks: list[PairTask], width: int
) -> None:
    from rich.console import Console

    found = compare_results(alone(results), tasks, draws=200)
    one = {"wide": results["wide"]}
    rows = published("senteval-all", "bert-base")
    for upright in (False, True):
        if width < 150 and not upright:
            continue
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(sts_table(one, found.intervals, rows, upright=upright))
        console.print(comparison_table(found, upright=upright))
        text = console.export_text()
        assert all(f"{results['wide'].tasks[task].spearman:.2f}" in text for task in SUITE)
        interval = found.intervals["wide"].tasks["STS14"]
        assert f"{interval.low:.1f}–{interval.high:.1f}" in text
        for figure in ("56.70", "76.25", "81.57", "p ="):
            assert figure in text
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width


def test_published_rows_stand_only_under_their_columns(results: dict[str, STSResult]) -> None:
    rows = published("senteval-all", "bert-large")
    table = markdown_table(results, published=rows)
    row = "| unsup. SimCSE, BERT-large | – | – | – | – | – | – | – | 78.41 | – | – |"
    assert row in table and "princeton-nlp/SimCSE, README" in table
    with pytest.raises(InputError, match="no result"):
        markdown_table({})


def test_the_mean_of_results_is_figure_by_figure(results: dict[str, STSResult]) -> None:
    mean = mean_result(list(results.values()))
    for task in SUITE:
        each = [result.tasks[task].pearson for result in results.values()]
        assert mean.tasks[task].pearson == pytest.approx(np.mean(each))
    assert mean.geometry is not None
    each = [result.geometry.uniformity for result in results.values()]  # type: ignore[union-attr]
    assert mean.geometry.uniformity == pytest.approx(np.mean(each))
    partly = [results["wide"], replace(results["narrow"], geometry=None)]
    assert mean_result(partly).geometry is None


def test_fewer_draws_than_holm_needs_are_raised_and_said(
    tasks: list[PairTask], caplog: pytest.LogCaptureFixture
) -> None:
    """Of 100 draws no p-value is below 2 / 101, and times 6 comparisons all would be chance."""
    names = {f"model {size}": size for size in (64, 4, 3, 2)}
    results = {name: [evaluate(BagOfWords(size), tasks)] for name, size in names.items()}
    found = compare_pairwise(results, tasks, draws=100)
    assert "100 draws are too few for Holm's correction over 6 comparisons" in caplog.text
    assert {one.draws for one in found} == {264}
    far = [
        one
        for comparison in found
        for figures in comparison.differences.values()
        for one in figures.values()
        if one.p_value == 2 / 265
    ]
    assert far and all(one.p_adjusted <= 0.05 for one in far)
    assert enough_draws(10_000, 6) == 10_000


def test_how_many_columns_would_be_told_by_chance_is_said(
    results: dict[str, STSResult], tasks: list[PairTask]
) -> None:
    found = compare_results(alone(results), tasks, draws=200)
    said = comparison_markdown(found)
    assert (
        "Each of the 8 columns is tested by itself: where no model differed in any, about" in said
    )
    assert "about 0.4 of them would be told from zero all the same, by chance." in said
    assert "In bold the highest figure on each task, told from the others or not." in (
        markdown_table(results)
    )


def test_few_sentences_are_warned_of_once_a_figure(caplog: pytest.LogCaptureFixture) -> None:
    task = toy_task()
    shared = replace(task, sentence1=[task.sentence1[0]] * len(task))
    results = {str(size): [evaluate(BagOfWords(size), [shared])] for size in (64, 8, 4)}
    compare_pairwise(results, [shared], draws=100)
    said = [line for line in caplog.messages if line.startswith("One sentence of toy")]
    assert len(said) == 1
