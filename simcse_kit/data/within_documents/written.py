"""Pairs in a file that ``train`` and ``mine`` read: anchor, positive, way, document."""

from __future__ import annotations

from pathlib import Path

from simcse_kit.data.table_files import check_cells, writing_table
from simcse_kit.data.within_documents.making import PairsMade


def write_pairs(made: PairsMade, path: Path) -> None:
    """Write the pairs; ``document`` is the number of each one's document, from 0.

    Raises:
        InputError: a file of that name cannot be written.
    """
    columns = [[*texts] for texts in made.rows.columns.values()]
    for texts in columns:
        check_cells(path, texts)
    numbers = made.rows.documents
    documents = [] if numbers is None else [str(number) for number in numbers.tolist()]
    with writing_table(path, ["anchor", "positive", "way", "document"]) as write:
        write([*columns, made.ways, documents])
