"""``--column OURS=THEIRS``: which of a file's columns are which of ours."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

from simcse_kit.errors import InputError, one_of

_HELP = "Which column of the file is which of ours, e.g. anchor=title (repeatable)"

ColumnOption = Annotated[
    list[str] | None, typer.Option("--column", metavar="OURS=THEIRS", help=f"{_HELP}.")
]
#: Of a command that asks for one column: a bare name is that.
TextColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="[OURS=]THEIRS", help=f"{_HELP}; a name alone is the text's column."
    ),
]


def column_mapping(
    columns: Sequence[str] | None, *, ours: Sequence[str] = (), bare: str | None = None
) -> dict[str, str] | None:
    """``["anchor=title", …]`` as ``{"anchor": "title", …}``; None for none.

    Args:
        ours: the names that there are; none is checked by who reads the file.
        bare: which of ours a name without ``=`` is for; None allows no such name.

    Raises:
        InputError: what is no mapping, a name that is not ours, and one of ours twice.
    """
    if not columns:
        return None
    mapping: dict[str, str] = {}
    for text in columns:
        name, equals, theirs = text.partition("=")
        if not equals and bare is not None:
            name, theirs = bare, text
        if not name or not theirs:
            raise InputError(f"--column {text}: write it as OURS=THEIRS, {_example(text, ours)}")
        if ours and name not in ours:
            raise InputError(f"--column {text}: {name} {one_of(ours, name)}")
        if name in mapping:
            raise InputError(f"--column {text}: {name} is {mapping[name]} already; give it once")
        mapping[name] = theirs
    return mapping


def _example(text: str, ours: Sequence[str]) -> str:
    name, theirs = ours[0] if ours else "anchor", text.strip("=") or "title"
    return f"for instance --column {shlex.quote(f'{name}={theirs}')}"
