"""``simcse-kit search``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.column_mapping import TextFileOptions
from simcse_kit.commands.console import chatter_on_stderr, show_table
from simcse_kit.commands.corpus_options import Corpus, CorpusModel, corpus_encoder, ids_of
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import ModelOptions, Output
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.corpus import Hit


@grouped
def search(
    corpus: Corpus,
    queries: Annotated[
        list[str] | None, typer.Argument(metavar="[QUERY]...", help="Texts to search for.")
    ] = None,
    queries_file: Annotated[
        str | None,
        typer.Option("--queries", metavar="FILE", help="Queries of a file, after those given."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Rows of each query.")] = 10,
    threshold: Annotated[float | None, typer.Option(help="Lowest cosine with the query.")] = None,
    filter_ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Search these rows alone: a file of ids, one a line."),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every row, index or not.")
    ] = False,
    effort: Annotated[
        int | None,
        typer.Option(min=1, help="Of the index; more finds more. Default: what was measured."),
    ] = None,
    model: CorpusModel = None,
    *,
    reading: TextFileOptions,
    loading: ModelOptions,
    shown: Output,
) -> None:
    """Search an embedded corpus for the rows nearest to each query.

    Nearest is of the highest cosine. Queries are embedded by the corpus's own model, with its
    prompt for queries. The index of the corpus is used where there is one (`index`); without, every
    row is compared.
    """
    shown.check()
    if not queries and queries_file is None:
        raise InputError("there is no query; give some texts, or a file with --queries")
    with chatter_on_stderr():
        from simcse_kit.corpus import CorpusSearch, EmbeddedCorpus
        from simcse_kit.data import read_rows

        asked = [*(queries or [])]
        if queries_file is not None:
            how: dict[str, Any] = {"columns": reading.mapping(bare="text"), **reading.keywords()}
            asked += read_rows(queries_file, wanted=["text"], **how).columns["text"]
        ids = None if filter_ids is None else ids_of(filter_ids)
        embedded = EmbeddedCorpus(corpus)
        encoder = corpus_encoder(embedded, model, loading)
        searched = CorpusSearch(embedded, encoder=encoder, how="exact" if exact else "auto")
        found = searched.search(
            asked, top_k, threshold=threshold, ids=ids, effort=effort, show_progress=True
        )
    shown.write(
        [
            {"query": query, "hits": [asdict(hit) for hit in hits]}
            for query, hits in zip(asked, found, strict=True)
        ]
    )
    if shown.has_table:
        for query, hits in zip(asked, found, strict=True):
            _show(query, hits, shown.markdown)


def _show(query: str, hits: list[Hit], markdown: bool) -> None:
    from simcse_kit.data import for_markdown, one_line
    from simcse_kit.evaluation import Cell, Cells, draw, draw_markdown

    if not hits:
        typer.echo(f"{one_line(query)}: nothing is near enough")
        return
    texts = any(hit.text is not None for hit in hits)
    rows = [
        (
            hit.id if hit.text is None else hit.text,
            [Cell(f"{hit.score:.4f}"), *([Cell(one_line(hit.id))] if texts else [])],
        )
        for hit in hits
    ]
    cells = Cells(
        header=["Cosine", *(["Id"] if texts else [])],
        rows=rows,
        published=[],
        notes=[],
        corner="Text" if texts else "Id",
        words=("Id",),
    )
    if markdown:
        typer.echo(f"**{for_markdown(query)}**\n\n{draw_markdown(cells)}")
    else:
        show_table(draw(cells, title=one_line(query)), wraps=True)
