"""``simcse-kit task``: models judged on the user's own files, a command a kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from simcse_kit.commands.console import chatter_on_stderr, note, show_table
from simcse_kit.commands.models import by_label
from simcse_kit.commands.options import (
    Labels,
    ModelOptions,
    Output,
    Pairwise,
    SidesOptions,
    known_models,
)
from simcse_kit.data import for_markdown, one_line
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation import TaskComparison, TaskResult

Task = TypeVar("Task")

app = typer.Typer(
    help="Judge models on your own files, their columns named.",
    rich_markup_mode=None,
)

FORMATS = ".csv .tsv .jsonl .parquet (.gz too)"
#: What every task hands on to `encode`.
SHOWN = {"show_progress": True}


@app.callback(invoke_without_command=True)
def _start(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@dataclass(frozen=True)
class Others:
    """Models beside the first, and how they are compared."""

    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="MODEL",
            help="Another model, to compare with the first on the same items (repeatable).",
            callback=known_models,
        ),
    ] = None
    labels: Labels = None
    pairwise: Pairwise = False

    def named(self, model: str) -> dict[str, str]:
        """All the models by what they are called, the first too."""
        if self.pairwise and not self.beside:
            raise InputError("--pairwise compares several models; name the others with --with")
        return by_label([model, *(self.beside or [])], self.labels)


@dataclass(frozen=True)
class TaskOptions(ModelOptions, Output, Others):
    """What every task takes."""


@dataclass(frozen=True)
class RetrievalOptions(SidesOptions, TaskOptions):
    """What retrieval takes."""


def run_task(
    read: Callable[[], Task],
    judge: Callable[[SentenceEncoder, Task, str], TaskResult],
    model: str,
    options: TaskOptions,
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> None:
    """Read the task, then judge the models on it, one in memory at a time, and show their figures.

    A mistake in a file costs no time. Several models are compared by `draws` resamples.

    Args:
        judge: from an encoder, what `read` gives and the model's name to its figures.
    """
    options.check()
    models = options.named(model)
    alone = len(models) == 1
    with chatter_on_stderr():
        from simcse_kit.evaluation import compare_tasks

        task = read()
        results = {
            name: judge(options.load(each, alone=alone), task, each)
            for name, each in models.items()
        }
        how: dict[str, Any] = {"pairwise": options.pairwise, "draws": draws, "seed": seed}
        comparison = None if alone else compare_tasks(results, **how)
    figures = [
        ({"label": name} if options.labels else {}) | result.to_json()
        for name, result in results.items()
    ]
    if alone:
        (name, result), (only,) = next(iter(results.items())), figures
        show_result(replace(result, model=name), only, options)
        return
    compared = comparison.to_json() if comparison else None
    options.write({"models": figures, "comparison": compared})
    if options.has_table:
        _show_several(results, comparison, options.markdown)


def show_result(result: TaskResult, figures: dict[str, Any], output: Output) -> None:
    """Write the figures where they were asked for; print the table unless JSON goes to stdout."""
    from simcse_kit.evaluation import task_result

    output.write(figures)
    if not output.has_table:
        return
    if output.markdown:
        typer.echo(task_result.markdown(result))
    else:
        show_table(task_result.table(result))
        typer.echo(one_line(task_result.caption(result)))


def _show_several(
    results: Mapping[str, TaskResult], comparison: TaskComparison | None, markdown: bool
) -> None:
    """The models side by side, a column each; below them their differences, in words too."""
    from simcse_kit.evaluation import difference_cells, draw, draw_markdown, side_by_side

    tables = [side_by_side(results), *([difference_cells(comparison)] if comparison else [])]
    for cells in tables:
        if markdown:
            typer.echo(draw_markdown(cells))
        else:
            show_table(draw(replace(cells, notes=[]), upright=True))
            typer.echo("\n".join(cells.notes))  # a caption would be as narrow as the table
    if comparison is None:
        note("the differences are not tested: this task does not resample its items")
        return
    for sentence in comparison.sentences():
        typer.echo(f"- {for_markdown(sentence)}" if markdown else one_line(sentence))
