"""``simcse-kit pairs``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.commands.column_mapping import TextFileOptions
from simcse_kit.commands.console import chatter_on_stderr, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Output, listed

if TYPE_CHECKING:
    from simcse_kit.data import PairsMade

Documents = Annotated[
    str,
    typer.Argument(
        help="A .txt with a blank line between documents; a folder of .txt .md .rst .html, each a"
        " document; a column of whole documents in .csv .tsv .jsonl .parquet, or of paragraphs"
        " beside a column document; or a hub id."
    ),
]

#: What a column of documents may be, by our names.
COLUMNS = ("text", "document", "title")


@dataclass(frozen=True)
class PairsOptions:
    """Which pairs are made of documents: keywords of `simcse_kit.data.make_pairs`."""

    ways: Annotated[
        str,
        typer.Option(
            help="Comma-separated: title, crop, cloze, keywords, sentences, paragraphs.",
        ),
    ] = "title,crop,cloze,keywords"
    per_document: Annotated[
        int, typer.Option(min=1, help="Pairs of each way that a document gives at most.")
    ] = 1
    words: Annotated[
        int, typer.Option(min=1, help="Words of a side at most, in whole sentences.")
    ] = 100
    least: Annotated[int, typer.Option(min=1, help="Words that a side must have.")] = 3


@grouped
def pairs(
    documents: Documents,
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="To write: .parquet .jsonl .csv .tsv.")
    ],
    *,
    making: PairsOptions,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    reading: TextFileOptions,
    shown: Output,
) -> None:
    """Make pairs of documents' own text, for mine and train.

    A title and its text, two crops, a sentence and what is around it, keywords and their document,
    neighbouring sentences or paragraphs. Other pairs of a document are no negatives of it.
    """
    shown.check()
    with chatter_on_stderr():
        from simcse_kit.data import (
            at_home,
            check_table_name,
            make_pairs,
            read_documents,
            whole_documents,
            write_pairs,
        )

        output = at_home(output)
        check_table_name(output)
        mapping = reading.mapping(ours=COLUMNS, bare="text")
        rows = read_documents(documents, columns=mapping, **reading.keywords())
        made = make_pairs(
            whole_documents(rows),
            listed(making.ways),
            per_document=making.per_document,
            seed=seed,
            words=making.words,
            least=making.least,
            source=rows.source,
            show_progress=True,
        )
        write_pairs(made, output)
    shown.write(made.to_json())
    if shown.has_table:
        _show(made, markdown=shown.markdown)
        typer.echo(f"{output}  {len(made):,} rows")


def _show(made: PairsMade, *, markdown: bool) -> None:
    """Print what each way gave, and what became of the documents."""
    from simcse_kit.evaluation import Cell, Cells, draw, draw_markdown

    rows = [
        (way, [Cell(f"{count:,}"), Cell(f"{made.lacking[way]:,}")])
        for way, count in made.by_way.items()
    ]
    cells = Cells(["pairs", "documents without"], rows, [], [], corner="Way")
    if markdown:
        typer.echo(draw_markdown(cells))
    else:
        show_table(draw(cells))
    for sentence in made.sentences():
        typer.echo(f"- {sentence}" if markdown else sentence)
