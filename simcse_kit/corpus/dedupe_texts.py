"""An embedded corpus without what it repeats: rows, ids and texts for files and a page."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.corpus.dedupe import Duplicates, Keep, forget, near_duplicates
from simcse_kit.corpus.embedded import EmbeddedCorpus
from simcse_kit.corpus.search import named, open_index, unit_rows
from simcse_kit.data import check_cells, check_table_name, writing_table
from simcse_kit.errors import InputError, one_of

_AT_A_TIME = 16_384  # rows written
_SHOWN = 20  # rows of a cluster


@dataclass(frozen=True)
class Member:
    """A row of a cluster: its id, or else its number; its text, if any is kept; and the cosine with
    the row that stays."""

    id: str
    text: str | None
    cosine: float


@dataclass(frozen=True)
class Cluster:
    """The row that stays, rows that go for it, the nearest first (20 at most), and how many rows
    there are in all; the lowest cosine with the row that stays."""

    kept: Member
    goes: list[Member]
    size: int
    lowest: float


@dataclass(frozen=True, eq=False)
class Deduped:
    """What repeats what in a corpus (`found`), and which kind of row was kept.

    Attributes:
        state: where the comparison is kept still, if it is.
    """

    corpus: EmbeddedCorpus
    found: Duplicates
    keep: Keep
    state: Path | None = None

    def forget(self) -> None:
        """Take away what was kept of the comparison: the files that were wanted are written."""
        if self.state is not None:
            forget(self.state)

    def figures(self) -> dict[str, Any]:
        """Counts, for JSON."""
        found = self.found
        sizes = [1 + len(rows) for _, rows in found.clusters()]
        return {
            "corpus": str(self.corpus.path),
            "model": None if self.corpus.manifest is None else self.corpus.manifest.model.name,
            "threshold": found.threshold,
            "keep": self.keep,
            "exact": found.exact,
            "rows": len(found.kept),
            "stay": len(found.stays),
            "go": len(found.goes),
            "pairs": found.pairs,
            "clusters": len(sizes),
            "largest": sizes[0] if sizes else 0,
        }

    def clusters(self, most: int) -> list[Cluster]:
        """The largest clusters, with texts."""
        return [
            self._cluster(head, rows)
            for (head, rows), _ in zip(self.found.clusters(), range(most), strict=False)
        ]

    def write_kept(self, path: Path, *, show_progress: bool = False) -> None:
        """Write the rows that stay: row, id and text.

        Raises:
            InputError: a name of another ending than a table's, a text that no cell can hold.
        """
        self._write(path, self.found.stays, ["row", "id", "text"], show_progress)

    def write_pairs(self, path: Path, *, show_progress: bool = False) -> None:
        """Write the rows that go, each with the row that stays for it and their cosine.

        Raises:
            InputError: as `write_kept`.
        """
        names = ["row", "id", "text", "kept_row", "kept_id", "kept_text", "cosine"]
        self._write(path, self.found.goes, names, show_progress)

    def _write(self, path: Path, rows: np.ndarray, names: list[str], show_progress: bool) -> None:
        check_table_name(path)
        texts = self.corpus.texts(np.arange(min(1, len(self.corpus)))) is not None
        names = [name for name in names if texts or not name.endswith("text")]
        bar = tqdm(
            total=len(rows), unit="row", desc="write", disable=None if show_progress else True
        )
        with writing_table(path, names) as write, bar:
            for start in range(0, len(rows), _AT_A_TIME):
                some = rows[start : start + _AT_A_TIME]
                cells = self._cells(some)
                if "kept_row" in names:
                    kept = self._cells(self.found.kept[some])
                    cells |= {f"kept_{name}": each for name, each in kept.items()}
                    cells["cosine"] = [f"{cosine:.6f}" for cosine in self.found.cosine[some]]
                columns = [cells[name] for name in names]
                for column in columns:
                    check_cells(path, column)
                write(columns)
                bar.update(len(some))

    def _cells(self, rows: np.ndarray) -> dict[str, list[str]]:
        distinct, places = np.unique(rows, return_inverse=True)
        ids, texts = named(self.corpus, distinct)
        cells = {"row": [str(row) for row in rows.tolist()]}
        cells["id"] = [ids[at] for at in places.tolist()]
        if texts is not None:
            cells["text"] = [texts[at] for at in places.tolist()]
        return cells

    def _cluster(self, head: int, rows: np.ndarray) -> Cluster:
        some = np.array([head, *rows[:_SHOWN].tolist()])
        cells = self._cells(some)
        texts = cells.get("text", [None] * len(some))
        cosines = self.found.cosine[some].tolist()
        members = [Member(*each) for each in zip(cells["id"], texts, cosines, strict=True)]
        lowest = float(self.found.cosine[rows].min())
        return Cluster(members[0], members[1:], 1 + len(rows), lowest)


def dedupe_corpus(
    corpus: EmbeddedCorpus,
    threshold: float = 0.9,
    *,
    keep: Keep = "first",
    method: Literal["exact", "index"] = "exact",
    keep_state: bool = False,
    show_progress: bool = False,
) -> Deduped:
    """Find near-duplicates of an embedded corpus, as `near_duplicates`.

    Interrupted, the same call goes on: what is done lies in the corpus's folder.

    Args:
        keep: "longest" is by characters of the texts, which the corpus has to keep.
        method: "index" asks the index of the corpus.
        keep_state: what is done stays there until `Deduped.forget`, so that no file that cannot be
            written costs the comparison.

    Raises:
        InputError: as `near_duplicates`; no texts for "longest"; no index, or one of others.
    """
    if method not in ("exact", "index"):
        raise InputError(f"method {one_of(('exact', 'index'), method)}")
    lengths = _lengths(corpus) if keep == "longest" else None
    index = open_index(corpus) if method == "index" else None
    state = _place(corpus) if method == "exact" else None
    found = near_duplicates(
        unit_rows(corpus),
        threshold,
        keep=keep,
        lengths=lengths,
        index=index,
        state=state,
        keep_state=keep_state,
        show_progress=show_progress,
    )
    return Deduped(corpus, found, keep, state if keep_state else None)


def _lengths(corpus: EmbeddedCorpus) -> np.ndarray:
    lengths = np.zeros(len(corpus), np.int64)
    done = 0
    for start, texts in corpus.column_blocks("text"):
        lengths[start : start + len(texts)] = [len(text) for text in texts]
        done += len(texts)
    if done < len(corpus):
        raise InputError(
            f"{corpus.path} keeps no texts, so which is the longest is not known; embed with the"
            " texts, or keep the first or the central row"
        )
    return lengths


def _place(corpus: EmbeddedCorpus) -> Path | None:
    """Where an unfinished comparison waits; None where nothing can be written."""
    path = corpus.path
    place = path / ".dedupe" if path.is_dir() else path.with_name(f".{path.name}.dedupe")
    return place if os.access(place.parent, os.W_OK) else None
