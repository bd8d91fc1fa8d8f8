"""``simcse-kit adapt``."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.commands.collecting import collect_as_usual
from simcse_kit.commands.column_mapping import (
    TextFileOptions,
    column_called,
    column_mapping,
)
from simcse_kit.commands.console import chatter_on_stderr, check_outputs, note, write_json
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.models import split_model
from simcse_kit.commands.options import Json, known_models, listed
from simcse_kit.commands.pairs import COLUMNS, Documents, PairsOptions
from simcse_kit.commands.training_options import TrainingOptions, typed_again
from simcse_kit.data import at_home, check_can_make
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation.mining import Rules
    from simcse_kit.training import Adapted, General


@dataclass(frozen=True)
class AdaptOptions:
    """Hard negatives, and what is not to be forgotten."""

    num_negatives: Annotated[
        int, typer.Option(min=0, help="Hard negatives of each pair; 0 mines none.")
    ] = 1
    relative_margin: Annotated[
        float,
        typer.Option(help="A hard negative is at least this share of the positive's cosine below."),
    ] = 0.05
    general: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Texts of no domain, to stay on as the model is."),
    ] = None
    general_columns: Annotated[
        list[str] | None,
        typer.Option("--general-column", metavar="[text=]THEIRS", help="Its column of texts."),
    ] = None
    general_weight: Annotated[float, typer.Option(help="What their loss counts.")] = 1.0

    def rules(self) -> Rules | None:
        """What a hard negative is; None for none."""
        from simcse_kit.evaluation.mining import Rules

        if self.num_negatives == 0:
            return None
        return Rules(num_negatives=self.num_negatives, relative_margin=self.relative_margin)

    def held(self) -> General | None:
        """The general texts; InputError for what is of them without them."""
        from simcse_kit.training import General

        if self.general is None:
            if self.general_columns or self.general_weight != 1.0:
                raise InputError("--general-column and --general-weight are of --general FILE")
            return None
        if not 0 < self.general_weight < 1e30:
            raise InputError(f"--general-weight must be above 0, not {self.general_weight:g}")
        with column_called("--general-column"):
            columns = column_mapping(self.general_columns, ours=("text",), bare="text")
        return General(self.general, columns or {}, self.general_weight)


@grouped
def adapt(
    model: Annotated[
        str,
        typer.Argument(
            help="A sentence encoder that is good already: a hub id or a local folder.",
            callback=known_models,
        ),
    ],
    documents: Documents,
    output_dir: Annotated[
        Path, typer.Option(help="A new folder for all of it; the adapted encoder is DIR/model.")
    ],
    recipe: Annotated[
        str, typer.Option(help="Settings by name or your own YAML file, with base: adapt.")
    ] = "adapt",
    *,
    making: PairsOptions,
    adapting: AdaptOptions,
    reading: TextFileOptions,
    training: TrainingOptions,
    json_file: Json = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is not finished.")
    ] = False,
) -> None:
    """Adapt a good encoder to your own documents, without pairs.

    Pairs are made of each document's text, hard negatives mined, and the encoder trained on both
    while it is held to what it was. Interrupted, --resume goes on at the stage that it was in.
    """
    check_outputs(json_file, None)
    output_dir = at_home(output_dir)
    config = training.config(recipe, model)
    start, _ = split_model(model)
    general, rules = adapting.held(), adapting.rules()
    check_can_make(output_dir)
    with chatter_on_stderr(), contextlib.ExitStack() as ending:
        try:
            from simcse_kit.data import read_documents
            from simcse_kit.training import Making, raising
            from simcse_kit.training import adapt as run

            ending.enter_context(raising())
            collect_as_usual()
            mapping = reading.mapping(ours=COLUMNS, bare="text")
            adapted = run(
                start,
                read_documents(documents, columns=mapping, **reading.keywords()),
                config,
                output_dir,
                making=Making(listed(making.ways), making.per_document, making.words, making.least),
                rules=rules,
                general=general,
                eval_data=training.dev_set(reading),
                resume=resume,
            )
        except KeyboardInterrupt as end:
            with contextlib.suppress(OSError):  # a closed terminal hears nothing
                begun = " --resume" if (output_dir / "adapt.json").is_file() else ""
                note(f"interrupted; go on with: {typed_again()}{begun}")
            raise typer.Exit(128 + getattr(end, "number", signal.SIGINT)) from None
    _show(adapted, json_file)


def _show(adapted: Adapted, json_file: str | None) -> None:
    result = adapted.result
    if json_file is not None:
        told = {
            "model": str(result.output_dir),
            "pairs": adapted.pairs,
            "mined": adapted.mined,
            "steps": result.steps,
            "best_step": result.best_step,
            "best_score": result.best_score,
        }
        write_json(told, json_file)
    if json_file == "-":
        return
    ways = ", ".join(f"{way} {count:,}" for way, count in adapted.pairs["by_way"].items())
    typer.echo(f"pairs  {adapted.pairs['pairs']:,} of {adapted.pairs['documents']:,}: {ways}")
    if adapted.mined is not None:
        typer.echo(f"mined  {adapted.mined['rows']:,} of them with hard negatives")
    if result.best_step is None:
        typer.echo(f"last   step {result.steps}; there was no dev set to choose a better one")
    else:
        best = f"{result.dev} {result.best_score:.2f}"
        typer.echo(f"best   step {result.best_step} of {result.steps}: {best}")
    typer.echo(f"model  {result.output_dir}")
