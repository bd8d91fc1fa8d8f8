"""A report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from simcse_kit.evaluation import Cell
from simcse_kit.evaluation.leakage import headline
from simcse_kit.evaluation.sts import AVERAGE, sts_cells
from simcse_kit.report import charts
from simcse_kit.report.data import Report
from simcse_kit.report.page import Section, page, render, text_of
from simcse_kit.report.verdict import verdict
from simcse_kit.report.words import (
    digits,
    figure_and_interval,
    heading,
    minus,
    seconds,
    setting_rows,
    signed,
)

_GLYPHS = "●■◆▲▼✚"  # the marks of the charts
_GLANCE = ("uniformity", "effective_rank")  # of the geometry, at the top of the page


def html(report: Report) -> str:
    """The page. The same report gives the same bytes."""
    found = verdict(report)
    lead = _part(
        "lead",
        report,
        headlines=found.headlines,
        caveats=found.caveats,
        tiles=_tiles(report),
    )
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
        lead=lead,
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


def _tiles(report: Report) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What is read first: a label, a word on it, and for each model its figure and interval."""
    over = "Spearman ×100, higher is better"
    average = []
    for model in report.models:
        sure = model.intervals.average
        interval = f"{sure.low:.1f}–{sure.high:.1f}" if sure else ""
        average.append((f"{model.result.average:.2f}", minus(interval)))
    tiles = [("STS average", over, average)]
    if all(model.bands.separation is not None for model in report.models):
        bands = report.models[0].bands
        text = (
            f"chance that a pair of gold {bands.edges[-2]:g}–{bands.edges[-1]:g} has a higher"
            f" cosine than one of {bands.edges[0]:g}–{bands.edges[1]:g}"
        )
        shares = [(f"{100 * (m.bands.separation or 0):.1f} %", "") for m in report.models]
        tiles.append(("Separation", text, shares))
    for name in _GLANCE:
        figures = [model.space.figures.get(name) for model in report.models]
        known = [figure for figure in figures if figure is not None]
        if len(known) == len(figures):
            title, note = _titles()[name]
            places = digits(figure.value for figure in known)
            tiles.append((title, note, [figure_and_interval(f, places) for f in known]))
    return tiles


def _titles() -> dict[str, tuple[str, str]]:
    from simcse_kit.geometry import FIGURES

    notes = {
        "uniformity": "0 is collapsed, lower is more evenly spread",
        "effective_rank": "directions in use, of all dimensions",
    }
    return {name: (FIGURES[name].title, note) for name, note in notes.items()}


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
        told = one.p_adjusted <= 1 - one.interval.level
        cells.append(Cell(signed(one.difference, 2), interval, best=told))
    return cells


def _densities(report: Report) -> Section:
    limits = charts.cosine_limits(report)
    pictures = [
        charts.densities(model, number, limits) for number, model in charts.numbered(report)
    ]
    body = _part("densities", report, pictures=pictures, bands=report.models[0].bands)
    return Section("cosines", "Do close pairs stand apart?", body, "Cosines")


def _space(report: Report) -> Section:
    from simcse_kit.geometry import FIGURES

    names = [name for name in FIGURES if any(name in m.space.figures for m in report.models)]
    rows = []
    for name in names:
        figures = [model.space.figures.get(name) for model in report.models]
        places = digits(figure.value for figure in figures if figure)
        cells = [figure_and_interval(figure, places) for figure in figures]
        rows.append((FIGURES[name], cells))
    plane = charts.plane(report)
    pictures = [*([plane] if plane else []), charts.spectrum(report)]
    model = report.models[0]
    body = _part(
        "space",
        report,
        rows=rows,
        pictures=pictures,
        task=model.bands.task,
        space=model.space,
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
    body = _part("made", report, runs=runs, seconds=seconds, setting_rows=setting_rows)
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
