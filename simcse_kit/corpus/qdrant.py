"""The vectors of a corpus in a Qdrant server, which answers many at once and filters by ids.

Points are numbered as the corpus's rows are; id and text are their payload. What they are of stands
in the collection's metadata.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.corpus.exact import unit
from simcse_kit.corpus.given import as_array, check_asked, id_texts, query_rows
from simcse_kit.corpus.search import ROUNDED, Hit, state_of, unit_rows
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from simcse_kit.corpus.embedded import EmbeddedCorpus

_AT_A_TIME = 1024  # points in a request
_QUERIES = 64  # in a request
_REQUEST = 24 << 20  # bytes of one, about
_A_NUMBER, _A_LETTER = 22, 3  # bytes: a float32 is written in the digits of a float64
_WAIT = 60  # seconds for an answer: 5, the client's own, are few for a thousand vectors


class QdrantIndex:
    """A collection of a Qdrant server that holds the vectors of a corpus.

    Attributes:
        client: `qdrant_client.QdrantClient`.
        collection: its name.
        dimension: of the vectors.

    Raises:
        InputError: no such collection, or one that is not ours, unfinished, or of another corpus;
            no qdrant-client.
    """

    def __init__(
        self, client: QdrantClient | str, collection: str, *, corpus: EmbeddedCorpus | None = None
    ) -> None:
        """Open a collection that `build` filled.

        Args:
            client: or what `connect` takes.
            corpus: has to be the one that the collection is of.
        """
        self.client = connect(client)
        self.collection = collection
        told = self._told()
        self.dimension = int(told["dimension"])
        if corpus is not None and told["state"] != state_of(corpus):
            raise InputError(
                f"the collection {collection!r} is of other vectors than {corpus.path}; build it"
                " again, over what is there (overwrite)"
            )
        if not told["whole"]:
            raise InputError(
                f"the collection {collection!r} is not whole; the same build goes on with it"
            )

    def __len__(self) -> int:
        """Points that are there."""
        with _answering(self.collection):
            return int(self.client.count(self.collection).count)

    @classmethod
    def build(
        cls,
        corpus: EmbeddedCorpus,
        client: QdrantClient | str,
        collection: str,
        *,
        overwrite: bool = False,
        show_progress: bool = False,
    ) -> QdrantIndex:
        """Put a corpus into a collection, 1,024 rows a request; interrupted, the same call goes on.

        Args:
            client: or what `connect` takes.
            overwrite: a collection of this name is replaced.
            show_progress: a bar on stderr, when that is a terminal.

        Raises:
            InputError: no vectors, a collection of this name that is of others, no server.
        """
        client = connect(client)
        if not len(corpus):
            raise InputError("there are no vectors to index; embed some texts first")
        with _answering(collection):
            done = _begun(client, collection, corpus, overwrite)
            vectors = unit_rows(corpus)
            bar = tqdm(
                total=len(corpus),
                initial=done,
                unit="vector",
                desc="index",
                disable=None if show_progress else True,
            )
            with bar:
                for start in range(done, len(corpus), _AT_A_TIME):
                    rows = np.arange(start, min(start + _AT_A_TIME, len(corpus)))
                    block = vectors[start : start + _AT_A_TIME]
                    _put(client, collection, rows, block, corpus.ids(rows), corpus.texts(rows))
                    bar.update(len(rows))
            client.update_collection(collection, metadata={"whole": True})
        return cls(client, collection, corpus=corpus)

    def search(
        self,
        queries: Any,
        top_k: int = 10,
        *,
        threshold: float | None = None,
        ids: str | Iterable[str] | None = None,
    ) -> list[list[Hit]]:
        """For each query the rows of highest cosine, the highest first, as `CorpusSearch.search`.

        Args:
            queries: (N, D), of any length (`CorpusSearch.embedded` makes them of texts), an array
                or a tensor; a single vector is a list of one.
            threshold: the least cosine, but for what float32 rounds.
            ids: only rows of these ids; those that are none are passed over.

        Raises:
            InputError: queries of another dimension, top_k below 1, no answer.
        """
        from qdrant_client import models

        check_asked(top_k, threshold)
        rows = unit(query_rows(queries, self.dimension, "the collection"))
        least = None if threshold is None else threshold - ROUNDED
        chosen = None if ids is None else models.Filter(must=[_is_one_of(ids)])
        asked = [
            models.QueryRequest(
                query=query.tolist(),
                limit=top_k,
                score_threshold=least,
                filter=chosen,
                with_payload=True,
            )
            for query in rows
        ]
        answers: list[Any] = []
        with _answering(self.collection):
            for start in range(0, len(asked), _QUERIES):
                some = asked[start : start + _QUERIES]
                answers += self.client.query_batch_points(self.collection, requests=some)
        return [[_hit(point) for point in answer.points] for answer in answers]

    def add(
        self, vectors: Any, ids: str | Sequence[str], texts: str | Sequence[str] | None = None
    ) -> range:
        """Put vectors (A, D) behind those that are there; their rows are returned.

        Raises:
            InputError: vectors of another dimension, or not as many as ids, or as texts.
        """
        ids, vectors = id_texts(ids), unit(as_array(vectors))
        texts = [texts] if isinstance(texts, str) else texts
        vectors = vectors[None] if vectors.ndim == 1 else vectors
        if vectors.shape != (len(ids), self.dimension):
            raise InputError(
                f"the vectors to add are {vectors.shape}, and not {(len(ids), self.dimension)}: one"
                " an id, embedded with the model that the collection is of"
            )
        if texts is not None and len(texts) != len(ids):
            raise InputError(
                f"there are {len(texts):,} texts for {len(ids):,} vectors to add; give one each"
            )
        first = int(self._told()["rows"])
        with _answering(self.collection):
            for start in range(0, len(ids), _AT_A_TIME):
                some = slice(start, start + _AT_A_TIME)
                rows = np.arange(first + start, first + start + len(ids[some]))
                _put(
                    *(self.client, self.collection, rows, vectors[some], [*ids[some]]),
                    None if texts is None else [*texts[some]],
                )
            told = {"rows": first + len(ids)}
            self.client.update_collection(self.collection, metadata=told)
        return range(first, first + len(ids))

    def remove(self, ids: str | Iterable[str]) -> int:
        """Take the rows of these ids out; how many there were is returned."""
        from qdrant_client import models

        before = len(self)
        with _answering(self.collection):
            self.client.delete(
                self.collection,
                points_selector=models.FilterSelector(filter=models.Filter(must=[_is_one_of(ids)])),
                wait=True,
            )
        return before - len(self)

    def _told(self) -> dict[str, Any]:
        with _answering(self.collection):
            there = self.client.collection_exists(self.collection)
            told = self.client.get_collection(self.collection).config.metadata if there else None
        if not told or not {"dimension", "rows", "state", "whole"} <= told.keys():
            what = "is not one that simcse-kit filled" if there else "is not there"
            raise InputError(f"the collection {self.collection!r} {what}; build it first")
        return dict(told)


def connect(client: QdrantClient | str) -> QdrantClient:
    """A client as it is, or of a server by its URL (``http://localhost:6333``), or of a folder.

    ``:memory:`` and a folder are Qdrant's local mode, which is for trials: it compares all.

    Raises:
        InputError: qdrant-client is not installed.
    """
    if not isinstance(client, str):
        return client
    if importlib.util.find_spec("qdrant_client") is None:
        raise InputError(
            "a Qdrant index needs the package qdrant-client, which is not installed: pip install"
            " 'simcse-kit[qdrant]'"
        )
    from qdrant_client import QdrantClient

    if client == ":memory:":
        return QdrantClient(":memory:")
    with _answering(client):
        if "://" in client:
            return QdrantClient(url=client, timeout=_WAIT)
        return QdrantClient(path=client)


@contextlib.contextmanager
def _answering(what: str) -> Iterator[None]:
    """Raise InputError where the server does not answer, or refuses."""
    import httpx
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except (ApiException, httpx.HTTPError, ConnectionError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"Qdrant did not do what was asked of {what!r} ({said:.200}); see that the server runs"
            " and the address is right"
        ) from error


def _begun(client: QdrantClient, collection: str, corpus: EmbeddedCorpus, overwrite: bool) -> int:
    """Have a collection for the corpus; the rows of it that are there already."""
    from qdrant_client import models

    state = state_of(corpus)
    if client.collection_exists(collection) and not overwrite:
        told = client.get_collection(collection).config.metadata or {}
        if told.get("state") != state or told.get("whole"):
            raise InputError(
                f"there is a collection {collection!r}; build it anew with overwrite, or give"
                " another name"
            )
        return int(client.count(collection).count) // _AT_A_TIME * _AT_A_TIME
    if client.collection_exists(collection):
        client.delete_collection(collection)
    client.create_collection(
        collection,
        vectors_config=models.VectorParams(
            size=corpus.dimension, distance=models.Distance.COSINE, on_disk=True
        ),
        metadata={
            "model": "" if corpus.manifest is None else corpus.manifest.model.fingerprint,
            "state": state,
            "dimension": corpus.dimension,
            "rows": len(corpus),
            "whole": False,
        },
    )
    # without it a server looks at every point for an id
    client.create_payload_index(collection, "id", models.PayloadSchemaType.KEYWORD)
    return 0


def _put(
    client: QdrantClient,
    collection: str,
    rows: np.ndarray,
    vectors: np.ndarray,
    ids: Sequence[str] | None,
    texts: Sequence[str] | None,
) -> None:
    """Put points there, in as many requests as it takes: a server refuses one above 32 MiB."""
    from qdrant_client import models

    letters = sum(len(text or "") for text in texts or ())
    size = _A_NUMBER * np.size(vectors) + _A_LETTER * letters
    if size > _REQUEST and len(rows) > 1:
        middle = len(rows) // 2
        for some in (slice(middle), slice(middle, None)):
            _put(
                *(client, collection, rows[some], vectors[some], ids and ids[some]),
                texts and texts[some],
            )
        return
    names = ids or [""] * len(rows)
    payloads: list[dict[str, Any]] = [
        {"id": name or str(row)} for name, row in zip(names, rows.tolist(), strict=True)
    ]
    for payload, text in zip(payloads, texts or (), strict=False):
        payload["text"] = text
    points = models.Batch(
        ids=rows.tolist(), vectors=np.asarray(vectors).tolist(), payloads=payloads
    )
    client.upsert(collection, points=points, wait=True)


def _is_one_of(ids: str | Iterable[str]) -> Any:
    from qdrant_client import models

    return models.FieldCondition(key="id", match=models.MatchAny(any=id_texts(ids)))


def _hit(point: Any) -> Hit:
    return Hit(int(point.id), point.payload["id"], float(point.score), point.payload.get("text"))
