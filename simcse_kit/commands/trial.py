"""``simcse-kit trial``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.commands.cache_options import Cache, CacheSize, opened
from simcse_kit.commands.collecting import collect_as_usual
from simcse_kit.commands.column_mapping import FileOptions
from simcse_kit.commands.console import chatter_on_stderr, note, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.models import split_model
from simcse_kit.commands.options import DataDir, Draws, Output, listed
from simcse_kit.commands.training_options import (
    StartModel,
    TrainData,
    TrainingOptions,
    rows_of,
    typed_again,
)
from simcse_kit.data import check_can_make, replacing
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import PairTask
    from simcse_kit.training import Drop, TrialResult


@grouped
def trial(
    model: StartModel,
    data: TrainData,
    recipes: Annotated[
        str,
        typer.Option(
            help="Comma-separated: names (simcse-kit recipes lists them) and YAML files of your"
            " own. The first is what the others are compared with."
        ),
    ],
    output_dir: Annotated[
        Path, typer.Option(help="The trial's folder: a folder of seeds for each recipe, a page.")
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each recipe.")] = 3,
    *,
    reading: FileOptions,
    training: TrainingOptions,
    suite: Annotated[
        bool, typer.Option("--suite", help="Score the chosen models on the STS suite besides.")
    ] = False,
    data_dir: DataDir = None,
    drop_after: Annotated[
        int | None,
        typer.Option(
            metavar="SEEDS",
            help="A recipe gets no further seeds once so many are each more than --drop-below"
            " points below the first recipe's.",
        ),
    ] = None,
    drop_below: Annotated[
        float, typer.Option(metavar="POINTS", help="Of --drop-after: how far below is too far.")
    ] = 1.0,
    skip_unfit: Annotated[
        bool,
        typer.Option("--skip-unfit", help="Leave out recipes that these data cannot train."),
    ] = False,
    draws: Draws = 10_000,
    cache: Cache = None,
    cache_size: CacheSize = "2GB",
    output: Output,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the runs left.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the trial in the folder.")
    ] = False,
) -> None:
    """Which recipe helps: train each from one start, and compare.

    Every recipe with every seed, judged on the same dev pairs; differences to the first recipe
    with intervals over other seeds and other pairs. --set is for all recipes; what is one recipe's
    stands in its file. Writes trial.html into the folder. Ctrl-C, and --resume the next day.
    """
    if resume and overwrite:
        raise InputError("--resume goes on with a trial and --overwrite deletes it; give one")
    named = _by_name(recipes)
    configs = {name: training.config(recipe, model) for name, recipe in named.items()}
    start, _ = split_model(model)
    drop = _drop(drop_after, drop_below)
    output.check()
    check_can_make(output_dir)
    with chatter_on_stderr(), contextlib.ExitStack() as ending:
        try:
            from simcse_kit.training import raising, train_trial

            ending.enter_context(raising())
            collect_as_usual()
            result = train_trial(
                start,
                rows_of(data, reading, next(iter(configs.values()))),
                configs,
                output_dir,
                seeds=seeds,
                eval_data=training.dev_set(reading),
                suite=_suite(data_dir) if suite or data_dir is not None else (),
                drop=drop,
                skip_unfit=skip_unfit,
                resume=resume,
                overwrite=overwrite,
                draws=draws,
                cache=opened(cache, cache_size),
            )
        except KeyboardInterrupt as end:
            with contextlib.suppress(OSError):  # a closed terminal hears nothing
                note(_how_to_go_on(output_dir))
            raise typer.Exit(128 + getattr(end, "number", signal.SIGINT)) from None
        _write_page(result)
    output.write(result.to_json())
    if output.has_table:
        _print(result, output.markdown)


def _by_name(recipes: str) -> dict[str, str]:
    """What was named, by what each is called here: its name, or its file's without the ending."""
    named: dict[str, str] = {}
    for recipe in listed(recipes):
        name = Path(recipe).stem if recipe.endswith((".yaml", ".yml")) else Path(recipe).name
        if not name:
            raise InputError(f"--recipes {recipes}: a name is missing between two commas")
        if name in named:
            raise InputError(
                f"--recipes: {named[name]} and {recipe} are both called {name}; rename a file"
            )
        named[name] = recipe
    return named


def _drop(after: int | None, below: float) -> Drop | None:
    if after is None:
        if below != 1.0:
            raise InputError("--drop-below says how far below; give --drop-after SEEDS too")
        return None
    from simcse_kit.training import Drop

    return Drop(after, below)


def _suite(data_dir: Path | None) -> list[PairTask]:
    from simcse_kit.evaluation.sts import SUITE, load_tasks

    return load_tasks(data_dir, SUITE)


def _how_to_go_on(output_dir: Path) -> str:
    if (output_dir / "trial.json").is_file():
        return f"interrupted; go on with the runs that are left with: {typed_again()} --resume"
    return f"interrupted before the first run; start again with: {typed_again()}"


def _write_page(result: TrialResult) -> None:
    from simcse_kit.report import trial_page
    from simcse_kit.training import PAGE

    with replacing(result.folder / PAGE) as aside:
        aside.write_text(trial_page(result), encoding="utf-8")
    note(f"wrote {result.folder / PAGE}")


def _print(result: TrialResult, markdown: bool) -> None:
    from simcse_kit.report import trial_choice, trial_markdown, trial_table

    if markdown:
        typer.echo(trial_markdown(result))
    else:
        show_table(trial_table(result), narrower=trial_table(result, upright=True))
    typer.echo(trial_choice(result))
