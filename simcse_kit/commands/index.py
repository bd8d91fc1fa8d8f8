"""``simcse-kit index``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.column_mapping import TextFileOptions
from simcse_kit.commands.console import chatter_on_stderr, note
from simcse_kit.commands.corpus_options import Corpus, CorpusModel, corpus_encoder, ids_of
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import ModelOptions, Output
from simcse_kit.errors import InputError, TextError

if TYPE_CHECKING:
    import numpy as np

    from simcse_kit.corpus import EmbeddedCorpus, VectorIndex
    from simcse_kit.encoder import SentenceEncoder


@grouped
def index(
    corpus: Corpus,
    factory: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Kind of index, as faiss's factory strings name it: Flat, HNSW32_SQ8,"
            " IVF4096,PQ48… auto chooses by the number of rows.",
        ),
    ] = "auto",
    recall: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the 10 nearest to find, where it can choose."),
    ] = 0.97,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Build it anew over an index that is there.")
    ] = False,
    added: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="FILE", help="Texts to embed and add to the index."),
    ] = None,
    remove_ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Ids, one a line, of rows to take out of the index."),
    ] = None,
    model: CorpusModel = None,
    *,
    reading: TextFileOptions,
    loading: ModelOptions,
    shown: Output,
) -> None:
    """Build an index over an embedded corpus, or change it.

    Vectors are read in blocks. How many of the 10 nearest it finds is measured against exact
    search and written into its index.json. It lies in CORPUS/index, or beside a .npy.
    """
    shown.check()
    if (added or remove_ids) and (overwrite or factory != "auto"):
        raise InputError("--add and --remove-ids change the index that is there: build it first")
    with chatter_on_stderr():
        from simcse_kit.corpus import CorpusSearch, EmbeddedCorpus, build_index, index_folder

        embedded = EmbeddedCorpus(corpus)
        if not added and remove_ids is None:
            built = build_index(
                embedded,
                factory=factory,
                recall=recall,
                overwrite=overwrite,
                show_progress=True,
            )
        else:
            search = CorpusSearch(embedded, how="index")
            assert search.index is not None
            built = search.index
            # what can fail comes before the first change
            gone = None if remove_ids is None else search.rows_of(ids_of(remove_ids))
            new = None
            if added:
                encoder = corpus_encoder(embedded, model, loading)
                new = _embedded(embedded, added, encoder, reading)
            if gone is not None:
                note(f"{built.remove(gone):,} rows are taken out")
            if new is not None:
                _add(built, *new)
    figures = _figures(built)
    shown.write({"corpus": str(corpus), "index": str(index_folder(embedded)), **figures})
    if shown.has_table:
        told = figures["recall"]
        found = "" if told is None else f", finds {100 * told:.1f} % of the 10 nearest"
        typer.echo(
            f"{index_folder(embedded)}  {figures['rows']:,} x {figures['dimension']}"
            f" {figures['factory']}{found}"
        )


def _embedded(
    corpus: EmbeddedCorpus, sources: list[str], encoder: SentenceEncoder, reading: TextFileOptions
) -> tuple[np.ndarray, list[str], list[str]]:
    """Texts embedded as those of the corpus were: unit vectors, ids ("" for none) and texts."""
    import numpy as np

    from simcse_kit.corpus import unit
    from simcse_kit.data import TextStream

    prompt = None if corpus.manifest is None else corpus.manifest.model.prompt
    stream = TextStream(sources, columns=reading.mapping(bare="text"), **reading.keywords())
    texts: list[str] = []
    ids: list[str] = []
    vectors = []
    for block in stream.blocks():
        try:
            found = encoder.encode(block.texts, prompt=prompt, normalize=True)
        except TextError as error:  # by its row among all
            raise error.at(block.before + int(block.numbers[error.number])) from error
        vectors.append(unit(found[:, : corpus.dimension]))
        ids += block.ids or [""] * len(block)
        texts += block.texts
    return np.concatenate(vectors), ids, texts


def _add(index: VectorIndex, vectors: np.ndarray, ids: list[str], texts: list[str]) -> None:
    """Put them behind the rows of the index."""
    rows = index.add(vectors, ids=ids, texts=texts, show_progress=True)
    note(f"{len(rows):,} rows are added, from {rows.start:,} on")


def _figures(index: VectorIndex) -> dict[str, Any]:
    made = index.manifest
    return {
        "rows": len(index),
        "dimension": made.dimension,
        "factory": made.factory,
        "effort": made.effort,
        "recall": made.recall,
        "measured": made.measured,
        "bytes": made.bytes,
        "added": sum(rows for _, rows in made.added),
        "removed": made.removed_rows,
    }
