"""``simcse-kit evaluate`` and ``compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit.commands.options import (
    Aggregation,
    DataDir,
    HeadOption,
    Json,
    Markdown,
    MaxLength,
    Model,
    Plots,
    PoolingOption,
    Precision,
    Tasks,
    load_encoder,
)
from simcse_kit.console import chatter_on_stderr, check_outputs, show_table, write_json
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import PairTask, STSResult


def evaluate(
    model: Model,
    suite: Annotated[Literal["sts"], typer.Option(help="The suite of tasks.")] = "sts",
    data_dir: DataDir = None,
    tasks: Tasks = None,
    aggregation: Aggregation = "all",
    json_file: Json = None,
    plots: Plots = None,
    markdown: Markdown = False,
    precision: Precision = "auto",
    pooling: PoolingOption = None,
    head: HeadOption = None,
    max_length: MaxLength = None,
) -> None:
    """Score a model on the STS suite.

    Spearman x 100 of cosines, with alignment and uniformity beside it.
    """
    load = {"precision": precision, "pooling": pooling, "head": head, "max_length": max_length}
    check_outputs(json_file, plots)
    with chatter_on_stderr():
        chosen = _tasks(tasks, data_dir)
        result = _judge(model, chosen, aggregation, load)
        if plots is not None:
            draw_cosines(result, chosen, plots)
    if json_file is not None:
        write_json(result.to_json(), json_file)
    if json_file != "-":
        _print_scores({model: result}, markdown)


def compare(
    models: Annotated[list[str], typer.Argument(help="Two models or more.")],
    data_dir: DataDir = None,
    tasks: Tasks = None,
    aggregation: Aggregation = "all",
    json_file: Json = None,
    plots: Plots = None,
    markdown: Markdown = False,
    precision: Precision = "auto",
    pooling: PoolingOption = None,
    max_length: MaxLength = None,
) -> None:
    """Score several models on the same tasks, in one table."""
    if len(set(models)) < 2:
        raise InputError("compare needs at least two different models")
    load = {"precision": precision, "pooling": pooling, "max_length": max_length}
    check_outputs(json_file, plots)
    with chatter_on_stderr():
        chosen = _tasks(tasks, data_dir)
        # one model in memory at a time
        results = {model: _judge(model, chosen, aggregation, load) for model in models}
        if plots is not None:
            _draw_plane(results, plots)
    if json_file is not None:
        write_json({"models": [result.to_json() for result in results.values()]}, json_file)
    if json_file != "-":
        _print_scores(results, markdown)


def _tasks(names: str | None, data_dir: Path | None) -> list[PairTask]:
    from simcse_kit.evaluation.sts import SUITE, load_tasks

    return load_tasks(data_dir, SUITE if names is None else [n.strip() for n in names.split(",")])


def _judge(
    model: str,
    tasks: Sequence[PairTask],
    aggregation: Literal["all", "mean", "wmean"],
    load: dict[str, Any],
) -> STSResult:
    from simcse_kit.evaluation.sts import evaluate as judge

    shown = {"show_progress": True}
    encoder = load_encoder(model, **load)
    return judge(encoder, tasks, aggregation=aggregation, encode_kwargs=shown, name=model)


def _draw_plane(results: Mapping[str, STSResult], folder: Path) -> None:
    from simcse_kit.evaluation.plots import alignment_uniformity_plane

    points = {
        model: (result.geometry.alignment, result.geometry.uniformity, result.average)
        for model, result in results.items()
        if result.geometry is not None
    }
    alignment_uniformity_plane(points, folder / "alignment_uniformity.png")


def _print_scores(results: Mapping[str, STSResult], markdown: bool) -> None:
    from simcse_kit.evaluation.report import markdown_table, sts_table

    if markdown:
        typer.echo(markdown_table(results))
    else:
        show_table(sts_table(results))


def draw_cosines(result: STSResult, tasks: Sequence[PairTask], folder: Path) -> None:
    """Write ``cosines_TASK.png`` for each task: its cosines by band of gold score."""
    from simcse_kit.evaluation.plots import cosine_densities

    for task in tasks:
        score = result.tasks[task.name].spearman
        cosine_densities(
            result.cosines[task.name],
            task.gold,
            folder / f"cosines_{task.name}.png",
            title=f"{Path(result.model).name} on {task.name}: Spearman {score:.2f}",
        )
