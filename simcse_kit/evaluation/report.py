"""STS results as tables: one set of cells, drawn for the terminal or for a model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import STSResult
from simcse_kit.evaluation.sts_data import SUITE

if TYPE_CHECKING:
    from rich.table import Table

_NONE = "–"


@dataclass(frozen=True)
class _Cells:
    header: list[str]
    rows: list[list[str]]
    best: list[set[int]]  # for each column the rows with its best score
    notes: list[str]


def sts_table(results: Mapping[str, STSResult]) -> Table:
    """A rich table: a row a model, a column a task (Spearman ×100), average, geometry.

    The caption says what the figures are: aggregation, splits, text, and for alignment and
    uniformity the task, threshold and N.
    """
    from rich import box
    from rich.table import Table

    cells = _cells(results)
    table = Table(
        box=box.SIMPLE_HEAD, caption=" ".join(cells.notes), caption_justify="left", pad_edge=False
    )
    for number, name in enumerate(cells.header):
        table.add_column(name, justify="right" if number else "left", no_wrap=number > 0)
    for number, row in enumerate(cells.rows):
        marked = [
            f"[bold]{cell}[/bold]" if number in best else cell
            for cell, best in zip(row[1:], cells.best[1:], strict=True)
        ]
        table.add_row(row[0].replace("[", r"\["), *marked)
    return table


def markdown_table(results: Mapping[str, STSResult]) -> str:
    """The same table as GitHub Markdown, its notes in a line below."""
    cells = _cells(results)
    lines = [cells.header, ["---", *["---:"] * (len(cells.header) - 1)]]
    for number, row in enumerate(cells.rows):
        marked = [
            f"**{cell}**" if number in best else cell
            for cell, best in zip(row[1:], cells.best[1:], strict=True)
        ]
        lines.append([row[0].replace("|", r"\|"), *marked])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{' '.join(cells.notes)}\n"


def _cells(results: Mapping[str, STSResult]) -> _Cells:
    if not results:
        raise InputError("There is no result to tabulate: evaluate at least one model.")
    named = dict.fromkeys(task for result in results.values() for task in result.tasks)
    tasks = [task for task in SUITE if task in named] + [t for t in named if t not in SUITE]
    columns: dict[str, list[float | None]] = {}
    for task in tasks:
        scores = [result.tasks.get(task) for result in results.values()]
        columns[task] = [None if score is None else score.spearman for score in scores]
    averaged = {result.average_over for result in results.values()}
    # One column of averages over different tasks would rank what cannot be compared.
    if len(averaged) == 1 and len(next(iter(averaged))) > 1:
        columns["Avg."] = [result.average for result in results.values()]
    best = [set(), *map(_best, columns.values())]

    geometry = [result.geometry for result in results.values()]
    if any(geometry):
        columns["Align."] = [g.alignment if g else None for g in geometry]
        columns["Uniform."] = [g.uniformity if g else None for g in geometry]
        best += [set(), set()]  # neither is good or bad alone
    rows = [
        [model, *(_shown(name, values[number]) for name, values in columns.items())]
        for number, model in enumerate(results)
    ]
    return _Cells(["Model", *columns], rows, best, _notes(results))


def _best(values: list[float | None]) -> set[int]:
    """Rows of the highest value as printed; nothing stands out in a table of one."""
    shown = [None if value is None else round(value, 2) for value in values]
    known = [value for value in shown if value is not None]
    if len(known) < 2:
        return set()
    return {number for number, value in enumerate(shown) if value == max(known)}


def _shown(column: str, value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.3f}" if column in ("Align.", "Uniform.") else f"{value:.2f}"


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


def _describe(result: STSResult) -> tuple[str, str, str]:
    protocol = result.protocol
    score = (
        f'Spearman ×100 of cosines, "{protocol["aggregation"]}" aggregation,'
        f" {_splits(protocol['splits'])}, text {protocol['text']}."
    )
    over = result.average_over
    average = ""
    if over == SUITE:
        average = "Avg. is over the seven STS tasks."
    elif len(over) > 1:
        average = f"Avg. is over {', '.join(over)} only."
    geometry = ""
    if result.geometry:
        g = result.geometry
        geometry = (
            f"Alignment over the {g.pairs:,} pairs of {g.task} ({g.split}) with gold >"
            f" {g.threshold:g}, uniformity over its {g.sentences:,} distinct sentences;"
            " lower is better."
        )
    return score, average, geometry


def _splits(splits: Mapping[str, str]) -> str:
    """The split of most tasks, and the tasks that are on another."""
    most = Counter(splits.values()).most_common(1)[0][0]
    others = [f"{task}: {split}" for task, split in splits.items() if split != most]
    return f"{most} split" + (f" ({', '.join(others)})" if others else "")
