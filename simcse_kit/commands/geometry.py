"""``simcse-kit geometry``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.column_mapping import FileOptions
from simcse_kit.commands.console import chatter_on_stderr, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import DataDir, Model, ModelOptions, Output
from simcse_kit.data import one_line
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation import Sentences
    from simcse_kit.geometry import Reference, Space


@grouped
def geometry(
    model: Model,
    source: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="Texts or pairs. Default: an STS task."),
    ] = None,
    data_dir: DataDir = None,
    task: Annotated[str | None, typer.Option(help="The STS task. Default: STSB.")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Layer by layer.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Alignment is over pairs with gold above it. Default: four fifths of the scale,"
            " 4 of 0 to 5."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of the effective negatives.")] = 0.05,
    draws: Annotated[int, typer.Option(min=100, help="Resamples for the intervals.")] = 1000,
    *,
    reading: FileOptions,
    output: Output,
    loading: ModelOptions,
) -> None:
    """Measure the geometry of a model's space.

    Each figure with its interval, with what it means and with what it must not be taken for.
    Layer by layer the figures are of each layer's mean over tokens, without head and pooling.
    """
    if source is None and (foreign := reading.given_of_files()):
        raise InputError(f"{foreign[0]} is of a FILE's rows; give the file, or leave it out")
    if source is not None and (data_dir is not None or task is not None):
        raise InputError("geometry is of a FILE or of an STS task, not of both; leave one out")
    output.check()
    with chatter_on_stderr():
        from simcse_kit.geometry import references

        sentences = _sentences(source, reading, data_dir, task)
        options: dict[str, Any] = sentences.options(threshold=threshold)
        options |= {"temperature": temperature, "draws": draws}
        encoder = loading.load(model)
        if layers:
            from simcse_kit.evaluation import measure_layers

            spaces = measure_layers(encoder, sentences.texts, show_progress=True, **options)
        else:
            from simcse_kit.evaluation import embed
            from simcse_kit.geometry import measure_space

            embeddings = embed(encoder, sentences.texts, {"show_progress": True})
            spaces = (measure_space(embeddings, **options),)
        beside = () if layers else references(spaces[0], sentences.source)
    settings = {
        "model": model,
        "source": sentences.source,
        "pooling": "mean of each layer" if layers else encoder.pooling,
        "precision": encoder.precision,
        "max_length": encoder.max_length,
    }
    found = [space.to_json() for space in spaces]
    references_found = {one.name: asdict(one) for one in beside}
    spaces_found = {"layers": found} if layers else {"space": found[0]}
    output.write(settings | spaces_found | {"references": references_found})
    if output.has_table:
        _print(spaces, sentences, model, beside, output.markdown, layers=layers)


def _sentences(
    source: str | None, reading: FileOptions, data_dir: Path | None, task: str | None
) -> Sentences:
    from simcse_kit.evaluation import sentences_of_rows, sentences_of_task

    if source is not None:
        from simcse_kit.data import read_rows

        return sentences_of_rows(read_rows(source, columns=reading.mapping(), **reading.keywords()))
    from simcse_kit.evaluation.sts import load_tasks

    return sentences_of_task(load_tasks(data_dir, [task or "STSB"])[0])


def _print(
    spaces: tuple[Space, ...],
    sentences: Sentences,
    model: str,
    beside: tuple[Reference, ...],
    markdown: bool,
    *,
    layers: bool,
) -> None:
    from simcse_kit.evaluation import (
        draw,
        draw_markdown,
        layer_cells,
        space_markdown,
        space_notes,
        space_rows,
    )

    notes = space_notes(spaces[0], sentences, model, beside)
    if layers:
        cells = layer_cells(spaces, notes)
        if markdown:
            typer.echo(draw_markdown(cells))
            return
        narrower = layer_cells(spaces, notes, with_intervals=False)
        show_table(draw(cells), narrower=draw(narrower, upright=True))
    elif markdown:
        typer.echo(space_markdown(spaces[0], notes, beside))
    else:
        _show(space_rows(spaces[0], beside), notes, [one.name for one in beside])


def _show(rows: list[list[str]], notes: list[str], names: list[str]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    said = escape("\n".join(map(one_line, notes)))
    table = Table(box=box.SIMPLE_HEAD, caption=said, caption_justify="left", pad_edge=False)
    table.add_column("Figure", overflow="fold")
    table.add_column("value, interval", justify="right", no_wrap=True)
    table.add_column("beside", no_wrap=True)
    table.add_column("what it says, and what it does not", overflow="fold")
    for title, value, interval, over, *others, meaning, pitfall in rows:
        beside = "\n".join(f"{one} {name}" for one, name in zip(others, names, strict=True))
        table.add_row(
            title,
            f"{value}\n[dim]{interval}\n{over}[/dim]",
            f"[dim]{beside}[/dim]",
            f"{meaning}\n[dim]{pitfall}[/dim]",
        )
    show_table(table, wraps=True)
