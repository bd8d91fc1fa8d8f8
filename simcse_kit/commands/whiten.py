"""``simcse-kit whiten``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit.commands.column_mapping import FileOptions
from simcse_kit.commands.console import (
    chatter_on_stderr,
    check_new_folder,
    check_outputs,
    note,
    write_json,
)
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Json, Model, ModelOptions
from simcse_kit.data import for_markdown

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.geometry import Whitening

_FEW = 10  # texts a dimension; of fewer the small variances are told too small


@grouped
def whiten(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(help="Texts to fit on: .txt .csv .tsv .jsonl .parquet (.gz too), or hub."),
    ],
    output_dir: Annotated[Path, typer.Option(metavar="DIR", help="The new model's folder.")],
    dimensions: Annotated[
        int | None,
        typer.Option(
            "--dimensions", "-k", min=1, help="Kept, of the largest variance. Default: all."
        ),
    ] = None,
    normalize: Annotated[
        Literal["keep", "drop"] | None,
        typer.Option(help="What becomes of the Normalize that a model ends in."),
    ] = None,
    json_file: Json = None,
    *,
    reading: FileOptions,
    loading: ModelOptions,
) -> None:
    """Whiten a model's embeddings by a last layer, saved with it.

    After it the embeddings of these texts have mean 0, variance 1 in every dimension, and no
    correlation. All columns' texts count, equal ones once. Nothing is trained; whether it helps is
    for `evaluate` or `compare` to tell.
    """
    check_outputs(json_file, None)
    check_new_folder(output_dir)
    with chatter_on_stderr():
        from simcse_kit.data import read_rows
        from simcse_kit.encoder import whitened, with_section

        rows = read_rows(data, columns=reading.mapping(), **reading.keywords())
        encoder = loading.load(model)
        texts = [text for text in rows.texts() if text]
        made, found = whitened(encoder, texts, dimensions, normalize=normalize, show_progress=True)
        for remark in _remarks(found):
            note(remark)
        said = for_markdown(f"{_summary(found)}, fitted on {Path(rows.source).name}.")
        made.save_pretrained(output_dir, card=with_section(made.model_card(), "Whitening", said))
    figures = _figures(found, made, rows.source)
    if json_file is not None:
        write_json(figures, json_file)
    if json_file != "-":
        typer.echo(f"{output_dir}  {_summary(found)}")


def _remarks(found: Whitening) -> list[str]:
    """What is worth knowing of the fit, beside its figures."""
    width, k = found.weight.shape
    remarks = []
    if flat := width - found.rank:
        remarks.append(f"{flat} of {width} directions without variance left out")
    if found.rows < _FEW * k:
        remarks.append(
            f"{found.rows:,} texts for {k} dimensions are few: small variances come out too small, "
            "and whitening enlarges their directions; give more texts, or fewer --dimensions"
        )
    return remarks


def _summary(found: Whitening) -> str:
    width, k = found.weight.shape
    kept = f"{found.kept:.1%} of the variance of {found.rows:,} texts"
    return f"{width} dimensions whitened to {k}, {kept}"


def _figures(found: Whitening, made: SentenceEncoder, source: str) -> dict[str, Any]:
    width, k = found.weight.shape
    return {
        "model": made.name,
        "source": source,
        "texts": found.rows,
        "width": width,
        "dimensions": k,
        "rank": found.rank,
        "variance_kept": found.kept,
        "variances": found.variances.tolist(),
        "normalize": made.normalize,
    }
