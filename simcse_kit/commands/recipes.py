"""``simcse-kit recipes``."""

from __future__ import annotations

from typing import Annotated

import typer

from simcse_kit.training import recipe_names, recipe_text


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe to print, with its source.")] = None,
) -> None:
    """List the recipes and whom each is for, or print one."""
    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    known = {name: recipe_text(name).splitlines()[0].lstrip("# ") for name in recipe_names()}
    width = max(map(len, known))
    for name, title in known.items():
        typer.echo(f"{name:<{width}}  {title}")
