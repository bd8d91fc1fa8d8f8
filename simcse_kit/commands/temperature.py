"""``simcse-kit temperature``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.commands.column_mapping import FileOptions
from simcse_kit.commands.console import chatter_on_stderr, note, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Model, ModelOptions, Output, Plots, listed
from simcse_kit.data import check_can_write, replacing
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation import TemperatureSweep

_PICTURE = "temperature.png"


@grouped
def temperature(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(help="Texts or pairs: .txt .csv .tsv .jsonl .parquet (.gz too), or hub."),
    ],
    temperatures: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Comma-separated. Default: 0.01,0.02,0.05,0.1,0.2,0.5,1."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Rows a batch, as in training.")] = 64,
    batches: Annotated[int, typer.Option(min=1, help="Of different rows, at most.")] = 16,
    dropout: Annotated[
        float | None, typer.Option(help="A rate for all of the model's dropouts, in its place.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of rows and dropout.")] = 0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a web page of one file.")
    ] = None,
    plots: Plots = None,
    *,
    reading: FileOptions,
    output: Output,
    loading: ModelOptions,
) -> None:
    """What a temperature does to the loss's force, on your rows.

    For each: how many negatives the gradient really pulls on, its share on the hardest and on bands
    of hardness, and how far the positive is learnt. Texts stand with their dropout twins, pairs
    with their positives and negatives, as in a first step of training. Nothing is trained.
    """
    output.check(plots)
    if html is not None:
        check_can_write(html)
    chosen = _temperatures(temperatures)
    with chatter_on_stderr():
        from simcse_kit.data import read_rows
        from simcse_kit.evaluation import TEMPERATURES, sweep_temperatures

        rows = read_rows(data, columns=reading.mapping(), **reading.keywords())
        encoder = loading.load(model)
        if dropout is not None:
            encoder.set_dropout(dropout)
        found = sweep_temperatures(
            encoder,
            rows,
            chosen or TEMPERATURES,
            batch_size=batch_size,
            batches=batches,
            seed=seed,
            show_progress=True,
        )
        if plots is not None:
            from simcse_kit.evaluation import temperature_picture

            note(f"wrote {temperature_picture(found, plots / _PICTURE)}")
        if html is not None:
            from simcse_kit.report import temperature_page

            with replacing(html) as aside:
                aside.write_text(temperature_page(found), encoding="utf-8")
            note(f"wrote {html}")
    output.write(found.to_json())
    if output.has_table:
        _show(found, markdown=output.markdown)


def _temperatures(given: str | None) -> list[float]:
    """``"0.05, 0.1"`` as numbers; [] for None. InputError for what is no temperature."""
    from simcse_kit.geometry import check_temperature

    chosen = []
    for each in listed(given):
        try:
            number = float(each)
        except ValueError:
            raise InputError(
                f"--temperatures {given}: {each!r} is no number; write them as 0.02,0.05,0.1"
            ) from None
        chosen.append(check_temperature(number))
    return chosen


def _show(found: TemperatureSweep, *, markdown: bool) -> None:
    from simcse_kit.evaluation import draw, draw_markdown, temperature_cells

    if markdown:
        typer.echo(draw_markdown(temperature_cells(found)))
        return
    cells = temperature_cells(found, with_intervals=False)
    show_table(draw(cells), narrower=draw(cells, upright=True))
