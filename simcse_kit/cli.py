"""The command line: one command a verb, each a few calls of the library.

Results go to stdout and everything else to stderr; a user's mistake is one sentence and exit
code 2. Only typer and pydantic are imported before a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit import __version__
from simcse_kit.atomic import check_can_make
from simcse_kit.config import Pooling, TrainConfig, build_config, recipe_names, recipe_text
from simcse_kit.console import (
    OneSentence,
    chatter_on_stderr,
    check_outputs,
    note,
    show_table,
    turn_down_libraries,
    write_json,
)
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation.sts import PairTask, STSResult
    from simcse_kit.training import TrainResult

app = typer.Typer(
    cls=OneSentence,
    name="simcse-kit",
    help="Turn a Hugging Face text encoder into a better sentence encoder, and prove it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str, typer.Argument(help="A hub id, or a Hugging Face or sentence-transformers folder.")
]
PoolingOption = Annotated[
    Pooling | None,
    typer.Option(help="How token states become one vector. Default: the model's pooling file."),
]
HeadOption = Annotated[
    Literal["none", "keep"] | None,
    typer.Option(help="Drop the model's dense head, or keep a SimCSE checkpoint's pooler as head."),
]
MaxLength = Annotated[int | None, typer.Option(help="Tokens a text is cut to.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(help="auto is bf16 where the hardware multiplies it natively."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with the STS sets in SentEval's layout. Default: the hub."),
]
Tasks = Annotated[
    str | None,
    typer.Option(help="Comma-separated: STS12…STS16, STSB, SICKR, SICKR-MTEB, or your own files."),
]
Aggregation = Annotated[
    Literal["all", "mean", "wmean"],
    typer.Option(help="STS12-16: over all pairs, or the (weighted) mean of the subsets."),
]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the figures; - is stdout.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")]
Plots = Annotated[Path | None, typer.Option(metavar="DIR", help="Write pictures (PNG) there.")]


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"simcse-kit {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


_OURS = ", ".join(
    list(TrainConfig.model_fields)[: list(TrainConfig.model_fields).index("cache_dir")]
)


@app.command(
    epilog=f"--set and recipes take {_OURS}, cache_dir, and the names of Hugging Face's "
    "TrainingArguments: max_steps, learning_rate, per_device_train_batch_size, seed, bf16…"
)
def train(
    model: Annotated[
        str, typer.Option(help="The encoder to start from: a hub id or a local folder.")
    ],
    data: Annotated[
        str,
        typer.Option(help="Texts or pairs: .txt .csv .tsv .jsonl .parquet (.gz too), or a hub id."),
    ],
    output_dir: Annotated[Path, typer.Option(help="The run's folder; itself the trained model.")],
    recipe: Annotated[
        str | None, typer.Option(help="Published settings by name, or your own YAML file.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="OURS=THEIRS", help="Map a column, e.g. anchor=title (repeatable)."
        ),
    ] = None,
    eval_data: Annotated[
        Path | None,
        typer.Option(help="Dev set to choose the best step on: an STS folder or scored pairs."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Empty a full output folder first.")
    ] = False,
    plots: Plots = None,
) -> None:
    """Fine-tune an encoder on texts or pairs.

    Texts train on dropout twins, pairs on what is given; the columns of the data decide.
    """
    if resume and overwrite:
        raise InputError("--resume goes on with a run and --overwrite deletes it; give one of them")
    config = build_config(recipe, settings or [])
    check_outputs(None, plots)
    check_can_make(output_dir)
    with chatter_on_stderr():
        try:
            from simcse_kit.data import read_rows
            from simcse_kit.distributed import is_main
            from simcse_kit.training import train as run

            dev = None if eval_data is None else _dev_set(eval_data)
            result = run(
                model,
                data if not columns else read_rows(data, columns=_mapping(columns)),
                config,
                output_dir,
                eval_data=dev,
                resume=resume,
                overwrite=overwrite,
            )
            if plots is not None and is_main():
                _draw_training(result, dev, plots)
        except KeyboardInterrupt:
            note(_how_to_go_on(output_dir))
            raise typer.Exit(130) from None
    if is_main():  # of the ranks that torchrun started
        typer.echo(_training_summary(result, dev))


def _mapping(columns: list[str]) -> dict[str, str]:
    """``["anchor=title", …]`` as ``{"anchor": "title", …}``."""
    mapping = {}
    for text in columns:
        ours, equals, theirs = text.partition("=")
        if not equals or not ours or not theirs:
            raise InputError(f"--column {text}: write it as ours=theirs, for instance anchor=title")
        mapping[ours] = theirs
    return mapping


def _dev_set(path: Path) -> PairTask:
    from simcse_kit.evaluation.sts import load_stsb, load_tasks

    return load_tasks(None, [str(path)])[0] if path.is_file() else load_stsb(path, "dev")


def _how_to_go_on(output_dir: Path) -> str:
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    again = shlex.join(["simcse-kit", *words])
    if any(output_dir.glob("checkpoint-*")):
        return f"interrupted; go on from the last checkpoint with: {again} --resume"
    begun = " --overwrite" if output_dir.exists() else ""
    return f"interrupted before the first checkpoint; start again with: {again}{begun}"


def _draw_training(result: TrainResult, dev: PairTask | None, folder: Path) -> None:
    from simcse_kit.evaluation.plots import training_curve
    from simcse_kit.evaluation.sts import evaluate as judge

    training_curve(result.history, folder / "training_curve.png")
    if dev is not None:
        _draw_cosines(judge(result.encoder, [dev]), [dev], folder)


def _draw_cosines(result: STSResult, tasks: Sequence[PairTask], folder: Path) -> None:
    from simcse_kit.evaluation.plots import cosine_densities

    for task in tasks:
        score = result.tasks[task.name].spearman
        cosine_densities(
            result.cosines[task.name],
            task.gold,
            folder / f"cosines_{task.name}.png",
            title=f"{Path(result.model).name} on {task.name}: Spearman {score:.2f}",
        )


def _training_summary(result: TrainResult, dev: PairTask | None) -> str:
    lines = [f"model  {result.output_dir}"]
    if result.best_step is not None and result.best_score is not None and dev is not None:
        lines.append(
            f"best   step {result.best_step} of {result.steps}: "
            f"{dev.name} {dev.split} Spearman {result.best_score:.2f}"
        )
    else:
        lines.append(f"last   step {result.steps}; there was no dev set to choose a better one")
    if result.stopped:
        lines.append(f"stopped early: {result.stopped}")
    lines.append(f"next   simcse-kit evaluate {shlex.quote(str(result.output_dir))}")
    return "\n".join(lines)


@app.command()
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
            _draw_cosines(result, chosen, plots)
    if json_file is not None:
        write_json(result.to_json(), json_file)
    if json_file != "-":
        _print_scores({model: result}, markdown)


@app.command()
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
    encoder = _load(model, **load)
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


@app.command()
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
    precision: Precision = "auto",
    pooling: PoolingOption = None,
    head: HeadOption = None,
    max_length: MaxLength = None,
) -> None:
    """Embed the texts of a file, in its order."""
    from simcse_kit.data import read_rows
    from simcse_kit.embedding_file import check_output, write_embeddings

    check_output(output)
    with chatter_on_stderr():
        rows = read_rows(source, columns=None if column is None else {"text": column})
        if list(rows.columns) != ["text"]:
            raise InputError(
                f"{source} has the columns {', '.join(rows.columns)}; "
                "say which one to embed with --column"
            )
        encoder = _load(
            model, precision=precision, pooling=pooling, head=head, max_length=max_length
        )
        write_embeddings(encoder, rows.columns["text"], output, show_progress=True)
    blank = f" ({rows.blank} blank lines skipped)" if rows.blank else ""
    typer.echo(f"{output}  {len(rows)} x {encoder.dimension} float32{blank}")


@app.command()
def similarity(
    model: Model,
    texts: Annotated[list[str], typer.Argument(help="Two texts, or more for a matrix.")],
    precision: Precision = "auto",
    pooling: PoolingOption = None,
    head: HeadOption = None,
    max_length: MaxLength = None,
) -> None:
    """Print the cosine of two texts, or all cosines of several."""
    if len(texts) < 2:
        raise InputError("similarity needs at least two texts; put each in quotes")
    with chatter_on_stderr():
        encoder = _load(
            model, precision=precision, pooling=pooling, head=head, max_length=max_length
        )
        cosines = encoder.similarity(texts, texts)
    if len(texts) == 2:
        typer.echo(f"{cosines[0, 1]:.4f}")
    else:
        for row in cosines:
            typer.echo("\t".join(f"{cosine:.4f}" for cosine in row))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe to print, with its source.")] = None,
) -> None:
    """List the published settings, or print one recipe."""
    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    known = {name: recipe_text(name).splitlines()[0].lstrip("# ") for name in recipe_names()}
    width = max(map(len, known))
    for name, title in known.items():
        typer.echo(f"{name:<{width}}  {title}")


def _load(model: str, **options: Any) -> SentenceEncoder:
    from simcse_kit.encoder import SentenceEncoder

    return SentenceEncoder.from_pretrained(model, **options)


def main() -> None:
    """Run the command line."""
    turn_down_libraries()
    app()


if __name__ == "__main__":
    main()
