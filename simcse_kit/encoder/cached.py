"""An encoder that looks up what it has embedded before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from simcse_kit.encoder.given_texts import Asked
from simcse_kit.encoder.identity import embeddings_of
from simcse_kit.encoder.progress import Bar, bar_of
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.encoder.vector_cache import VectorCache
from simcse_kit.errors import TextError

Computed = Callable[[Sequence[str]], np.ndarray]

_LAYOUT = "1"  # raise when what a vector depends on changes
_AT_A_TIME = 16_384  # texts: what is lost when a run is interrupted


class CachedEncoder(SentenceEncoder):
    """A `SentenceEncoder` whose `encode` computes only what its cache lacks.

    A vector is kept by the model's weights and settings, prompt, normalisation, precision, what
    computes it and the text; its bits are those that were computed. On a CPU an embedding is its
    text's alone, whatever is embedded beside it, so they are those of an encoder without a cache
    too; another processor, or a GPU with other texts in a batch, may round otherwise.

    Attributes:
        cache: where vectors are looked up and kept; None: nowhere.
    """

    cache: VectorCache | None = None

    @classmethod
    def of(cls, encoder: SentenceEncoder, cache: VectorCache) -> Self:
        """The same encoder, with its weights shared, before a cache."""
        cached = cls.__new__(cls)
        vars(cached).update(vars(encoder))
        cached.cache = cache
        return cached

    def _fill(self, out: np.ndarray, rows: Sequence[str], how: Asked, bar: Bar) -> None:
        key = self._key(how)

        def computed(some: Sequence[str]) -> np.ndarray:
            vectors = np.empty((len(some), self.dimension), np.float32)
            with bar_of(False, len(some)) as hidden:
                super(CachedEncoder, self)._fill(vectors, some, how, hidden)
            return vectors

        for start in range(0, len(rows), _AT_A_TIME):
            block = rows[start : start + _AT_A_TIME]
            try:
                out[start : start + len(block)] = self._block(block, key, computed)
            except TextError as error:
                raise error.at(start + error.number) from error
            bar.update(len(block))

    def _block(self, texts: Sequence[str], key: bytes, computed: Computed) -> np.ndarray:
        """Vectors of some texts, from the cache where they are there; the others go into it."""
        if self.cache is None or not all(isinstance(text, str) for text in texts):
            return computed(texts)  # which says what is no text
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        distinct = [*place]
        keys = [_hashed(text, key) for text in distinct]
        vectors = np.empty((len(distinct), self.dimension), np.float32)
        found = self.cache.get(keys, vectors)
        if not found.all():
            lacking = np.flatnonzero(~found)
            try:
                vectors[lacking] = computed([distinct[each] for each in lacking])
            except TextError as error:
                raise error.at(texts.index(distinct[lacking[error.number]])) from error
            self.cache.put([keys[each] for each in lacking], vectors[lacking])
        return vectors if len(distinct) == len(texts) else vectors[[place[each] for each in texts]]

    def _key(self, how: Asked) -> bytes:
        """Of all but the text that a vector depends on."""
        where = self.device.type if self.runtime is None else self.runtime.backend
        parts = [_LAYOUT, embeddings_of(self, how.prefix, how.normalize), how.precision, where]
        return hashlib.sha256(" ".join(parts).encode()).digest()


def _hashed(text: str, key: bytes) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(raw, digest_size=16, key=key).digest()
