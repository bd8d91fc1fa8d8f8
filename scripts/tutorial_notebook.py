"""Make docs/tutorial.ipynb and docs/tutorial.md from docs/tutorial.py, the one source.

    python scripts/tutorial_notebook.py [--check]

The source is a script in percent format: a line ``# %%`` begins a cell of code, ``# %% [markdown]``
one of text in comments. ``--check`` writes nothing and fails where a made file is stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).resolve().parents[1] / "docs"
MARKER = "# %%"


class Cell(NamedTuple):
    """A cell of the tutorial: its text without comment signs, or its code."""

    kind: str  # "markdown" or "code"
    source: str


def cells(script: str) -> list[Cell]:
    """Split a script in percent format; raise ValueError where it is not in it."""
    found: list[Cell] = []
    for block in ("\n" + script).split("\n" + MARKER)[1:]:
        head, _, body = block.partition("\n")
        lines = body.strip("\n").splitlines()
        if head.strip() == "[markdown]":
            if strange := [line for line in lines if line != "#" and not line.startswith("# ")]:
                raise ValueError(f"no comment in a markdown cell: {strange[0]!r}")
            found.append(Cell("markdown", "\n".join(line[2:] for line in lines)))
        elif head.strip():
            raise ValueError(f"unknown kind of cell: {MARKER}{head}")
        else:
            found.append(Cell("code", "\n".join(lines)))
    if not script.startswith(MARKER):
        raise ValueError(f"the script does not begin with a cell ({MARKER})")
    if empty := [cell for cell in found if not cell.source]:
        raise ValueError(f"an empty {empty[0].kind} cell")
    return found


def as_notebook(found: list[Cell]) -> str:
    """The cells as a Jupyter notebook (nbformat 4.5) without outputs."""
    made = []
    for number, cell in enumerate(found):
        entry: dict[str, Any] = {
            "cell_type": cell.kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": cell.source.splitlines(keepends=True),
        }
        if cell.kind == "code":
            entry |= {"execution_count": None, "outputs": []}
        made.append(entry)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def as_page(found: list[Cell]) -> str:
    """The cells as a Markdown page."""
    blocks = [
        cell.source if cell.kind == "markdown" else f"```python\n{cell.source}\n```"
        for cell in found
    ]
    return "\n\n".join(blocks) + "\n"


def main(arguments: list[str], docs: Path = DOCS) -> int:
    """Write both files, or with --check say which is stale: 1 if any is."""
    found = cells((docs / "tutorial.py").read_text(encoding="utf-8"))
    made = {"tutorial.ipynb": as_notebook(found), "tutorial.md": as_page(found)}
    stale = 0
    for name, text in made.items():
        path = docs / name
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            print(f"{path} is stale: run python scripts/tutorial_notebook.py", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
