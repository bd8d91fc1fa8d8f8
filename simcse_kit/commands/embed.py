"""``simcse-kit embed`` and ``similarity``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from simcse_kit.commands.column_mapping import TextFileOptions
from simcse_kit.commands.console import chatter_on_stderr, check_outputs, note, write_json
from simcse_kit.commands.engine_options import EngineOptions
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Json, Model, ModelOptions
from simcse_kit.errors import InputError

_LABEL = 40  # characters of a text that stand before its row
_TYPES = {"fp32": "float32", "fp16": "float16"}
_FILES = (".npy", ".parquet")  # as `corpus.one_file`, without numpy
#: Endings of other files: a new folder is hardly meant by them.
_NO_FOLDERS = (
    ".csv",
    ".tsv",
    ".txt",
    ".json",
    ".jsonl",
    ".npz",
    ".pt",
    ".safetensors",
    ".gz",
    ".zst",
)


@grouped
def embed(
    model: Model,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Texts: .txt .csv .tsv .jsonl .parquet (.gz and .zst too), patterns in quotes, -, "
            "URLs (s3://…).",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="A folder of shards, which the same command goes on with; or FILE.npy, or "
            "FILE.parquet with the texts beside."
        ),
    ],
    blank: Annotated[
        Literal["error", "keep", "skip"] | None,
        typer.Option(help="Of rows without text. Default: keep them in a .txt, else an error."),
    ] = None,
    kind: Annotated[
        Literal["fp32", "fp16", "int8", "binary"],
        typer.Option("--type", help="What a vector's numbers are kept as."),
    ] = "fp32",
    dimension: Annotated[
        int | None,
        typer.Option("--dim", min=1, help="Keep the first numbers alone (Matryoshka models)."),
    ] = None,
    texts: Annotated[
        bool, typer.Option("--texts", help="Keep the texts in the folder, beside the vectors.")
    ] = False,
    store: Annotated[
        Literal["parquet", "npy"] | None,
        typer.Option(help="Of a folder: vectors in each shard, or all in one vectors.npy."),
    ] = None,
    shard_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of a shard. Default: 65536.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Make one of n parts of the shards, from 0: a job array."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew, whatever the folder holds.")
    ] = False,
    json_file: Json = None,
    *,
    making: EngineOptions,
    reading: TextFileOptions,
    loading: ModelOptions,
) -> None:
    """Embed the texts of files: a row an embedding, in their order.

    Memory does not grow with the inputs, and a run that was killed is gone on with by the same
    command. With --blank skip and --skip-bad-rows, rows are left out: the numbers of those that
    stay, from 0, are then written too, into FILE.rows.npy, or the column row.
    """
    check_outputs(json_file, None)
    how: dict[str, Any] = {
        "type": kind,
        "dimension": dimension,
        **making.keywords(),
        "overwrite": overwrite,
        "head": loading.head,
        "show_progress": True,
    }
    how |= {} if shard_rows is None else {"shard_rows": shard_rows}
    own: dict[str, Any] = {"texts": texts, "store": store, "part": _part(part)}
    is_file = output.suffix in _FILES or (output.suffix in _NO_FOLDERS and not output.is_dir())
    if is_file:
        _check_none_of_folder(own, output)
    with chatter_on_stderr():
        from simcse_kit.corpus import check_output, embed_corpus, embed_file
        from simcse_kit.data import TextStream

        if is_file:
            check_output(output)
        columns = reading.mapping(bare="text")
        stream = TextStream(sources, columns=columns, blank=blank, **reading.keywords())
        encoder = loading.load(model)
        told = False
        try:
            if is_file:
                done, told = embed_file(encoder, stream, output, numbers=blank == "skip", **how)
            else:
                own |= {"store": store or "parquet"}
                done = embed_corpus(encoder, stream, output, **how, **own)
        except KeyboardInterrupt:
            note("what is finished stays: the same command goes on with it")
            raise
    _say(done, output, kind, sources, told, json_file)


def _say(
    done: Any, output: Path, kind: str, sources: list[str], told: bool, json_file: str | None
) -> None:
    from simcse_kit.corpus import rows_file

    if json_file is not None:
        figures = {"output": str(output), "rows": done.rows, "dimension": done.dimension}
        figures |= {"type": kind, "shards_made": done.made, "shards_found": done.found}
        write_json(figures, json_file)
        if json_file == "-":
            return
    if done.rows is None:
        typer.echo(f"{output}  {done.made} shards made, {done.found} found; others are missing")
        return
    said = f"{output}  {done.rows} x {done.dimension} {_TYPES.get(kind, kind)}"
    if told:
        where = "its column row" if output.suffix == ".parquet" else str(rows_file(output))
        said += f" (of these rows of {', '.join(sources)}: {where})"
    typer.echo(said)


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if found is None or int(found[1]) >= int(found[2]):
        raise InputError(f"--shard {text}: write it as I/N, for instance 0/4, 1/4, 2/4 and 3/4")
    return int(found[1]), int(found[2])


def _check_none_of_folder(own: dict[str, Any], output: Path) -> None:
    options = {"texts": "--texts", "store": "--store", "part": "--shard"}
    for name, option in options.items():
        if own[name]:
            raise InputError(f"{option} is for a folder, and {output} is one file; give a folder")


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
