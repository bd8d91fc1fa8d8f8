"""``simcse-kit train``."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.collecting import collect_as_usual
from simcse_kit.commands.column_mapping import FileOptions
from simcse_kit.commands.console import chatter_on_stderr, check_outputs, note
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.models import split_model
from simcse_kit.commands.options import Plots
from simcse_kit.commands.showing import draw_cosines
from simcse_kit.commands.training_options import (
    StartModel,
    TrainData,
    TrainingOptions,
    rows_of,
    typed_again,
)
from simcse_kit.data import check_can_make
from simcse_kit.errors import InputError
from simcse_kit.training import TrainConfig

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import PairTask
    from simcse_kit.training import SeedsResult, TrainResult

_OURS = ", ".join(
    list(TrainConfig.model_fields)[: list(TrainConfig.model_fields).index("cache_dir")]
)
SETTINGS = (
    f"--set and recipes take {_OURS}, cache_dir; settings of a part as objective.temperature or "
    "keys.queue_length; and the names of Hugging Face's TrainingArguments: max_steps, "
    "learning_rate, per_device_train_batch_size, seed, bf16…"
)


@grouped
def train(
    model: StartModel,
    data: TrainData,
    output_dir: Annotated[Path, typer.Option(help="The run's folder; itself the trained model.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Settings by name (simcse-kit recipes lists them), or your own YAML file."
        ),
    ] = None,
    *,
    reading: FileOptions,
    training: TrainingOptions,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace the run in the folder, once the new one has a model."
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(help="Train with so many seeds, a folder each, and sum them up."),
    ] = None,
    plots: Plots = None,
) -> None:
    """Fine-tune an encoder on texts or pairs.

    Texts train on dropout twins, pairs on what is given; the columns of the data decide.
    """
    if resume and overwrite:
        raise InputError("--resume goes on with a run and --overwrite deletes it; give one of them")
    if seeds is not None and plots is not None:
        raise InputError("--plots draws one run; of --seeds each folder holds its own pictures")
    config = training.config(recipe, model)
    model, _ = split_model(model)
    eval_data = training.eval_data
    check_outputs(None, plots)
    check_can_make(output_dir)
    replaces = _begun(output_dir) if overwrite else None
    with chatter_on_stderr(), contextlib.ExitStack() as ending:
        try:
            from simcse_kit.training import is_main, leave, raising

            ending.enter_context(raising())
            collect_as_usual()
            dev = training.dev_set(reading)
            rows = rows_of(data, reading, config)
            how: dict[str, Any] = {"eval_data": dev, "resume": resume, "overwrite": overwrite}
            if seeds is not None:
                from simcse_kit.training import train_seeds

                several = train_seeds(model, rows, config, output_dir, seeds=seeds, **how)
                shown = _seeds_summary(several, dev, eval_data)
            else:
                from simcse_kit.training import train as run

                result = run(model, rows, config, output_dir, **how)
                if plots is not None and is_main():
                    _draw_training(result, dev, plots)
                shown = _training_summary(result, eval_data)
        except KeyboardInterrupt as end:
            if os.environ.get("RANK", "0") == "0":
                with contextlib.suppress(OSError):  # a closed terminal hears nothing
                    note(_how_to_go_on(output_dir, replaces))
            raise typer.Exit(128 + getattr(end, "number", signal.SIGINT)) from None
    if is_main():  # of the ranks that torchrun started
        typer.echo(shown)
    leave()


def _begun(output_dir: Path) -> int | None:
    """When what tells of the run in a folder was written; None without one."""
    files = (output_dir / "seeds.json", output_dir / "run.json")
    return next((file.stat().st_mtime_ns for file in files if file.is_file()), None)


def _how_to_go_on(output_dir: Path, replaces: int | None) -> str:
    """What is said at an interruption; `replaces`: `_begun` of the run that was to be replaced."""
    again = typed_again()
    if replaces is not None and _begun(output_dir) == replaces:
        return f"interrupted; the old run is still there; to replace it: {again} --overwrite"
    if (output_dir / "seeds.json").is_file():
        return f"interrupted; go on with the seeds that are left with: {again} --resume"
    if any(output_dir.glob("checkpoint-*")):
        return f"interrupted; go on from the last checkpoint with: {again} --resume"
    begun = " --overwrite" if output_dir.exists() else ""
    return f"interrupted before the first checkpoint; start again with: {again}{begun}"


def _draw_training(result: TrainResult, dev: PairTask | None, folder: Path) -> None:
    from simcse_kit.evaluation import training_curve
    from simcse_kit.evaluation.sts import evaluate as judge

    training_curve(result.history, folder / "training_curve.png")
    if dev is not None:
        draw_cosines(judge(result.encoder, [dev]), [dev], folder)


def _training_summary(result: TrainResult, eval_data: Path | None) -> str:
    from simcse_kit.training import what_may_go

    lines = [f"model  {result.output_dir}"]
    if result.best_step is not None and result.best_score is not None:
        before = ", the model as it was" if result.best_step == 0 else ""
        lines.append(
            f"best   step {result.best_step} of {result.steps}{before}: "
            f"{result.dev} {result.best_score:.2f}"
        )
    else:
        lines.append(f"last   step {result.steps}; there was no dev set to choose a better one")
    if result.stopped:
        lines.append(f"stopped early: {result.stopped}")
    lines += [f"beside {line}" for line in what_may_go(result.output_dir)]
    lines.append(_next(result.output_dir, eval_data))
    return "\n".join(lines)


def _seeds_summary(result: SeedsResult, dev: PairTask | None, eval_data: Path | None) -> str:
    lines = []
    for seed, run in result.runs.items():
        step = run["steps"] if run["best_step"] is None else run["best_step"]
        line = f"seed-{seed}  step {step} of {run['steps']}"
        if run["best_score"] is not None:
            line += f": {run['best_score']:.2f}"
        lines.append(line + (f" ({run['stopped']})" if run["stopped"] else ""))
    if result.mean is not None and result.sure is not None and dev is not None:
        interval = result.sure.tasks.get(dev.name)
        lines.append(
            f"mean   {dev.name} {dev.split} Spearman {result.mean.tasks[dev.name].spearman:.2f} ±"
            f" {result.sure.sd[dev.name]:.2f} over {len(result.runs)} seeds"
            + ("" if interval is None else f", 95 % interval {interval.low:.1f} to")
            + ("" if interval is None else f" {interval.high:.1f} (other seeds and other pairs)")
        )
        lines.append("       the steps were chosen on that set, which flatters it")
    elif result.held_out is not None:
        lines.append(
            f"mean   {result.held_out['figure']} {result.held_out['mean']:.2f} ±"
            f" {result.held_out['sd']:.2f} over {len(result.runs)} seeds"
        )
        lines.append("       the steps were chosen on those pairs, which flatters it")
    else:
        lines.append("mean   none: there was no dev set, or a seed cannot be scored on it")
    lines.append("beside checkpoint-* in each folder serves --resume alone and may go")
    lines.append(_next(result.folder, eval_data))
    return "\n".join(lines)


def _next(folder: Path, eval_data: Path | None) -> str:
    """The command that judges what came of it, on the data that are known to be there."""
    words = ["simcse-kit", "evaluate", str(folder)]
    if eval_data is None:  # a remark to the shell: the line can be pasted as it is
        return f"next   {shlex.join(words)}  # the STS sets of the hub; yours: --data-dir DIR"
    words += ["--tasks" if eval_data.is_file() else "--data-dir", str(eval_data)]
    return f"next   {shlex.join(words)}"
