"""Search in an embedded corpus: texts in, the nearest rows of each out, with ids and texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from simcse_kit.corpus.embedded import EmbeddedCorpus
from simcse_kit.corpus.exact import Rows, UnitRows, nearest, unit
from simcse_kit.corpus.given import are_vectors, check_asked, id_texts, query_rows
from simcse_kit.corpus.index import VectorIndex
from simcse_kit.corpus.index_manifest import MANIFEST, read_manifest
from simcse_kit.errors import InputError, one_of

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

How = Literal["auto", "exact", "index"]
HeldVectors = Any  # an array or a tensor, or a list of such
_AT_A_TIME = 4096  # queries
_FOUND = 1 << 22  # hits of queries at a time

#: By so much the cosine of equal vectors of float32 may be below 1, at most.
ROUNDED = 1e-6


@dataclass(frozen=True)
class Hit:
    """A row that was found.

    Attributes:
        row: of the corpus, from 0; rows that were added to the index follow.
        id: the input's, or else the row's number.
        score: the cosine with the query.
        text: None where the corpus keeps none.
    """

    row: int
    id: str
    score: float
    text: str | None


class CorpusSearch:
    """An embedded corpus that is asked for the rows nearest to texts, by cosine.

    Args:
        corpus: a folder that `embed` wrote or a ``.npy``, or what is open already.
        encoder: embeds the queries; by default the one that the corpus names, loaded when it is
            first needed. It has to be the one that embedded the corpus; its prompt for queries is
            its own.
        how: "index" takes the index of the corpus, "exact" compares with every row, and "auto"
            takes the index where there is one. What was added to the index, or taken out of it,
            counts for both.

    Attributes:
        corpus, index: what is searched; `index` is None where none is needed.

    Raises:
        InputError: no corpus, a damaged one, one of another model; no index, or one of others.
    """

    def __init__(
        self,
        corpus: EmbeddedCorpus | str | Path,
        *,
        encoder: SentenceEncoder | None = None,
        how: How = "auto",
    ) -> None:
        if how not in get_args(How):
            raise InputError(f"how {one_of(get_args(How), how)}")
        self.corpus = corpus if isinstance(corpus, EmbeddedCorpus) else EmbeddedCorpus(corpus)
        self._encoder = encoder
        if encoder is not None:
            self.corpus.check_model(encoder)
        folder = index_folder(self.corpus)
        self.index: VectorIndex | None = None
        if (folder / MANIFEST).is_file():
            told = read_manifest(folder) if how == "exact" else None
            if told is None or told.added or told.removed:
                self.index = open_index(self.corpus)
        elif how == "index":
            raise InputError(
                f"{self.corpus.path} has no index; build one (`simcse-kit index`), or search"
                " without"
            )
        self.exact = how == "exact" or self.index is None
        self.vectors: Rows = unit_rows(self.corpus) if self.index is None else self.index.vectors

    def __len__(self) -> int:
        """Rows that can be found."""
        return len(self.vectors) if self.index is None else len(self.index)

    @property
    def encoder(self) -> SentenceEncoder:
        """What embeds the queries."""
        if self._encoder is None:
            self._encoder = own_encoder(self.corpus)
        return self._encoder

    def search(
        self,
        queries: str | Iterable[str] | HeldVectors,
        top_k: int = 10,
        *,
        threshold: float | None = None,
        ids: str | Iterable[str] | None = None,
        effort: int | None = None,
        show_progress: bool = False,
    ) -> list[list[Hit]]:
        """For each query what is nearest, the nearest first; equal ones in the corpus's order.

        Args:
            queries: texts, or vectors (N, D) of any length, an array or a tensor of torch's; a
                single text, or vector, is a list of one.
            top_k: at most so many of each.
            threshold: the least cosine, but for what float32 rounds (`ROUNDED`).
            ids: only these rows are searched: ids of the corpus, or row numbers where it has none.
            effort: of an index (`VectorIndex.search`).

        Raises:
            InputError: ids that the corpus has not, vectors of another dimension, top_k below 1.
        """
        check_asked(top_k, threshold)
        vectors = self.embedded(queries, show_progress=show_progress)
        among = None if ids is None else self.rows_of(ids)
        depth = min(top_k, len(self.vectors))
        least = -np.inf if threshold is None else threshold - ROUNDED
        at_once = max(1, min(_AT_A_TIME, _FOUND // max(1, depth)))
        found: list[list[Hit]] = []
        for start in range(0, len(vectors), at_once):
            rows, scores = self._nearest(vectors[start : start + at_once], depth, among, effort)
            there = (rows >= 0) & (scores >= least)
            found += self._hits(rows, scores, there)
        return found

    def embedded(
        self, queries: str | Iterable[str] | HeldVectors, *, show_progress: bool = False
    ) -> np.ndarray:
        """Queries as unit vectors, float32 (N, D), cut as the corpus's are."""
        width = self.corpus.dimension
        if are_vectors(queries):
            return unit(query_rows(queries, width, "the corpus"))
        if isinstance(queries, list | tuple) and not queries:
            return np.empty((0, width), np.float32)
        texts: Any = [queries] if isinstance(queries, str) else queries
        vectors = self.encoder.encode_query(texts, normalize=True, show_progress=show_progress)
        return unit(vectors[:, :width])

    def rows_of(self, ids: str | Iterable[str]) -> np.ndarray:
        """The rows of these ids, int64, ascending; of an id that stands at several, all of them.

        Raises:
            InputError: an id that no row has.
        """
        wanted = {*id_texts(ids)}
        rows, known = [], set()
        for start, names in self._id_blocks():
            for place, name in enumerate(names):
                if name in wanted:
                    rows.append(start + place)
                    known.add(name)
        if unknown := sorted(wanted - known):
            few = ", ".join(map(repr, unknown[:3]))
            raise InputError(
                f"{len(unknown):,} of {len(wanted):,} ids are not in {self.corpus.path}: {few}"
                f"{', …' if len(unknown) > 3 else ''}"
            )
        return np.array(rows, np.int64)

    def _id_blocks(self) -> Iterable[tuple[int, Sequence[str]]]:
        """The first row of each block, and the ids of its rows."""
        done = 0
        if self.corpus.ids(np.arange(min(1, len(self.corpus)))) is not None:
            for start, names in self.corpus.column_blocks("id"):
                yield start, [name or str(start + at) for at, name in enumerate(names)]
                done = start + len(names)
        for start in range(done, len(self.corpus), _AT_A_TIME):
            yield start, [str(n) for n in range(start, min(start + _AT_A_TIME, len(self.corpus)))]
        if self.index is not None:
            start = len(self.corpus)
            names = self.index.added("ids")
            yield (
                start,
                [name or str(start + at) for at, name in enumerate(names)],
            )

    def _nearest(
        self, queries: np.ndarray, depth: int, among: np.ndarray | None, effort: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.index is None:
            return nearest(queries, self.vectors, depth, among=among)
        if not self.exact:
            return self.index.search(queries, depth, among=among, effort=effort)
        if self.index.removed is not None:
            left = np.flatnonzero(~self.index.removed)
            among = left if among is None else among[~self.index.removed[among]]
        return nearest(queries, self.vectors, depth, among=among)

    def _hits(self, rows: np.ndarray, scores: np.ndarray, there: np.ndarray) -> list[list[Hit]]:
        """With ids and texts, which are read of each row once."""
        distinct = np.unique(rows[there])
        told = dict(zip(distinct.tolist(), self._told(distinct), strict=True))
        return [
            [
                Hit(row, told[row][0], min(1.0, max(-1.0, float(score))), told[row][1])
                for row, score in zip(found[good].tolist(), close[good], strict=True)
            ]
            for found, close, good in zip(rows, scores, there, strict=True)
        ]

    def _told(self, rows: np.ndarray) -> list[tuple[str, str | None]]:
        """Id and text of each of these rows, ascending."""
        own, late = rows[rows < len(self.corpus)], rows[rows >= len(self.corpus)]
        ids, texts = named(self.corpus, own)
        shown: list[str | None] = [None] * len(own) if texts is None else [*texts]
        told = [*zip(ids, shown, strict=True)]
        if self.index is not None and len(late):
            names, words = self.index.added("ids"), self.index.added("texts")
            for row in late.tolist():
                at = row - len(self.corpus)
                told.append((names[at] or str(row), words[at]))
        return told


# ---- a corpus and its index ----------------------------------------------------------------------


def named(corpus: EmbeddedCorpus, rows: np.ndarray) -> tuple[list[str], list[str] | None]:
    """The ids of rows, or else their numbers, and their texts, None where there are none."""
    ids, texts = corpus.ids(rows), corpus.texts(rows)
    return [(ids and ids[at]) or str(row) for at, row in enumerate(rows.tolist())], texts


def unit_rows(corpus: EmbeddedCorpus) -> Rows:
    """The vectors of a corpus at length 1; those that are so are not touched."""
    manifest = corpus.manifest
    if manifest is not None and manifest.model.normalized and manifest.layout.type == "fp32":
        return corpus.vectors
    return UnitRows(corpus.vectors, source=str(corpus.path))


def index_folder(corpus: EmbeddedCorpus) -> Path:
    """Where the index of a corpus lies: in its folder, or beside its ``.npy``."""
    path = corpus.path
    return path / "index" if path.is_dir() else path.with_name(f"{path.name}.index")


def build_index(
    corpus: EmbeddedCorpus,
    *,
    factory: str = "auto",
    recall: float = 0.97,
    overwrite: bool = False,
    show_progress: bool = False,
) -> VectorIndex:
    """Build the index of a corpus, as `VectorIndex.build`."""
    return VectorIndex.build(
        unit_rows(corpus),
        index_folder(corpus),
        factory=factory,
        recall=recall,
        model="" if corpus.manifest is None else corpus.manifest.model.fingerprint,
        state=state_of(corpus),
        overwrite=overwrite,
        show_progress=show_progress,
    )


def open_index(corpus: EmbeddedCorpus) -> VectorIndex:
    """The index of a corpus, as `VectorIndex.open`; one of the corpus as it was is refused."""
    return VectorIndex.open(
        index_folder(corpus),
        unit_rows(corpus),
        model="" if corpus.manifest is None else corpus.manifest.model.fingerprint,
        state=state_of(corpus),
    )


def state_of(corpus: EmbeddedCorpus) -> str:
    """Of all vectors of a corpus, without reading them: by the digests that its manifest has.

    Of a bare ``.npy`` by 64 of its rows.
    """
    if corpus.manifest is not None:
        shards = [[each.rows, each.digest, each.vectors_digest] for each in corpus.manifest.shards]
        told = json.dumps([asdict(corpus.manifest.layout), shards], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:32]
    some = np.unique(np.linspace(0, max(0, len(corpus) - 1), 64).round().astype(np.int64))
    digest = hashlib.sha256(repr(corpus.vectors.shape).encode())
    if len(corpus):
        digest.update(np.ascontiguousarray(corpus.vectors[some]).tobytes())
    return digest.hexdigest()[:32]


def own_encoder(corpus: EmbeddedCorpus, *, trust_remote_code: bool = False) -> SentenceEncoder:
    """The encoder that embedded a corpus, loaded as it was then.

    Raises:
        InputError: nobody wrote down which, it cannot be loaded, or it is not the one any more.
    """
    if corpus.manifest is None:
        raise InputError(
            f"{corpus.path} does not say which model its vectors are of; name it with an encoder",
            command_line=f"{corpus.path} does not say which model its vectors are of; name it with"
            " --model",
        )
    try:
        return corpus.manifest.model.load(trust_remote_code=trust_remote_code)
    except InputError as error:
        raise InputError(
            f"{corpus.path}: the queries want the model that it was embedded by, and {error}; where"
            " that lies elsewhere now, give it as the encoder",
            command_line=f"{corpus.path}: the queries want the model that it was embedded by, and"
            f" {error.command_line}; where that lies elsewhere now, name it with --model",
        ) from error
