"""``simcse-kit map``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simcse_kit.commands.column_mapping import TextFileOptions
from simcse_kit.commands.console import chatter_on_stderr, check_outputs, note, write_json
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Json, Model, ModelOptions
from simcse_kit.data import check_can_write, replacing
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.data import Rows
    from simcse_kit.report import EmbeddingMap


@grouped
def embedding_map(
    model: Model,
    source: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Texts: .txt .csv .tsv .jsonl .parquet (.gz too)."),
    ],
    html: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")],
    color: Annotated[
        Literal["label", "cluster"] | None,
        typer.Option(help="Default: label, where the file has one."),
    ] = None,
    method: Annotated[
        Literal["pca", "tsne", "umap"], typer.Option(help="UMAP needs simcse-kit[umap].")
    ] = "pca",
    clusters: Annotated[
        int | None, typer.Option(min=2, help="Their number. Default: by the silhouette, 2 to 12.")
    ] = None,
    max_points: Annotated[
        int, typer.Option(min=3, max=20_000, help="Of more texts, a sample is drawn.")
    ] = 5_000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    json_file: Json = None,
    *,
    reading: TextFileOptions,
    loading: ModelOptions,
) -> None:
    """Draw a file's embeddings in the plane, on a page of one file."""
    check_can_write(html)
    check_outputs(json_file, None)
    with chatter_on_stderr():
        from simcse_kit.data import read_rows
        from simcse_kit.geometry import check_method, draw
        from simcse_kit.report import embedding_map as build
        from simcse_kit.report import map_page

        check_method(method)
        mapping = reading.mapping(bare="text")
        how = reading.keywords()
        rows = read_rows(source, columns=mapping, wanted=["text"], beside=["label"], **how)
        labels = _labels(rows, color, clusters)
        chosen = draw(len(rows), max_points, seed)
        if len(chosen) < len(rows):
            note(f"{max_points:,} of {len(rows):,} texts are drawn (--max-points, seed {seed})")
        texts = [rows.columns["text"][row] for row in chosen]
        encoder = loading.load(model)
        drawn = build(
            texts,
            encoder.encode(texts, show_progress=True),
            None if labels is None else [labels[row] for row in chosen],
            model=Path(model).name,
            source=Path(source).name,
            rows=len(rows),
            method=method,
            clusters=clusters,
            seed=seed,
        )
        with replacing(html) as aside:
            aside.write_text(map_page(drawn), encoding="utf-8")
    if json_file is not None:
        write_json(drawn.to_json(), json_file)
    if json_file != "-":
        typer.echo(f"{html}  {_summary(drawn)}")


def _labels(
    rows: Rows, color: Literal["label", "cluster"] | None, clusters: int | None
) -> Sequence[str] | None:
    """The labels to colour by; None is by cluster."""
    if len(rows) < 3:
        raise InputError(f"{rows.source} holds {len(rows)} texts; a map needs at least 3")
    if color == "label" and rows.labels is None:
        raise InputError(
            f"{rows.source} has no labels to colour by; name their column with "
            "--column label=NAME, or choose --color cluster"
        )
    if clusters is not None and color != "cluster" and rows.labels is not None:
        raise InputError("--clusters has no use where colours are labels; add --color cluster")
    return None if color == "cluster" else rows.labels


def _summary(drawn: EmbeddingMap) -> str:
    groups, plane = drawn.groups, drawn.projection
    # Of a t-SNE's or UMAP's axes no share of the variance can be said.
    kept = f"{sum(plane.variance):.1%} of the variance on two axes; " if plane.is_linear else ""
    return (
        f"{len(drawn.texts):,} texts in {len(groups.names):,} {groups.kind}s by {plane.method}; "
        f"trustworthiness {plane.trustworthiness:.3f}; {kept}"
        f"neighbours of one {groups.kind}: {drawn.alike_in_picture:.1%} in the picture, "
        f"{drawn.alike_in_space:.1%} in the space, {groups.chance:.1%} by chance"
    )
