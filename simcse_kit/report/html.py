"""A report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from simcse_kit.evaluation import Cell, left_out
from simcse_kit.evaluation.leakage import headline
from simcse_kit.evaluation.sts import AVERAGE, SUITE, STSComparison, by_chance, sts_cells
from simcse_kit.report import charts
from simcse_kit.report.data import Report
from simcse_kit.report.lead import lead, won
from simcse_kit.report.page import Section, page, render, text_of
from simcse_kit.report.words import (
    digits,
    figure_and_interval,
    heading,
    minus,
    paths_note,
    seconds,
    setting_rows,
    signed,
)

_GLYPHS = "●■◆▲▼✚"  # the marks of the charts


def html(report: Report) -> str:
    """The page. The same report gives the same bytes."""
    top = _part("lead", report, lead=lead(report), tiles=_tiles(report))
    made = report.made
    footer = (
        f"Made by simcse-kit {made['versions']['simcse-kit']} on {made['date']}."
        " This file asks for nothing from the network."
    )
    sections = [section for make in _SECTIONS if (section := make(report)) is not None]
    return page(
        heading(report),
        sections,
        eyebrow="simcse-kit report",
        lead=top,
        footer=footer,
        styles=[text_of("report/report.css")],
    )


def _part(name: str, report: Report, **values: Any) -> Markup:
    """A template of the report, with what all of them use."""
    models = [
        {"name": model.name, "paint": charts.model_paint(number), "glyph": _glyph(number)}
        for number, model in charts.numbered(report)
    ]
    return render(
        f"report/{name}.html", report=report, models=models, minus=minus, signed=signed, **values
    )


def _glyph(number: int) -> str:
    return _GLYPHS[number % len(_GLYPHS)]


_Tile = tuple[
    str, str, list[tuple[int, str, str]]
]  # label, a word on it, (model, figure, interval)


def _tiles(report: Report) -> list[_Tile]:
    """The figures behind the choice: each of some models, by their numbers in the report."""
    scores = []
    for number, model in enumerate(report.models):
        sure = model.intervals.average
        interval = minus(f"{sure.low:.1f}–{sure.high:.1f}") if sure else ""
        scores.append((number, f"{model.result.average:.2f}", interval))
    tiles: list[_Tile] = [("Score", "Spearman ×100 with people's ratings, 100 at best", scores)]
    if report.comparison is not None:
        tiles += _compared_tiles(report, report.comparison)
    if all(model.bands.separation is not None for model in report.models):
        bands = report.models[0].bands
        note = (
            f"of the times that a pair rated {bands.edges[-2]:g}–{bands.edges[-1]:g} meets one"
            f" rated {bands.edges[0]:g}–{bands.edges[1]:g}, the model finds it the more alike"
        )
        shares = [
            (number, f"{100 * (model.bands.separation or 0):.1f} %", "")
            for number, model in enumerate(report.models)
        ]
        tiles.append(("Alike told from unlike", note, shares))
    if report.comparison is None:
        tiles += _published_tile(report)
    return tiles


def _compared_tiles(report: Report, comparison: STSComparison) -> list[_Tile]:
    """By how much each model is above the first, and on how many tasks."""
    numbers = {model.name: number for number, model in enumerate(report.models)}
    averages = {n: of[AVERAGE] for n, of in comparison.differences.items() if AVERAGE in of}
    differences = [
        (
            numbers[name],
            signed(one.difference, 2),
            f"{signed(one.interval.low)} to {signed(one.interval.high)}",
        )
        for name, one in averages.items()
    ]
    counts = won(report)
    tasks = [
        (numbers[name], f"{better} of {of}", f"{worse} worse")
        for name, (better, worse, of) in counts.items()
        if of > 1
    ]
    base = comparison.baseline
    level = f"{100 * comparison.level:g} %"
    tiles = []
    if differences:
        note = f"points above {base}, with the {level} interval"
        tiles.append(("Difference", note, differences))
    if tasks:
        tiles.append(("Tasks won", f"beyond chance ({level}) against {base}", tasks))
    return tiles


def _published_tile(report: Report) -> list[_Tile]:
    """The published average nearest to the only model's, where its protocol has some."""
    [model] = report.models
    if model.result.average_over != SUITE or not report.published:
        return []
    near = min(report.published, key=lambda row: abs(row.average - model.result.average))
    return [("Nearest published", near.model, [(0, f"{near.average:.2f}", "")])]


# ---- sections ------------------------------------------------------------------------------------


