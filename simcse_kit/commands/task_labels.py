"""``simcse-kit task classification``, ``few-shot`` and ``clustering``: files of labelled texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simcse_kit.commands.column_mapping import FileOptions
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Model
from simcse_kit.commands.task import FORMATS, SHOWN, TaskOptions, run_task

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation import TaskResult
    from simcse_kit.evaluation.labels import LabelledTask

    Files = tuple[LabelledTask, LabelledTask | None]

File = Annotated[
    str,
    typer.Argument(help=f"Labelled texts: {FORMATS}, or a hub id; columns text, label."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")]


def _read(file: str, reading: FileOptions) -> LabelledTask:
    from simcse_kit.evaluation.labels import load_labelled

    return load_labelled(file, reading.mapping(ours=("text", "label")), **reading.keywords())


@grouped
def classification(
    model: Model,
    file: File,
    test: Annotated[
        str | None, typer.Option(help="File to test on. Default: a share of the other.")
    ] = None,
    test_share: Annotated[
        float, typer.Option(help="Share of FILE to test on, each class alike, without --test.")
    ] = 0.2,
    folds: Annotated[
        int, typer.Option(min=2, help="Of the training examples, to choose the probe's strength.")
    ] = 5,
    k: Annotated[int, typer.Option(min=1, help="Nearest neighbours that vote.")] = 10,
    seed: Seed = 0,
    *,
    reading: FileOptions,
    options: TaskOptions,
) -> None:
    """Predict labels: linear probe and nearest neighbours.

    Accuracy and macro-F1 with 95 % intervals, beside the commonest class.
    """

    def read() -> Files:
        return _read(file, reading), None if test is None else _read(test, reading)

    def judge(encoder: SentenceEncoder, files: Files, name: str) -> TaskResult:
        from simcse_kit.evaluation.labels import evaluate_classification

        return evaluate_classification(
            encoder,
            *files,
            test_share=test_share,
            folds=folds,
            k=k,
            seed=seed,
            encode_kwargs=SHOWN,
            name=name,
        )

    run_task(read, judge, model, options, seed=seed)


@grouped
def few_shot(
    model: Model,
    file: File,
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
    reading: FileOptions,
    options: TaskOptions,
) -> None:
    """Predict labels from a few examples: N-way K-shot.

    Mean accuracy with its 95 % interval over episodes of N labels with K examples of each.
    """

    def judge(encoder: SentenceEncoder, examples: LabelledTask, name: str) -> TaskResult:
        from simcse_kit.evaluation.labels import evaluate_few_shot

        sizes = {"ways": ways, "shots": shots, "queries": queries, "episodes": episodes}
        return evaluate_few_shot(
            encoder,
            examples,
            **sizes,
            classifier=classifier,
            seed=seed,
            show_progress=True,
            encode_kwargs=SHOWN,
            name=name,
        )

    run_task(lambda: _read(file, reading), judge, model, options, seed=seed)


@grouped
def clustering(
    model: Model,
    file: File,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of k-means.")] = 10,
    *,
    reading: FileOptions,
    options: TaskOptions,
) -> None:
    """Compare k-means clusters with labels: V-measure."""

    def judge(encoder: SentenceEncoder, task: LabelledTask, name: str) -> TaskResult:
        from simcse_kit.evaluation.labels import evaluate_clustering

        return evaluate_clustering(
            encoder, task, seeds=range(seeds), encode_kwargs=SHOWN, name=name
        )

    run_task(lambda: _read(file, reading), judge, model, options)
