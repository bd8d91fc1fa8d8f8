"""Tables of results: the same figures for the terminal and for a card, with their terms."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mini_senteval import MINI, BagOfWords, build_tree
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.suite import (
    SUITE,
    PairTask,
    STSResult,
    evaluate,
    load_stsb,
    load_tasks,
)
from simcse_kit.evaluation.sts.tables import markdown_table, sts_table


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tree(tmp_path_factory.mktemp("senteval"))


@pytest.fixture(scope="module")
def suite(tree: Path) -> list[PairTask]:
    return load_tasks(tree, counts=MINI)


@pytest.fixture(scope="module")
def result(suite: list[PairTask]) -> STSResult:
    return evaluate(BagOfWords(), suite)


def test_the_markdown_table_carries_geometry_and_its_terms(result: STSResult) -> None:
    table = markdown_table({"bag": result})
    header, rule, row = table.splitlines()[:3]
    assert header == f"| Model | {' | '.join(SUITE)} | Avg. | Align. | Uniform. |"
    assert rule.count("---:") == 10
    assert f"| {result.average:.2f} | {result.geometry.alignment:.3f} |" in row  # type: ignore[union-attr]
    assert "**" not in row
    assert "seven STS tasks" in table
    assert "of STSB (test) with gold > 4" in table
    assert f"{result.geometry.sentences} distinct sentences" in table  # type: ignore[union-attr]


def test_two_models_are_compared_only_where_they_can_be(
    result: STSResult, suite: list[PairTask]
) -> None:
    narrow = evaluate(BagOfWords(2), suite)
    table = markdown_table({"wide": result, "narrow": narrow})
    wide_row, narrow_row = table.splitlines()[2:4]
    assert f"**{result.average:.2f}**" in wide_row
    assert f"**{narrow.average:.2f}**" not in narrow_row

    partial = evaluate(BagOfWords(2), suite[4:6])
    table = markdown_table({"wide": result, "part": partial})
    assert "Avg. |" not in table
    assert "| part | – | – | – | – |" in table
    assert "part: Avg. is over STS16, STSB only." in table
    with pytest.raises(InputError, match="no result"):
        markdown_table({})


def test_the_terminal_table_shows_the_same(result: STSResult) -> None:
    from rich.console import Console

    console = Console(width=140, record=True, file=io.StringIO())
    console.print(sts_table({"bag [of] words": result}))
    text = console.export_text()
    assert "bag [of] words" in text
    assert f"{result.average:.2f}" in text
    assert "gold > 4" in text


def test_a_task_on_another_split_is_named(suite: list[PairTask], tree: Path) -> None:
    dev = load_stsb(tree, "dev", counts=MINI)
    table = markdown_table({"bag": evaluate(BagOfWords(), [*suite[:2], dev])})
    assert "aggregation, test split (STSB-dev: dev), text lower-cased." in table
