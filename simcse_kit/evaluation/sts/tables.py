"""STS results as tables: what stands in each cell, and the notes below that say what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import Comparison
from simcse_kit.evaluation.sts.comparison import (
    AVERAGE,
    TESTS,
    STSComparison,
    by_chance,
    shown_p,
)
from simcse_kit.evaluation.sts.file_names import AVERAGE_COLUMN, GEOMETRY_COLUMNS
from simcse_kit.evaluation.sts.intervals import STSIntervals
from simcse_kit.evaluation.sts.protocols import MTEB_SUITE, departures, protocol_of
from simcse_kit.evaluation.sts.published import Published
from simcse_kit.evaluation.sts.suite import STSResult
from simcse_kit.evaluation.sts.tasks import SUBSET_TASKS, SUITE
from simcse_kit.evaluation.tables import Cell, Cells, draw, draw_markdown
from simcse_kit.geometry import ALIGNMENT_MAY_RISE, MEASURED, close_pairs

if TYPE_CHECKING:
    from rich.table import Table

_NONE = "–"
_AVERAGE, _GEOMETRY = AVERAGE_COLUMN, GEOMETRY_COLUMNS
#: Beside several models: a column must have a highest figure, by chance too.
_HIGHEST = "In bold the highest figure on each task, told from the others or not."
Intervals = Mapping[str, STSIntervals]


def sts_table(
    results: Mapping[str, STSResult],
    intervals: Intervals | None = None,
    published: Sequence[Published] = (),
    *,
    upright: bool = False,
) -> Table:
    """A rich table: a row a model, a column a task (Spearman ×100), average, geometry.

    The caption says what the figures are: protocol, splits, text, how the intervals were made,
    and for alignment and uniformity the task, threshold and N.

    Args:
        intervals: of each model, shown below its figures.
        published: rows to stand below the measured ones.
        upright: a row a task and a column a model instead, which is narrower.
    """
    return draw(sts_cells(results, intervals, published), upright=upright)


def markdown_table(
    results: Mapping[str, STSResult],
    intervals: Intervals | None = None,
    published: Sequence[Published] = (),
) -> str:
    """The same table as GitHub Markdown, its notes in a line below."""
    return draw_markdown(sts_cells(results, intervals, published))


def comparison_table(comparison: STSComparison, *, upright: bool = False) -> Table:
    """The differences to the baseline: a row a model, a column a task, with interval and p."""
    return draw(comparison_cells(comparison), upright=upright)


def comparison_markdown(comparison: STSComparison) -> str:
    """The same as GitHub Markdown."""
    return draw_markdown(comparison_cells(comparison))


# ---- cells ---------------------------------------------------------------------------------------


def sts_cells(
    results: Mapping[str, STSResult],
    intervals: Intervals | None = None,
    published: Sequence[Published] = (),
) -> Cells:
    """The cells of `sts_table`. Raises InputError where there is no result."""
    if not results:
        raise InputError("There is no result to tabulate: evaluate at least one model.")
    tasks = _in_order(dict.fromkeys(task for result in results.values() for task in result.tasks))
    averaged = {result.average_over for result in results.values()}
    # One column of averages over different tasks would rank what cannot be compared.
    with_average = len(averaged) == 1 and len(next(iter(averaged))) > 1
    with_geometry = any(result.geometry for result in results.values())
    columns = [*tasks, *([_AVERAGE] if with_average else [])]
    values = {name: [_value(result, name) for name in columns] for name, result in results.items()}
    best = [_best([row[column] for row in values.values()]) for column in range(len(columns))]

    rows = []
    for name, result in results.items():
        known = (intervals or {}).get(name)
        cells = [
            _score(value, column, known, best=value is not None and _round(value) == top)
            for column, value, top in zip(columns, values[name], best, strict=True)
        ]
        if with_geometry:  # neither is good or bad alone, so none is the best
            g = result.geometry
            cells += [Cell(f"{v:.3f}") for v in (g.alignment, g.uniformity)] if g else [_EMPTY] * 2
        rows.append((name, cells))
    header = [*columns, *(_GEOMETRY if with_geometry else ())]
    beside = [_published(row, header, averaged == {SUITE}) for row in published]
    notes = [*_notes(results), *_interval_notes(intervals or {}), *_sources(published)]
    if len(results) > 1:
        notes.insert(0, _HIGHEST)
    return Cells(header, rows, beside, notes)


_EMPTY = Cell(_NONE)


def comparison_cells(comparison: STSComparison) -> Cells:
    """The cells of `comparison_table`: of every other contender against the baseline."""
    known = dict.fromkeys(f for found in comparison.differences.values() for f in found)
    tasks = _in_order([figure for figure in known if figure != AVERAGE])
    with_average = len(comparison.average_over) > 1 and AVERAGE in known
    figures = [*tasks, *([AVERAGE] if with_average else [])]
    rows = []
    for name, found in comparison.differences.items():
        rows.append((name, [difference_cell(found[figure]) for figure in figures]))
    header = [_AVERAGE if figure == AVERAGE else figure for figure in figures]
    level = f"{100 * comparison.level:g} %"
    family = comparison.family
    over = "the models" if family == len(rows) else f"the {family} pairs of models"
    corrected = f", corrected by Holm over {over}" if family > 1 else ""
    notes = [
        f"Points of Spearman ×100 above {comparison.baseline}; below them the {level} interval of"
        f" the difference, and its two-sided p-value{corrected} (each column by itself).",
        f"By {TESTS[comparison.of_recipes]}; {_resamples(comparison)}.",
        "It allows for other trainings of the recipes and for other test pairs."
        if comparison.of_recipes
        else "It allows for other test pairs, not for other training seeds of these models.",
    ]
    notes += filter(None, [by_chance(len(figures), comparison.level)])
    notes += [f"No comparison on {figure}: {why}" for figure, why in comparison.missing.items()]
    return Cells(header, rows, [], notes)


def difference_cell(one: Comparison) -> Cell:
    """By how much the one is better, the interval of that and its corrected p-value."""
    interval = f"{one.interval.low:+.1f} to {one.interval.high:+.1f}"
    return Cell(f"{one.difference:+.2f}", f"{interval}\n{shown_p(one.p_adjusted)}")


def _in_order(tasks: Sequence[str] | Mapping[str, None]) -> list[str]:
    return [task for task in SUITE if task in tasks] + [t for t in tasks if t not in SUITE]


def _value(result: STSResult, column: str) -> float | None:
    if column == _AVERAGE:
        return result.average
    score = result.tasks.get(column)
    return None if score is None else score.spearman


def _score(value: float | None, column: str, known: STSIntervals | None, *, best: bool) -> Cell:
    if value is None:
        return _EMPTY
    figure, below = f"{value:.2f}", ""
    if known is not None:
        sd = known.sd.get(AVERAGE if column == _AVERAGE else column)
        figure += "" if sd is None else f" ± {sd:.2f}"
        interval = known.average if column == _AVERAGE else known.tasks.get(column)
        below = "" if interval is None else f"{_tenth(interval.low)}–{_tenth(interval.high)}"
    return Cell(figure, below, best)


def _tenth(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")


def _round(value: float) -> float:
    return round(value, 2)


def _best(values: Sequence[float | None]) -> float | None:
    """The highest value as printed; nothing stands out in a table of one."""
    known = [_round(value) for value in values if value is not None]
    return max(known) if len(known) > 1 else None


def _published(row: Published, header: Sequence[str], averages: bool) -> tuple[str, list[Cell]]:
    figures = {task: f"{score:.2f}" for task, score in row.scores.items()}
    if averages:
        figures[_AVERAGE] = f"{row.average:.2f}"
    return row.model, [Cell(figures.get(column, _NONE)) for column in header]


# ---- notes ---------------------------------------------------------------------------------------


def _notes(results: Mapping[str, STSResult]) -> list[str]:
    """What the figures are: said once where it holds for all, else model by model."""
    described = [_describe(result) for result in results.values()]
    notes = []
    for sentences in zip(*described, strict=True):
        if len(set(sentences)) == 1:
            notes.append(sentences[0])
        else:
            notes += [f"{m}: {s}" for m, s in zip(results, sentences, strict=True)]
    return [note for note in notes if note]


def _describe(result: STSResult) -> tuple[str, ...]:
    measured = result.protocol
    named = protocol_of(measured)
    # Protocols differ on these tasks alone.
    concerned = {*SUBSET_TASKS, "SICKR", "SICKR-MTEB"} & result.tasks.keys()
    explained = f" ({named.meaning})" if concerned else ""
    score = (
        f"Spearman ×100 of cosines, protocol {named.name}{explained}:"
        f' "{measured["aggregation"]}" aggregation, {_splits(measured["splits"])},'
        f" text {measured['text']}."
    )
    model = ", ".join(
        shown.format(measured[key]) for key, shown in _SETTINGS.items() if key in measured
    )
    over = result.average_over
    average = ""
    if over in (SUITE, MTEB_SUITE):
        average = "Avg. is over the seven STS tasks."
    elif len(over) > 1:
        average = f"Avg. is over {', '.join(over)} only."
    geometry = ""
    if result.geometry:
        g = result.geometry
        geometry = (
            f"Alignment over the {g.pairs:,} pairs of {g.task} ({g.split}) with"
            f" {close_pairs(g.threshold, g.scale)}, uniformity over its {g.sentences:,} distinct"
            f" sentences; lower is better.{_beside(f'{g.task} ({g.split})')} {ALIGNMENT_MAY_RISE}"
        )
    settings = f"Embedded with {model}." if model else ""
    return score, " ".join(departures(measured)), average, settings, geometry


def _beside(sentences: str) -> str:
    """The figures of known encoders on these sentences, and what no encoder passes."""
    known = "; ".join(
        f"{one.name} {one.values['alignment']:.3f} and {one.values['uniformity']:.3f}"
        for one in MEASURED.get(sentences, ())
    )
    beside = f" Beside them {known}" if known else ""
    least = "an even sphere's uniformity is −4 + 8/D"
    return f"{beside}; {least}." if beside else f" {least[:1].upper()}{least[1:]}."


_SETTINGS = {
    "pooling": "{} pooling",
    "max_length": "texts cut to {} tokens",
    "precision": "in {}",
}


def _splits(splits: Mapping[str, str]) -> str:
    """The split of most tasks, and the tasks that are on another."""
    most = Counter(splits.values()).most_common(1)[0][0]
    others = [f"{task}: {split}" for task, split in splits.items() if split != most]
    return f"{most} split" + (f" ({', '.join(others)})" if others else "")


def _interval_notes(intervals: Intervals) -> list[str]:
    said: dict[str, None] = {}
    for found in intervals.values():
        if found.tasks:
            what = f"Below each figure its {100 * found.level:g} % interval"
            if found.seeds > 1:
                what = (
                    f"Mean ± standard deviation over {found.seeds} training seeds; below it the"
                    f" {100 * found.level:g} % interval of the mean, over other seeds and"
                )
            else:
                what += " over"
            said[f"{what} other test pairs of the same kind ({_resamples(found)})."] = None
    for name, found in intervals.items():
        for figure, why in found.missing.items():
            if figure != AVERAGE or len(found.average_over) > 1:
                said[f"{name} has no interval on {figure}: {why}"] = None
    return list(said)


def _resamples(made: STSIntervals | STSComparison) -> str:
    pairs = "pairs that share a sentence taken together" if made.clustered else "pairs"
    return f"bootstrap over {pairs}, {made.draws:,} draws"


def _sources(published: Sequence[Published]) -> list[str]:
    sources = dict.fromkeys(row.source for row in published)
    notes = [f"Published figures: {'; '.join(sources)}."] if published else []
    return notes + [f"{row.model}: {row.note}" for row in published if row.note]
