"""Tables of figures: one set of cells, drawn for the terminal or as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcse_kit.data import for_markdown, one_line

if TYPE_CHECKING:
    from rich.table import Table


# Columns of models: as wide as a path, or as an interval where there are many.
_FEW, _WIDE, _NARROW = 3, 24, 14


@dataclass(frozen=True)
class Cell:
    """What stands under a heading: the figure, and what stands below it, or ""."""

    figure: str
    below: str = ""
    best: bool = False


@dataclass(frozen=True)
class Cells:
    """A table before it is drawn: rows of cells, each with its name, and the notes under it.

    Attributes:
        words: headings of columns that hold names, not figures: these may be wrapped.
    """

    header: list[str]
    rows: list[tuple[str, list[Cell]]]
    published: list[tuple[str, list[Cell]]]
    notes: list[str]
    corner: str = "Model"
    words: tuple[str, ...] = ()


def draw(cells: Cells, *, upright: bool = False, title: str | None = None) -> Table:
    """A rich table of the cells; `upright` has a column a model."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title and _plain(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        caption="\n".join(map(_plain, cells.notes)),
        caption_justify="left",
        pad_edge=False,
    )
    named = [(name, row, False) for name, row in cells.rows]
    named += [(name, row, True) for name, row in cells.published]
    if upright:
        table.add_column("")
        width = _WIDE if len(named) <= _FEW else _NARROW
        for name, _, aside in named:
            style = "dim" if aside else None
            table.add_column(
                _plain(name), justify="right", header_style=style, overflow="fold", max_width=width
            )
        for number, heading in enumerate(cells.header):
            table.add_row(
                _plain(heading), *(_styled(row[number], aside) for _, row, aside in named)
            )
        return table
    for number, heading in enumerate([cells.corner, *cells.header]):
        figures = number > 0 and heading not in cells.words
        table.add_column(
            _plain(heading).replace(" ", "\n") if figures else _plain(heading),  # these are short
            justify="right" if figures else "left",
            no_wrap=figures,
            overflow="fold",  # nothing is cut, be it one word without an end
        )
    for number, (name, row, aside) in enumerate(named):
        if aside and not named[number - 1][2]:
            table.add_section()
        shown = f"[dim]{_plain(name)}[/dim]" if aside else _plain(name)
        table.add_row(shown, *(_styled(cell, aside) for cell in row))
    return table


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(one_line(text))


def _styled(cell: Cell, aside: bool) -> str:
    from rich.markup import escape

    figure = escape(cell.figure)
    figure = f"[bold]{figure}[/bold]" if cell.best else figure
    below = f"\n[dim]{escape(cell.below)}[/dim]" if cell.below else ""
    return f"[dim]{figure}[/dim]" if aside else figure + below


def draw_markdown(cells: Cells) -> str:
    """GitHub Markdown of the cells, the notes in a line below."""
    header = [for_markdown(heading) for heading in (cells.corner, *cells.header)]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for name, row in [*cells.rows, *cells.published]:
        marked = []
        for cell in row:
            below = f" ({cell.below.replace(chr(10), ', ')})" if cell.below else ""
            marked.append((f"**{cell.figure}**" if cell.best else cell.figure) + below)
        lines.append([for_markdown(name), *marked])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, "", *map(for_markdown, cells.notes), ""])
