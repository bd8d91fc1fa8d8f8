"""A trial in words, as a table and as a page; looked at in a browser."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from browsing import browser, look
from pages import check_page
from reporting import EVIL
from simcse_kit.report import trial_cells, trial_choice, trial_markdown, trial_page, trial_table
from simcse_kit.report.charts import trial_cost, trial_differences, trial_plane, trial_scores
from trial_results import difference, measured, recipe, small_trial


def test_the_choice_is_what_can_be_told() -> None:
    assert trial_choice(small_trial()) == (
        "better scores higher than plain: by 2.50 points of STSB-dev Spearman ×100 (1,500 pairs),"
        " 95 % interval +1.5 to +3.5, p = 0.002."
    )
    first, near, plain, _ = small_trial().recipes
    two = small_trial(recipes=(first, replace(near, difference=difference(2, 1)), plain))
    assert trial_choice(two).endswith(" near too can be told to score above plain.")
    worse = recipe("worse", 70.0, 70.1, difference=difference(-5.0, 1.0))
    assert trial_choice(small_trial(recipes=(near, plain, worse))) == (
        "No recipe can be told to score higher than plain. worse can be told to score lower."
    )
    one = small_trial(recipes=(recipe("better", 77.0), recipe("plain", 75.0)), seeds=1)
    assert trial_choice(one).startswith("better scores highest, 77.00 (STSB-dev Spearman ×100);")
    assert "takes two seeds or more" in trial_choice(one)


def test_the_table_has_a_row_a_recipe() -> None:
    cells = trial_cells(small_trial())
    shown = {name: [cell.figure for cell in row] for name, row in cells.rows}
    assert list(shown) == ["better", "near", "plain", "broken"]
    assert shown["better"][:4] == ["3", "77.50", "+2.50", "0.002"]
    assert shown["better"][4:] == ["0.220", "−2.343", "121.0", "1,184", "901"]
    assert shown["plain"][2:4] == ["–", "–"] and shown["broken"] == ["0", *["–"] * 8]
    rows = dict(cells.rows)
    assert rows["better"][2].best and not rows["near"][2].best
    assert rows["better"][2].below == "+1.50 to +3.50" and rows["better"][1].below == "± 0.25"
    notes = " ".join(cells.notes)
    for said in (
        "flatters all",
        "2 comparisons (Holm)",
        "the weights are not finite",
        "labels was",
    ):
        assert said in notes
    # of one seed, with a suite, on a GPU
    alone = recipe("plain", 75.0, suite=measured(70.0), peak_gpu_mib=512.0)
    cells = trial_cells(small_trial(recipes=(alone,), suite=("STS12", "STSB"), seeds=1))
    assert cells.header[4:6] == ["Suite", "Suite difference"] and cells.header[-1] == "GPU MiB"
    assert [cell.figure for cell in cells.rows[0][1]][4:6] == ["70.00", "–"]
    assert "there are no intervals" in " ".join(cells.notes)
    over = small_trial(missing="too few different scores.")
    assert "over other seeds alone" in " ".join(trial_cells(over).notes)


def test_both_forms_of_the_table_say_the_same() -> None:
    result = small_trial()
    assert "| better | 3 | 77.50 (± 0.25) | **+2.50** (+1.50 to +3.50)" in trial_markdown(result)
    for upright in (False, True):
        console = Console(file=io.StringIO(), width=200)
        console.print(trial_table(result, upright=upright))
        drawn = console.file.getvalue()  # type: ignore[attr-defined]
        assert "+1.50 to +3.50" in drawn and "broken" in drawn


def test_the_page_is_whole_and_what_is_named_stays_text() -> None:
    result = small_trial(EVIL)
    html = trial_page(result)
    outline = check_page(html)
    assert EVIL in outline.words and 'alert("1")' not in "".join(outline.scripts)
    for said in ("Which recipe helps a-model?", "hard negatives, a teacher", "objective.beta"):
        assert said in outline.words
    assert "left out, for these data cannot train them: labels" in outline.words.lower()
    assert "/private" not in html and trial_page(result) == html


def test_pictures_hold_their_numbers() -> None:
    result = small_trial()
    scores, differences = trial_scores(result), trial_differences(result)
    plane, cost = trial_plane(result), trial_cost(result)
    assert scores is not None and differences is not None and plane and cost
    assert scores.rows[0] == ("better", "77.50", "77.00 to 78.00", "77.00, 77.50, 78.00")
    assert differences.rows[1] == ("near", "+0.30", "−0.80 to 1.40", "p = 0.800")
    assert plane.rows[0] == ("better", "0.220", "−2.343", "77.50")
    assert cost.rows[0] == ("better", "1,184", "77.50")
    # the fullest point is the one with the highest score
    assert plane.svg.count("opacity") >= 1
    none = small_trial(recipes=(recipe("plain", 75.0), recipe("broken", left_off="why")))
    assert trial_differences(none) is None and trial_scores(none) is not None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "trial.html"
    file.write_text(trial_page(small_trial("a-recipe-with-a-long-name")), encoding="utf-8")
    with browser() as chromium:
        for width in (390, 1280):
            found = look(chromium, file, width=width, scheme=scheme, shot=tmp_path / f"{width}.png")
            assert found.complaints == [] and found.requests == [] and found.collisions == []
            assert found.wider_than_the_window == 0
