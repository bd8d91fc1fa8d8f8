"""The sweep over a recipe's settings: its grid, its rows, what it sums up."""

from __future__ import annotations

import numpy as np
import pytest

from docstrings import Corpus, Entry
from eval.quality.recipes import claim, cut, drawn, held_out, points, summarise
from simcse_kit.data import Rows


def entry(package: str, description: str) -> Entry:
    return Entry(package, f"{package}.f", "Do it.", description)


def test_a_grid_is_every_combination_and_no_grid_is_one_point() -> None:
    assert list(points([])) == [[]]
    assert list(points(["a=1,2", "b=x,y"])) == [
        ["a=1", "b=x"],
        ["a=1", "b=y"],
        ["a=2", "b=x"],
        ["a=2", "b=y"],
    ]


def test_texts_are_cut_after_their_first_sentence() -> None:
    texts = ["One here. Two there. Three.", "Only one sentence.", "See e.g. this. And that."]
    rows = cut(Corpus(train=[entry("p", text) for text in texts], held_out=[]))
    assert rows.columns == {
        "anchor": ["One here.", "See e.g. this."],
        "positive": ["Two there. Three.", "And that."],
    }


def test_drawn_rows_keep_their_columns_together_and_differ_by_seed() -> None:
    texts = [str(number) for number in range(50)]
    rows = Rows(
        "pairs", {"anchor": texts, "positive": [f"+{t}" for t in texts]}, None, None, "", 0, 0
    )
    first, again, other = drawn(rows, 10, 1), drawn(rows, 10, 1), drawn(rows, 10, 2)
    assert first.columns == again.columns != other.columns
    assert len(set(first.columns["anchor"])) == len(first) == 10
    assert first.columns["positive"] == [f"+{text}" for text in first.columns["anchor"]]
    assert drawn(rows, None, 1) is rows


def test_what_is_judged_on_is_a_part_of_either_package() -> None:
    kept = [entry("networkx", str(n)) for n in range(5)] + [
        entry("sympy", str(n)) for n in range(7)
    ]
    found = [(e.package, e.description) for e in held_out(Corpus(train=[], held_out=kept))]
    assert found == [("networkx", n) for n in "024"] + [("sympy", n) for n in "036"]


def test_the_summary_is_of_seeds_and_its_interval_of_queries() -> None:
    before = {"networkx mrr": np.array([10.0, 20.0, 30.0]), "STSB-dev": np.array([50.0])}
    runs = [
        {"networkx mrr": before["networkx mrr"] + gain, "STSB-dev": np.array([50 + gain])}
        for gain in (1.0, 3.0)
    ]
    found = summarise(before, runs)
    # every query gains as much: other queries would give the same
    assert found["networkx mrr"] == {
        "mean": pytest.approx(22),
        "change": pytest.approx(2),
        "sd": pytest.approx(np.sqrt(2)),
        "change_interval": [pytest.approx(2), pytest.approx(2)],
    }
    assert found["STSB-dev"] == {
        "mean": pytest.approx(52),
        "change": pytest.approx(2),
        "sd": pytest.approx(np.sqrt(2)),
    }
    assert "sd" not in summarise(before, runs[:1])["STSB-dev"]


def test_the_claim_names_the_best_settings() -> None:
    figures = {
        "model": "m",
        "rows": "pairs",
        "trained_on": 1234,
        "before": {"networkx mrr": 60.0, "sympy mrr": 50.0},
        "summary": {
            "learning_rate=1e-5": {"networkx mrr": {"mean": 61.0}, "sympy mrr": {"mean": 59.0}},
            "learning_rate=1e-4": {"networkx mrr": {"mean": 63.0, "sd": 0.5}},
        },
    }
    assert claim(figures) == (
        "networkx mrr of m is 60.00 as it is and 63.00 ± 0.50 after training on 1,234 rows "
        "(pairs) with learning_rate=1e-4, the best of 2 settings."
    )
