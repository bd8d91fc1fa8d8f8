"""``simcse-kit embed`` and ``similarity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simcse_kit.commands.console import chatter_on_stderr
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Model, ModelOptions
from simcse_kit.errors import InputError


@grouped
def embed(
    model: Model,
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Texts: .txt .csv .tsv .jsonl .parquet (.gz too)."),
    ],
    output: Annotated[Path, typer.Option(help="FILE.npy, or FILE.parquet with the texts beside.")],
    column: Annotated[
        str | None, typer.Option(help="The column to embed, where there are several.")
    ] = None,
    *,
    loading: ModelOptions,
) -> None:
    """Embed the texts of a file, in its order."""
    from simcse_kit.data import read_rows
    from simcse_kit.encoder import check_output, write_embeddings

    check_output(output)
    with chatter_on_stderr():
        rows = read_rows(source, columns=None if column is None else {"text": column})
        if list(rows.columns) != ["text"]:
            raise InputError(
                f"{source} has the columns {', '.join(rows.columns)}; "
                "say which one to embed with --column"
            )
        encoder = loading.load(model)
        write_embeddings(encoder, rows.columns["text"], output, show_progress=True)
    blank = f" ({rows.blank} blank lines skipped)" if rows.blank else ""
    typer.echo(f"{output}  {len(rows)} x {encoder.dimension} float32{blank}")


@grouped
def similarity(
    model: Model,
    texts: Annotated[list[str], typer.Argument(help="Two texts, or more for a matrix.")],
    *,
    loading: ModelOptions,
) -> None:
    """Print the cosine of two texts, or all cosines of several."""
    if len(texts) < 2:
        raise InputError("similarity needs at least two texts; put each in quotes")
    with chatter_on_stderr():
        encoder = loading.load(model)
        cosines = encoder.similarity(texts, texts)
    if len(texts) == 2:
        typer.echo(f"{cosines[0, 1]:.4f}")
    else:
        for row in cosines:
            typer.echo("\t".join(f"{cosine:.4f}" for cosine in row))
