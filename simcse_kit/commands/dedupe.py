"""``simcse-kit dedupe``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit.commands.console import chatter_on_stderr, note, show_table
from simcse_kit.commands.corpus_options import Corpus
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Output
from simcse_kit.data import at_home, check_can_write

if TYPE_CHECKING:
    from simcse_kit.corpus import Cluster, Deduped

_LISTED = 10  # clusters on the terminal


@grouped
def dedupe(
    corpus: Corpus,
    threshold: Annotated[
        float, typer.Option(help="Cosine from which on two rows are the same; 1 is equal vectors.")
    ] = 0.9,
    keep: Annotated[
        Literal["first", "longest", "central"],
        typer.Option(
            help="Which row of a cluster stays: the first, the longest text's, or the one"
            " nearest to the others."
        ),
    ] = "first",
    method: Annotated[
        Literal["exact", "index"],
        typer.Option(help="Compare every row with every other, or ask the index of the corpus."),
    ] = "exact",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows that stay: .parquet .jsonl .csv .tsv."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows that go, each with the one that stays for it."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A page of the largest clusters.")
    ] = None,
    clusters: Annotated[int, typer.Option(min=1, help="Clusters on the page.")] = 200,
    *,
    shown: Output,
) -> None:
    """Find what repeats in an embedded corpus, and what to keep.

    That is near-duplicates and paraphrases: rows whose cosine reaches the threshold are linked, and
    what links hold together is a cluster, of which one row stays. Interrupted, the same command
    goes on where it was.
    """
    shown.check()
    with chatter_on_stderr():
        from simcse_kit.corpus import EmbeddedCorpus, dedupe_corpus
        from simcse_kit.data import check_table_name

        for table in (output, pairs):
            if table is not None:
                check_table_name(at_home(table))
        if html is not None:
            check_can_write(at_home(html))
        found = dedupe_corpus(
            EmbeddedCorpus(corpus),
            threshold,
            keep=keep,
            method=method,
            keep_state=True,
            show_progress=True,
        )
        if output is not None:
            found.write_kept(at_home(output), show_progress=True)
        if pairs is not None:
            found.write_pairs(at_home(pairs), show_progress=True)
        if html is not None:
            _write_page(found, at_home(html), clusters)
    for place in (output, pairs, html):
        if place is not None:
            note(f"wrote {place}")
    shown.write(found.figures())
    found.forget()
    if shown.has_table:
        _show(found, shown.markdown)


def _write_page(found: Deduped, path: Path, clusters: int) -> None:
    from simcse_kit.data import replacing
    from simcse_kit.report import dedupe_page

    text = dedupe_page(found.figures(), found.clusters(clusters))
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _show(found: Deduped, markdown: bool) -> None:
    from simcse_kit.evaluation import Cell, Cells, draw, draw_markdown

    def row(cluster: Cluster) -> tuple[str, list[Cell]]:
        label = cluster.kept.id if cluster.kept.text is None else cluster.kept.text
        return label, [Cell(f"{cluster.size:,}"), Cell(f"{cluster.lowest:.4f}")]

    rows = [row(each) for each in found.clusters(_LISTED)]
    figures: dict[str, Any] = found.figures()
    clusters = f"{figures['clusters']:,} cluster" + "s" * (figures["clusters"] != 1)
    said = (
        f"{figures['rows']:,} rows: {figures['stay']:,} stay, {figures['go']:,} go, in {clusters}"
        f" at a cosine of {figures['threshold']:g}"
    )
    if rows:
        cells = Cells(
            header=["Rows", "Lowest cosine"],
            rows=rows,
            published=[],
            notes=["Of each cluster the row that stays, and the cosine of the furthest with it."],
            corner="Largest clusters",
        )
        if markdown:
            typer.echo(draw_markdown(cells))
        else:
            show_table(draw(cells), wraps=True)
    typer.echo(said)
