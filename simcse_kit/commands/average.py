"""``simcse-kit average``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simcse_kit.commands.console import chatter_on_stderr, check_new_folder
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import ModelOptions
from simcse_kit.data import for_markdown


@grouped
def average(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL MODEL…", help="Encoders trained from one start.")
    ],
    output_dir: Annotated[Path, typer.Option(metavar="DIR", help="The new model's folder.")],
    *,
    loading: ModelOptions,
) -> None:
    """Average the weights of encoders trained from one start.

    For runs that differ by their seed, as `train --seeds 4` makes them (model soups). Whether the
    mean is better than they are is for `evaluate` or `compare` to tell.
    """
    check_new_folder(output_dir)
    with chatter_on_stderr():
        from simcse_kit.encoder import averaged, with_section

        made = averaged([loading.load(model, alone=False) for model in models])
        names = ", ".join(Path(model).name for model in models)
        said = for_markdown(f"The mean of the weights of {len(models)} encoders: {names}.")
        card = made.model_card(title=output_dir.absolute().name)
        made.save_pretrained(output_dir, card=with_section(card, "Average", said))
    typer.echo(f"{output_dir}  the mean of {len(models)} encoders")
