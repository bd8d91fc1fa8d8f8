"""A report as GitHub Markdown: everything but the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simcse_kit.data import for_markdown
from simcse_kit.evaluation import left_out
from simcse_kit.evaluation.leakage import headline, quoted
from simcse_kit.evaluation.leakage import markdown as leakage_markdown
from simcse_kit.evaluation.sts import comparison_markdown, markdown_table
from simcse_kit.geometry import ALIGNMENT_MAY_RISE, FIGURES
from simcse_kit.report.data import Report
from simcse_kit.report.examples import Misjudged
from simcse_kit.report.lead import lead
from simcse_kit.report.words import (
    digits,
    figure_and_interval,
    heading,
    minus,
    paths_note,
    seconds,
    setting_rows,
)


def markdown(report: Report) -> str:
    """The report; texts from the data come out as plain text."""
    top = lead(report)
    parts = [
        f"# {quoted(heading(report))}",
        f"**{for_markdown(top.choice)}**",
        "\n".join(map(for_markdown, report.remark.splitlines())),
        *(f"**{asked}.** {for_markdown(said)}" for asked, said in top.answers),
        "## Scores on STS",
        _scores(report),
        "## The space",
        _space(report),
        "## Cosines by gold score",
        _bands(report),
        *_training(report),
        *_neighbours(report),
        *_misjudged(report),
        "## Leakage",
        for_markdown(headline(report.leakage)),
        leakage_markdown(report.leakage),
        "## How this was made",
        _made(report),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _scores(report: Report) -> str:
    plain = {name: replace(result, geometry=None) for name, result in report.results.items()}
    text = markdown_table(plain, report.intervals, report.published)
    if report.comparison is not None:
        text += "\n" + comparison_markdown(report.comparison)
    return text


def _space(report: Report) -> str:
    rows = []
    for name, text in FIGURES.items():
        figures = [model.space.figures.get(name) for model in report.models]
        if any(figures):
            places = digits(figure.value for figure in figures if figure)
            cells = [figure_and_interval(f, places) for f in figures]
            shown = [f"{value} ({interval})" if interval else value for value, interval in cells]
            beside = [minus(f"{one.values[name]:.{places}f}") for one in report.references]
            rows.append([f"**{text.title}.** {text.meaning}", *shown, *beside])
    space, task = report.models[0].space, report.models[0].bands.task
    names = [one.name for one in report.references]
    notes = [
        f"Of the {space.sentences:,} distinct sentences of {quoted(task)}, with intervals.",
        *(f"{one.name}: {for_markdown(one.source)}" for one in report.references),
        *dict.fromkeys(for_markdown(why) for m in report.models for why in left_out(m.space)),
        *([ALIGNMENT_MAY_RISE] if "alignment" in space.figures else []),
    ]
    table = _table(["Figure", *map(quoted, report.results), *names], rows)
    return table + "\n\n" + "\n".join(f"- {note}" for note in notes)


def _bands(report: Report) -> str:
    bands = report.models[0].bands
    rows = []
    for band in range(len(bands.cosines)):
        medians = [model.bands.median(band) for model in report.models]
        shown = ["–" if value is None else minus(f"{value:.3f}") for value in medians]
        pairs = f"{len(bands.cosines[band]):,}"
        rows.append([f"{bands.edges[band]:g}–{bands.edges[band + 1]:g}", pairs, *shown])
    names = [f"median, {quoted(name)}" for name in report.results]
    shares = [
        f"{quoted(model.name)} {100 * model.bands.separation:.1f} %"
        for model in report.models
        if model.bands.separation is not None
    ]
    note = f"Chance that a pair of the highest band has a higher cosine: {', '.join(shares)}."
    table = _table([f"Gold, {quoted(bands.task)}", "pairs", *names], rows)
    return f"{table}\n\n{note}" if shares else table


def _training(report: Report) -> list[str]:
    lines = []
    for model in report.models:
        if model.run is None:
            continue
        said = [f"**{quoted(model.name)}**"]
        if best := model.run.best:
            said.append(f"best on dev at step {best.step:,}: {best.figure} {best.score:.2f}")
        if model.run.seconds:
            said.append(f"trained in {seconds(model.run.seconds)}")
        lines.append("- " + "; ".join(said))
    return ["## Training", "\n".join(lines)] if lines else []


def _neighbours(report: Report) -> list[str]:
    near = report.neighbours
    if near is None or not near.shown:
        return []
    lines = [
        f"The nearest of {near.pool:,} sentences ({quoted(near.source)}) of some drawn at random"
        f" (seed {near.seed}).",
        "",
    ]
    for one in near.shown:
        lines.append(f"- {quoted(one.text)}")
        for name, found in one.nearest.items():
            lines.append(f"  - {quoted(name)}:")
            lines += [f"    - {minus(f'{n.cosine:.2f}')} {quoted(n.text)}" for n in found]
    return ["## Neighbours of a few sentences", "\n".join(lines)]


def _misjudged(report: Report) -> list[str]:
    parts = []
    for name, (high, low) in report.misjudged.items():
        for title, pairs in (("too high", high), ("too low", low)):
            if pairs:
                parts.append(f"### Ranked {title} by {quoted(name)}")
                parts.append(_pairs(pairs, report.beside(name)))
    note = "Ranks within each task, from 0 (least alike) to 100."
    return ["## The pairs it gets most wrong", note, *parts] if parts else []


def _pairs(pairs: Sequence[Misjudged], models: Sequence[str]) -> str:
    rows = [
        [
            f"{quoted(pair.sentence1)}<br>{quoted(pair.sentence2)}",
            quoted(pair.task),
            f"{pair.gold_rank:.0f}",
            *(f"{pair.rank[model]:.0f}" for model in models),
        ]
        for pair in pairs
    ]
    return _table(["Pair", "Task", "Gold", *map(quoted, models)], rows)


def _made(report: Report) -> str:
    made = {key: value for key, value in report.made.items() if key != "seconds"}
    made["seconds"] = {name: seconds(value) for name, value in report.made["seconds"].items()}
    rows = [list(map(for_markdown, row)) for row in setting_rows(made)]
    text = f"{_table(['', ''], rows)}\n\n{paths_note(report.made)}".strip()
    for model in report.models:
        if model.run is not None:
            settings = [
                [for_markdown(n), for_markdown(v)] for n, v in setting_rows(model.run.config)
            ]
            text += f"\n\n### Settings of {quoted(model.name)}\n\n{_table(['', ''], settings)}"
    return text


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
