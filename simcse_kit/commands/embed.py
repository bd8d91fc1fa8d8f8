"""``simcse-kit embed`` and ``similarity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from simcse_kit.commands.column_mapping import TextFileOptions
from simcse_kit.commands.console import chatter_on_stderr
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Model, ModelOptions
from simcse_kit.errors import InputError

_LABEL = 40  # characters of a text that stand before its row


@grouped
def embed(
    model: Model,
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Texts: .txt .csv .tsv .jsonl .parquet (.gz too)."),
    ],
    output: Annotated[Path, typer.Option(help="FILE.npy, or FILE.parquet with the texts beside.")],
    blank: Annotated[
        Literal["error", "keep", "skip"] | None,
        typer.Option(help="Of rows without text. Default: keep them in a .txt, else an error."),
    ] = None,
    *,
    reading: TextFileOptions,
    loading: ModelOptions,
) -> None:
    """Embed the texts of a file: a row an embedding, in its order.

    With --blank skip and --skip-bad-rows, rows are left out: the numbers of those that stay, from
    0, are then written too, into FILE.rows.npy, or the column row of a FILE.parquet.
    """
    import numpy as np

    from simcse_kit.data import at_home, read_rows
    from simcse_kit.encoder import check_output, rows_file, write_embeddings

    check_output(at_home(output))
    with chatter_on_stderr():
        how: dict[str, Any] = {"columns": reading.mapping(bare="text"), **reading.keywords()}
        rows = read_rows(source, wanted=["text"], blank=blank, **how)
        numbers = rows.numbers
        if blank == "skip" and numbers is None:
            numbers = np.arange(len(rows))
        encoder = loading.load(model)
        write_embeddings(encoder, rows.columns["text"], output, numbers=numbers, show_progress=True)
    said = f"{output}  {len(rows)} x {encoder.dimension} float32"
    if numbers is not None:
        where = "its column row" if output.suffix == ".parquet" else str(rows_file(output))
        said += f" (of these rows of {source}: {where})"
    typer.echo(said)


@grouped
def similarity(
    model: Model,
    texts: Annotated[list[str], typer.Argument(help="Two texts, or more for a table.")],
    *,
    loading: ModelOptions,
) -> None:
    """Print the cosine of two texts, or all cosines of several.

    Of several: a row a text, which stands before its cosines with all, between tabs.
    """
    if len(texts) < 2:
        raise InputError("similarity needs at least two texts; put each in quotes")
    with chatter_on_stderr():
        encoder = loading.load(model)
        cosines = encoder.similarity(texts, texts)
    if len(texts) == 2:
        typer.echo(f"{cosines[0, 1]:.4f}")
        return
    for label, row in zip(map(_shortened, texts), cosines, strict=True):
        typer.echo("\t".join([label, *(f"{cosine:.4f}" for cosine in row)]))


def _shortened(text: str) -> str:
    """A text as the label of its row: one line without tabs, cut after so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LABEL else f"{line[: _LABEL - 1]}…"
