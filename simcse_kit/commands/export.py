"""``simcse-kit export``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simcse_kit.commands.console import chatter_on_stderr, check_outputs, note, write_json
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Json, Model, ModelOptions
from simcse_kit.data import check_can_make
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

_MEASURED = 1000  # texts of a file that the loss is measured on


@grouped
def export(
    model: Model,
    file_format: Annotated[
        Literal["onnx", "openvino"], typer.Option("--format", help="What is to run it.")
    ],
    int8: Annotated[
        bool, typer.Option("--int8", help="Products in int8: smaller and faster, and less exact.")
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Texts to fix int8's scales from (openvino; 300 are taken)."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A new folder for model and export. Default: the model's."
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Measure the loss on these texts (1000 at most). Default: a few built in.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Measure it on STS too: a folder in SentEval's layout."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Cosine to fp32 that texts may lose on average. Default: 1e-5; of int8 0.02.",
        ),
    ] = None,
    json_file: Json = None,
    *,
    loading: ModelOptions,
) -> None:
    """Export a model to ONNX or OpenVINO, with its loss measured.

    Pooling, head and normalisation are in the graph. `--backend onnx` of the other commands and
    `backend="onnx"` in Python then run it. What loses more than --tolerance is not written.
    """
    if calibrate is not None and not int8:
        raise InputError("--calibrate fixes the scales of int8; give --int8 too, or leave it out")
    check_outputs(json_file, None)
    if output is not None:
        check_can_make(output)
    with chatter_on_stderr():
        from simcse_kit.encoder import export as write

        on, fixing = _read(texts), _read(calibrate)
        judge = None if data_dir is None else _judge(data_dir)
        encoder = loading.load(model)
        made = write(
            encoder,
            output,
            format=file_format,
            int8="calibrated" if fixing else "dynamic" if int8 else None,
            calibration=fixing or (),
            texts=None if on is None else on[:_MEASURED],
            texts_from=f"texts of {Path(texts).name}" if texts else "",
            tolerance=tolerance,
            judge=judge,
        )
    if json_file is not None:
        write_json(made.figures(), json_file)
    if json_file != "-":
        note(made.said())
        typer.echo(made.folder)


def _read(file: str | None) -> list[str] | None:
    """The texts of a file, of all its columns; equal ones once, blank ones not."""
    if file is None:
        return None
    from simcse_kit.data import read_rows

    return list(dict.fromkeys(text for text in read_rows(file).texts() if text))


def _judge(data_dir: Path) -> Callable[[SentenceEncoder], float]:
    """Mean Spearman x 100 over the suite, as a function of an encoder; its data read beforehand."""
    from simcse_kit.evaluation.sts import evaluate, load_tasks

    tasks = load_tasks(data_dir)
    return lambda encoder: evaluate(encoder, tasks).average
