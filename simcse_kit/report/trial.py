"""What a trial found: in words, as a table, and as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from simcse_kit.evaluation import Cell, Cells, draw_markdown
from simcse_kit.evaluation import draw as draw_table
from simcse_kit.evaluation.sts import shown_p
from simcse_kit.report import charts
from simcse_kit.report.page import Section, page, render, text_of
from simcse_kit.report.verdict import against
from simcse_kit.report.words import minus, paths_note, setting_rows, signed

if TYPE_CHECKING:
    from rich.table import Table

    from simcse_kit.evaluation.statistics import Comparison
    from simcse_kit.training import Measured, RecipeResult, TrialResult

_NONE = Cell("–")


# ---- words --------------------------------------------------------------------------------------


def trial_choice(result: TrialResult) -> str:
    """Which recipe helps, in a sentence or two that can stand alone."""
    signs = {one.name: one.difference.told for one in result.recipes if one.difference is not None}
    better = [one for one in result.recipes if signs.get(one.name, 0) > 0]
    if better:
        return trial_verdict(result, better[0]) + _also(better[1:], result.baseline)
    if signs:
        worse = [name for name, sign in signs.items() if sign < 0]
        lower = f" {_listed(worse)} can be told to score lower." if worse else ""
        return f"No recipe can be told to score higher than {result.baseline}.{lower}"
    best = next(one for one in result.recipes if one.dev is not None)
    assert best.dev is not None
    return (
        f"{best.name} scores highest, {_figure(best.dev)} ({result.figure} ×100); whether by its"
        " recipe or by luck cannot be told, since that takes two seeds or more of each."
    )


def _also(others: Sequence[RecipeResult], baseline: str) -> str:
    if not others:
        return ""
    return f" {_listed([one.name for one in others])} too can be told to score above {baseline}."


def trial_verdict(result: TrialResult, one: RecipeResult) -> str:
    """One recipe against the first, as `report` says it of models."""
    if one.dev is None:
        return f"{one.name} has no run that ended: {one.left_off}."
    if one.name == result.baseline:
        return f"{one.name} scores {_figure(one.dev)} and is what the others are compared with."
    if one.difference is None:
        return (
            f"{one.name} scores {_figure(one.dev)}; one seed has no interval, so nothing is told."
        )
    points = f"points of {result.figure} ×100 ({result.pairs:,} pairs)"
    seen = "these seeds and pairs"
    return against(one.name, result.baseline, one.difference, points, seen=seen)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def trial_notes(result: TrialResult) -> list[str]:
    """What the figures of the table are of, and what is missing from it."""
    notes = [
        f"{result.figure} ×100 over {result.pairs:,} pairs, mean ± standard deviation of the seeds;"
        " each run's step was chosen on these pairs, which flatters all."
    ]
    if result.compared:
        level = f"{100 * result.level:g} %"
        holm = (
            f", corrected for {result.compared} comparisons (Holm)" if result.compared > 1 else ""
        )
        over = "over other seeds alone" if result.missing else "over other seeds and other pairs"
        notes.append(
            f"Differences are to {result.baseline}, with the {level} interval {over}; p{holm}; in"
            " bold what can be told from zero."
        )
    else:
        notes.append("One seed tells nothing of a recipe's luck: there are no intervals.")
    if result.missing:
        notes.append(f"Other pairs are not allowed for: {result.missing}")
    if result.suite:
        notes.append(f"Suite: mean Spearman ×100 over {', '.join(result.suite)}.")
    notes.append(
        "Alignment and uniformity (lower is better) and effective rank are of the dev set's"
        " sentences; sentences a second are of training alone, memory is the most of a run's"
        " process."
    )
    notes += [f"{one.name}: {one.left_off}" for one in result.recipes if one.left_off]
    if result.rule:
        notes.append(f"The rule: {result.rule}.")
    notes += [f"{name} was left out: {why}" for name, why in result.unfit.items()]
    return notes


# ---- the table ----------------------------------------------------------------------------------


def trial_cells(result: TrialResult) -> Cells:
    """A row a recipe, the best first."""
    gpu = any(one.peak_gpu_mib is not None for one in result.recipes)
    header = ["Seeds", result.figure, "Difference", "p (Holm)"]
    header += ["Suite", "Suite difference"] if result.suite else []
    header += ["Alignment", "Uniformity", "Rank", "Sentences/s", "MiB"]
    header += ["GPU MiB"] if gpu else []
    rows = []
    for one in result.recipes:
        cells = [
            Cell(str(len(one.runs))),
            _measured(one.dev),
            _difference(one.difference),
            _p_value(one.difference),
        ]
        if result.suite:
            cells += [_measured(one.suite), _difference(one.suite_difference)]
        cells += [
            _number(one.alignment, 3),
            _number(one.uniformity, 3),
            _number(one.effective_rank, 1),
            _number(one.sentences_per_second, 0),
            _number(one.peak_memory_mib, 0),
        ]
        rows.append((one.name, cells + ([_number(one.peak_gpu_mib, 0)] if gpu else [])))
    return Cells(header, rows, [], trial_notes(result), corner="Recipe")


def trial_table(result: TrialResult, *, upright: bool = False) -> Table:
    """The table for a terminal; `upright` has a column a recipe."""
    return draw_table(trial_cells(result), upright=upright)


def trial_markdown(result: TrialResult) -> str:
    """The table as GitHub Markdown."""
    return draw_markdown(trial_cells(result))


def _measured(one: Measured | None) -> Cell:
    if one is None:
        return _NONE
    return Cell(minus(f"{one.mean:.2f}"), "" if one.sd is None else f"± {one.sd:.2f}")


def _figure(one: Measured) -> str:
    return minus(f"{one.mean:.2f}") + ("" if one.sd is None else f" ± {one.sd:.2f}")


def _difference(one: Comparison | None) -> Cell:
    if one is None:
        return _NONE
    interval = f"{signed(one.interval.low, 2)} to {signed(one.interval.high, 2)}"
    return Cell(signed(one.difference, 2), interval, best=one.told != 0)


def _p_value(one: Comparison | None) -> Cell:
    if one is None:
        return _NONE
    return Cell(shown_p(one.p_adjusted).removeprefix("p ").removeprefix("= "))


def _number(value: float | None, places: int) -> Cell:
    return _NONE if value is None else Cell(minus(f"{value:,.{places}f}"))


# ---- the page -----------------------------------------------------------------------------------


def trial_page(result: TrialResult) -> str:
    """The page. The same result gives the same bytes."""
    made = result.made
    footer = (
        f"Made by simcse-kit {made['versions']['simcse-kit']} on {made['date']}."
        " This file asks for nothing from the network."
    )
    verdicts = [trial_verdict(result, one) for one in result.recipes]
    return page(
        f"Which recipe helps {result.model}?",
        [
            _scores(result),
            _with_pictures("space", "The space", "space", [charts.trial_plane(result)]),
            _with_pictures("cost", "What it costs", "cost", [charts.trial_cost(result)]),
            Section("needs", "What each needs", _part("needs", result), "Needs"),
            Section("made", "How this was made", _part("made", result), "How it was made"),
        ],
        eyebrow="simcse-kit trial",
        lead=_part("lead", result, choice=trial_choice(result), verdicts=verdicts),
        footer=footer,
        styles=[text_of("report/report.css")],
    )


def _part(name: str, result: TrialResult, **values: Any) -> Markup:
    return render(
        f"trial/{name}.html",
        result=result,
        setting_rows=setting_rows,
        paths_note=paths_note,
        **values,
    )


def _scores(result: TrialResult) -> Section:
    pictures = [charts.trial_scores(result), charts.trial_differences(result)]
    drawn = [each for each in pictures if each is not None]
    body = _part("scores", result, cells=trial_cells(result), pictures=drawn)
    return Section("scores", "Scores", body)


def _with_pictures(
    anchor: str, title: str, template: str, pictures: Sequence[charts.Chart | None]
) -> Section:
    drawn = [each for each in pictures if each is not None]
    return Section(anchor, title, render(f"trial/{template}.html", pictures=drawn))