def _scores(report: Report) -> Section:
    """Tasks down and models across, since there are more tasks than models."""
    plain = {name: replace(result, geometry=None) for name, result in report.results.items()}
    cells = sts_cells(plain, report.intervals, report.published)
    rows = [
        (
            "Average" if task == "Avg." else task,
            [row[number] for _, row in cells.rows],
            _differences(report, task),
            [row[number] for _, row in cells.published],
        )
        for number, task in enumerate(cells.header)
    ]
    compared = list(report.comparison.differences) if report.comparison else []
    pictures = [charts.scores(report), charts.differences(report)]
    body = _part(
        "scores",
        report,
        rows=rows,
        compared=compared,
        published=[name for name, _ in cells.published],
        notes=cells.notes,
        by_chance=by_chance(len(rows), report.comparison.level) if report.comparison else "",
        pictures=[picture for picture in pictures if picture],
    )
    return Section("scores", "Scores on STS", body, "Scores")


def _differences(report: Report, task: str) -> list[Cell]:
    if report.comparison is None:
        return []
    key = AVERAGE if task == "Avg." else task
    cells = []
    for found in report.comparison.differences.values():
        if key not in found:
            cells.append(Cell("–"))
            continue
        one = found[key]
        interval = f"{signed(one.interval.low)} to {signed(one.interval.high)}"
        cells.append(Cell(signed(one.difference, 2), interval, best=bool(one.told)))
    return cells


def _densities(report: Report) -> Section:
    limits = charts.cosine_limits(report)
    pictures = [
        charts.densities(model, number, limits) for number, model in charts.numbered(report)
    ]
    body = _part("densities", report, pictures=pictures, bands=report.models[0].bands)
    return Section("cosines", "Do close pairs stand apart?", body, "Cosines")


def _space(report: Report) -> Section:
    from simcse_kit.geometry import ALIGNMENT_MAY_RISE, FIGURES

    names = [name for name in FIGURES if any(name in m.space.figures for m in report.models)]
    rows = []
    for name in names:
        figures = [model.space.figures.get(name) for model in report.models]
        places = digits(figure.value for figure in figures if figure)
        cells = [figure_and_interval(figure, places) for figure in figures]
        beside = [
            (one.name, minus(f"{one.values[name]:.{places}f}"))
            for one in report.references
            if name in one.values
        ]
        rows.append((FIGURES[name], cells, beside))
    plane = charts.plane(report)
    pictures = [*([plane] if plane else []), charts.spectrum(report)]
    model = report.models[0]
    body = _part(
        "space",
        report,
        rows=rows,
        pictures=pictures,
        task=model.bands.task,
        rises=ALIGNMENT_MAY_RISE if "alignment" in names else "",
        space=model.space,
        left_out=list(dict.fromkeys(why for m in report.models for why in left_out(m.space))),
    )
    return Section("space", "The space", body, "Space")


def _training(report: Report) -> Section | None:
    runs = []
    for number, model in charts.numbered(report):
        if model.run is not None:
            runs.append((model.name, model.run, charts.curves(model.name, model.run, number)))
    if not runs:
        return None
    drawn = [chart for *_, chart in runs if chart]
    body = _part("training", report, runs=runs, pictures=drawn, seconds=seconds)
    return Section("training", "Training", body)


def _neighbours(report: Report) -> Section | None:
    if report.neighbours is None or not report.neighbours.shown:
        return None
    body = _part("neighbours", report, near=report.neighbours)
    return Section("neighbours", "Neighbours of a few sentences", body, "Neighbours")


def _misjudged(report: Report) -> Section | None:
    if not any(high or low for high, low in report.misjudged.values()):
        return None
    shown = {name: report.beside(name) for name in report.misjudged}
    body = _part("misjudged", report, shown=shown)
    return Section("misjudged", "The pairs it gets most wrong", body, "Worst pairs")


def _leakage(report: Report) -> Section | None:
    leakage = report.leakage
    if leakage.training is None and not leakage.overlaps:
        return None
    names = list(dict.fromkeys(one.name for one in leakage.overlaps))
    groups = dict.fromkeys(o.other for o in leakage.overlaps if o.other not in names)
    others = [*names, *groups]
    shares = {
        (one.name, one.other): _share(one.rows, one.of_rows, one.sentences, one.of_sentences)
        for one in leakage.overlaps
    }
    found = headline(leakage)
    body = _part("leakage", report, headline=found, names=names, others=others, shares=shares)
    return Section("leakage", "Leakage", body)


def _share(rows: int | None, of_rows: int, sentences: int, of_sentences: int) -> tuple[str, str]:
    """Per cent of the pairs, and below it of the sentences."""

    def shown(part: int | None, whole: int) -> str:
        if part is None or not whole:
            return "–"
        return f"{100 * part / whole:.1f}" if part else "0"

    return shown(rows, of_rows), shown(sentences, of_sentences)


def _made(report: Report) -> Section:
    runs = [(model.name, model.run) for model in report.models if model.run is not None]
    body = _part(
        "made",
        report,
        runs=runs,
        seconds=seconds,
        setting_rows=setting_rows,
        paths_note=paths_note,
    )
    return Section("made", "How this was made", body, "How it was made")


_SECTIONS: tuple[Callable[[Report], Section | None], ...] = (
    _scores,
    _densities,
    _space,
    _training,
    _neighbours,
    _misjudged,
    _leakage,
    _made,
)
