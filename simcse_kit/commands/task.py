"""``simcse-kit task``: a model judged on the user's own files, a command a kind of task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit.commands.column_mapping import ColumnOption, column_mapping
from simcse_kit.commands.console import chatter_on_stderr, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Model, ModelOptions, Output

if TYPE_CHECKING:
    from simcse_kit.evaluation import TaskResult

app = typer.Typer(
    help="Judge a model on your own files: name the columns, and a file is a task.",
    rich_markup_mode=None,
)

File = Annotated[
    str,
    typer.Argument(
        help="Labelled texts: .csv .tsv .jsonl .parquet (.gz too), or a hub id; columns text, label"
    ),
]
LABELLED = ("text", "label")  # our columns of such a file
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")]


@app.callback(invoke_without_command=True)
def _start(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
@grouped
def classification(
    model: Model,
    file: File,
    test: Annotated[
        str | None, typer.Option(help="File to test on. Default: a share of the other.")
    ] = None,
    columns: ColumnOption = None,
    test_share: Annotated[
        float, typer.Option(help="Share of FILE to test on, each class alike, without --test.")
    ] = 0.2,
    folds: Annotated[
        int, typer.Option(min=2, help="Of the training examples, to choose the probe's strength.")
    ] = 5,
    k: Annotated[int, typer.Option(min=1, help="Nearest neighbours that vote.")] = 10,
    seed: Seed = 0,
    *,
    output: Output,
    loading: ModelOptions,
) -> None:
    """Predict labels from embeddings: linear probe and nearest neighbours.

    Accuracy and macro-F1 with 95 % intervals, beside the commonest class.
    """
    output.check()
    with chatter_on_stderr():
        from simcse_kit.evaluation.labels import evaluate_classification, load_labelled

        named = column_mapping(columns, ours=LABELLED)
        known = load_labelled(file, named)
        unseen = None if test is None else load_labelled(test, named)
        result = evaluate_classification(
            loading.load(model),
            known,
            unseen,
            test_share=test_share,
            folds=folds,
            k=k,
            seed=seed,
            encode_kwargs={"show_progress": True},
            name=model,
        )
    show_result(result, result.to_json(), output)


@app.command()
@grouped
def few_shot(
    model: Model,
    file: File,
    columns: ColumnOption = None,
    ways: Annotated[int, typer.Option(min=2, help="Classes in an episode.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Known examples of each.")] = 5,
    queries: Annotated[int, typer.Option(min=1, help="Examples of each to classify.")] = 15,
    episodes: Annotated[int, typer.Option(min=2, help="Draws of classes and examples.")] = 600,
    classifier: Annotated[
        Literal["centroid", "logistic"],
        typer.Option(help="Nearest centroid by cosine, or logistic regression."),
    ] = "centroid",
    seed: Seed = 0,
    *,
    output: Output,
    loading: ModelOptions,
) -> None:
    """Predict labels from a few examples of each: N-way K-shot episodes.

    Mean accuracy with its 95 % interval over episodes.
    """
    output.check()
    with chatter_on_stderr():
        from simcse_kit.evaluation.labels import evaluate_few_shot, load_labelled

        examples = load_labelled(file, column_mapping(columns, ours=LABELLED))
        result = evaluate_few_shot(
            loading.load(model),
            examples,
            ways=ways,
            shots=shots,
            queries=queries,
            episodes=episodes,
            classifier=classifier,
            seed=seed,
            show_progress=True,
            encode_kwargs={"show_progress": True},
            name=model,
        )
    show_result(result, result.to_json(), output)


def show_result(result: TaskResult, figures: dict[str, Any], output: Output) -> None:
    """Write the figures where they were asked for; print the table unless JSON goes to stdout."""
    from simcse_kit.evaluation import task_result

    output.write(figures)
    if not output.has_table:
        return
    if output.markdown:
        typer.echo(task_result.markdown(result))
    else:
        show_table(task_result.table(result))
        typer.echo(task_result.caption(result))
