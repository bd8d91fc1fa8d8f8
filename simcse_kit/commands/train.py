"""``simcse-kit train``."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.column_mapping import FileOptions, column_called, column_mapping
from simcse_kit.commands.console import chatter_on_stderr, check_outputs, note
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.models import split_model
from simcse_kit.commands.options import (
    Plots,
    PoolingOption,
    Prompt,
    PromptName,
    TrustRemoteCode,
    known_models,
)
from simcse_kit.commands.showing import draw_cosines
from simcse_kit.data import check_can_make
from simcse_kit.errors import InputError
from simcse_kit.training import TrainConfig, build_config

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import PairTask
    from simcse_kit.training import SeedsResult, TrainResult

_OURS = ", ".join(
    list(TrainConfig.model_fields)[: list(TrainConfig.model_fields).index("cache_dir")]
)
SETTINGS = (
    f"--set and recipes take {_OURS}, cache_dir, and the names of Hugging Face's "
    "TrainingArguments: max_steps, learning_rate, per_device_train_batch_size, seed, bf16…"
)


@grouped
def train(
    model: Annotated[
        str,
        typer.Option(
            help="The encoder to start from: a hub id or a local folder. MODEL@head=keep takes "
            "the pooler of a SimCSE checkpoint as its head.",
            callback=known_models,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help="Texts or pairs: .txt .csv .tsv .jsonl .parquet (.gz too), or a hub id."),
    ],
    output_dir: Annotated[Path, typer.Option(help="The run's folder; itself the trained model.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Settings by name (simcse-kit recipes lists them), or your own YAML file."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None,
    *,
    reading: FileOptions,
    eval_data: Annotated[
        Path | None,
        typer.Option(help="Dev set to choose the best step on: an STS folder or scored pairs."),
    ] = None,
    eval_columns: Annotated[
        list[str] | None,
        typer.Option("--eval-column", metavar="OURS=THEIRS", help="The same of the dev set."),
    ] = None,
    eval_split: Annotated[
        float | None,
        typer.Option(
            help="Hold out this share (or number) of the pairs as dev set: recall@1 chooses."
        ),
    ] = None,
    pooling: PoolingOption = None,
    prompt: Prompt = None,
    prompt_name: PromptName = None,
    document_prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Of pairs, put before positives and negatives instead."),
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
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
    options = {
        "pooling": pooling,
        "prompt": prompt,
        "prompt_name": prompt_name,
        "document_prompt": document_prompt,
        "trust_remote_code": trust_remote_code or None,
        "eval_split": eval_split,
    }
    model, own = _own_settings(model)
    options |= own
    config = build_config(recipe, settings or [], options)
    check_outputs(None, plots)
    check_can_make(output_dir)
    replaces = _begun(output_dir) if overwrite else None
    with chatter_on_stderr(), contextlib.ExitStack() as ending:
        try:
            from simcse_kit.data import read_rows
            from simcse_kit.training import is_main, leave, raising

            ending.enter_context(raising())
            dev = None if eval_data is None else _dev_set(eval_data, eval_columns, reading)
            rows: Any = data
            if reading.given_of_files():
                rows = read_rows(data, columns=reading.mapping(), **reading.keywords())
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


def _own_settings(model: str) -> tuple[str, dict[str, str]]:
    """The name of a model, and the settings of the training that were written behind it."""
    name, own = split_model(model)
    for key in ("max_length", "precision"):
        if key in own:
            setting = "max_length=64" if key == "max_length" else "bf16=false"
            raise InputError(f"{model}: of a training, {key} is a setting, as in --set {setting}")
    if "head" in own:  # `head` is another thing in training
        own["model_head"] = own.pop("head")
    return name, own


def _dev_set(path: Path, columns: list[str] | None, reading: FileOptions) -> PairTask:
    from simcse_kit.evaluation.sts import load_stsb, load_tasks

    if path.is_dir() or not path.exists():
        return load_stsb(path, "dev")
    mapping = column_mapping(columns, ours=("sentence1", "sentence2", "score"))
    with column_called("--eval-column"):
        return load_tasks(None, [str(path)], columns=mapping, header=reading.header)[0]


def _begun(output_dir: Path) -> int | None:
    """When what tells of the run in a folder was written; None without one."""
    files = (output_dir / "seeds.json", output_dir / "run.json")
    return next((file.stat().st_mtime_ns for file in files if file.is_file()), None)


def _how_to_go_on(output_dir: Path, replaces: int | None) -> str:
    """What is said at an interruption; `replaces`: `_begun` of the run that was to be replaced."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    launcher = [] if ranks == "1" else ["torchrun", "--nproc_per_node", ranks, "--no-python"]
    again = shlex.join([*launcher, "simcse-kit", *words])
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
