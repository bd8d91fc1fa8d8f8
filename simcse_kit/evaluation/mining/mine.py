"""Hard negatives for the rows of a file, into a file: vectors, search, rules, rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from simcse_kit.corpus import BLOCK, check_faiss
from simcse_kit.data import Rows, at_home, check_cells, writing_table
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.embedding import model_settings, say_by_cosine
from simcse_kit.evaluation.mining.blocks import Arrays, Index, Plan, mined_blocks, search_by
from simcse_kit.evaluation.mining.outcome import Mined, Tally
from simcse_kit.evaluation.mining.pool import pool_of
from simcse_kit.evaluation.mining.rules import Rules
from simcse_kit.evaluation.mining.vectors import Side, Vectors, sides_of
from simcse_kit.evaluation.mining.workplace import Workplace
from simcse_kit.evaluation.mining.written import (
    OutputFormat,
    check_apart,
    check_written,
    laid_out,
    names_of,
)

logger = logging.getLogger(__name__)


def mine_hard_negatives(
    encoder: SentenceEncoder,
    rows: Rows,
    output: Path | str,
    rules: Rules | None = None,
    *,
    corpus: Sequence[str] = (),
    guide: SentenceEncoder | None = None,
    output_format: OutputFormat = "n-tuple",
    index: Index = "exact",
    block: int = BLOCK,
    show_progress: bool = False,
) -> Mined:
    """Write each pair of the rows with its hard negatives, and report what each rule took out.

    Every distinct text is embedded once a side, anchors as queries and candidates as documents
    (`encode_query`, `encode_document`), into files that are mapped. Then block by block the nearest
    candidates of each anchor are found, by cosine, and the rules applied. Candidates are the
    positives of all rows and the corpus; never a text that is the anchor's own, a positive of it in
    any row, or one that it is a positive of. What is finished is kept in a folder beside the output
    (``OUTPUT.mining``): the same call goes on there, and takes it away at the end.

    Args:
        rows: of pairs; a pair that stands in several rows is written once.
        output: ``.parquet``, ``.jsonl``, ``.csv`` or ``.tsv``.
        corpus: more candidates.
        guide: a second encoder, for `Rules.guide_margin`.
        output_format: "n-tuple" (columns anchor, positive, negative, negative_2…; pairs with fewer
            than asked are left out), "triplet" (a row a negative) or "list" (a row a pair that has
            any, whose negatives are a list).
        index: "faiss" finds most of the nearest in a part of the time; how many is in the report.
        block: anchors, and candidates, compared at a time: memory is O(block²).
        show_progress: bars on stderr, when that is a terminal.

    Raises:
        InputError: rows that are no pairs, an output that cannot be written, no negatives left.
    """
    rules, output = rules or Rules(), at_home(output)
    check_written(output, output_format)
    check_apart(output, rows.source)
    if index == "faiss":
        check_faiss("index faiss", instead="take index exact", option="--index faiss")
    pool = pool_of(rows, corpus)
    for texts in (pool.anchors, pool.candidates):
        check_cells(output, texts)
    say_by_cosine(encoder)
    logger.info(
        "%s: %d anchors, %d candidates, %d different pairs",
        *(rows.source, len(pool.anchors), len(pool.candidates), len(pool.anchor)),
    )
    own = sides_of(encoder, pool)
    others = () if guide is None else sides_of(guide, pool, " (guide)")
    keys = [side.key for side in (*own, *others)]
    plan = Plan(pool, rules, keys, index, block)
    place = Workplace(output)
    place.keep([plan.key, *keys])

    def vectors_of(sides: Iterable[Side]) -> Vectors:
        return Vectors(*(side.vectors(place.folder, show_progress=show_progress) for side in sides))

    vectors, guided = vectors_of(own), vectors_of(others) if others else None
    search, recall = search_by(plan, vectors, place)

    def blocks(show: bool) -> Iterable[Arrays]:
        return mined_blocks(plan, search, vectors, guided, place, show_progress=show)

    tally = Tally(plan)
    for arrays in blocks(show_progress):
        tally.add(arrays)
    tally.check(rows.source, output_format)
    written = _write(plan, output, output_format, blocks(False))  # they are all finished now
    place.remove()
    protocol = {
        "data": rows.source,
        "corpus": len(corpus),
        "model": encoder.name,
        "query_prompt": own[0].prompt or None,
        "document_prompt": own[1].prompt or None,
        "guide": None if guide is None else guide.name,
        "rules": asdict(rules) | {"range_max": rules.depth},
        "output": str(output),
        "output_format": output_format,
        "index": index,
        "index_recall": recall,
    }
    return tally.mined(written, output_format, protocol | model_settings(encoder))


def _write(plan: Plan, output: Path, output_format: OutputFormat, blocks: Iterable[Arrays]) -> int:
    """Write the rows; how many there are."""
    pool, rows = plan.pool, 0
    told = pool.documents is not None
    names = names_of(output_format, plan.rules.num_negatives, documents=told)
    starts = plan.starts()
    with writing_table(output, names, lists=output_format == "list") as write:
        for start, arrays in zip(starts, blocks, strict=True):
            some = plan.pairs(start, start + starts.step)
            pairs = pool.anchor[some], pool.positive[some]
            columns = laid_out(
                pairs,
                arrays["negatives"][pairs[0] - start],
                (pool.anchors, pool.candidates),
                output_format,
                None if pool.documents is None else pool.documents[some],
            )
            write(columns)
            rows += len(columns[0])
    return rows
