"""STS results on stdout, as JSON and as pictures: what commands that score have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from simcse_kit.commands.console import note, show_table

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import PairTask, Published, STSIntervals, STSResult


def scores_as_json(
    result: STSResult,
    runs: Sequence[STSResult],
    sure: STSIntervals | None,
    beside: Sequence[Published] = (),
) -> dict[str, Any]:
    """A result's figures, with those of its seeds where there are several."""
    figures = result.to_json() | {"intervals": sure.to_json() if sure else None}
    if len(runs) > 1:
        figures["runs"] = [run.to_json() for run in runs]
    return figures | ({"published": [row.to_json() for row in beside]} if beside else {})


def print_scores(
    results: Mapping[str, STSResult],
    intervals: Mapping[str, STSIntervals],
    beside: Sequence[Published],
    markdown: bool,
) -> None:
    """A row a model, a column a task."""
    from simcse_kit.evaluation.sts import markdown_table, sts_table

    if markdown:
        typer.echo(markdown_table(results, intervals, beside))
        return
    drawn = [sts_table(results, intervals, beside, upright=upright) for upright in (False, True)]
    show_table(drawn[0], narrower=drawn[1])


def draw_cosines(result: STSResult, tasks: Sequence[PairTask], folder: Path) -> None:
    """Write ``cosines_TASK.png`` for each task: its cosines by band of gold score."""
    from simcse_kit.evaluation import cosine_densities

    for task in tasks:
        score = result.tasks[task.name].spearman
        picture = folder / f"cosines_{task.name.replace('/', '_')}.png"
        cosine_densities(
            result.cosines[task.name],
            task.gold,
            picture,
            title=f"{Path(result.model).name} on {task.name}: Spearman {score:.2f}",
        )
        note(f"wrote {picture}")
