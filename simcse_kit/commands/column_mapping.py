"""``--column OURS=THEIRS``: which of a file's columns are which of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from simcse_kit.errors import InputError

ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="OURS=THEIRS", help="Map a column, e.g. anchor=title (repeatable)."
    ),
]


def column_mapping(columns: Sequence[str] | None) -> dict[str, str] | None:
    """``["anchor=title", …]`` as ``{"anchor": "title", …}``; None for none."""
    if not columns:
        return None
    mapping = {}
    for text in columns:
        ours, equals, theirs = text.partition("=")
        if not equals or not ours or not theirs:
            raise InputError(f"--column {text}: write it as ours=theirs, for instance anchor=title")
        mapping[ours] = theirs
    return mapping
