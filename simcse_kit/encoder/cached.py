"""An encoder that looks up what it has embedded before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Never, Self

import numpy as np

from simcse_kit.compute import Precision
from simcse_kit.encoder.given_texts import as_texts, no_others
from simcse_kit.encoder.identity import embeddings_of
from simcse_kit.encoder.progress import Progress, bar_of
from simcse_kit.encoder.prompts import prompt_text
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.encoder.vector_cache import VectorCache
from simcse_kit.errors import InputError

Computed = Callable[[list[str]], np.ndarray]

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

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        normalize: bool | None = None,
        precision: Precision | None = None,
        batch_tokens: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        show_progress: Progress = False,
        out: np.ndarray | None = None,
        **others: Never,
    ) -> np.ndarray:
        """As of `SentenceEncoder`."""
        no_others(others)
        rows = as_texts(texts)
        prefix = prompt_text(self.prompts, self.default_prompt, prompt, prompt_name)
        if out is None:
            out = np.empty((len(rows), self.dimension), dtype=np.float32)
        elif out.shape != (len(rows), self.dimension):
            raise InputError(f"out has shape {out.shape}, not {(len(rows), self.dimension)}")
        key = self._key(prefix, normalize, precision)

        def computed(some: list[str]) -> np.ndarray:
            return super(CachedEncoder, self).encode(
                some,
                normalize=normalize,
                precision=precision,
                batch_tokens=batch_tokens,
                prompt=prefix,
            )

        with bar_of(show_progress, len(rows)) as bar:
            for start in range(0, len(rows), _AT_A_TIME):
                block = rows[start : start + _AT_A_TIME]
                try:
                    out[start : start + len(block)] = self._block(block, key, computed)
                except InputError:
                    computed([*rows])  # says the same of the text by its number among all
                    raise
                bar.update(len(block))
        return out[0] if isinstance(texts, str) else out

    def _block(self, texts: Sequence[str], key: bytes, computed: Computed) -> np.ndarray:
        """Vectors of some texts, from the cache where they are there; the others go into it."""
        if self.cache is None or not all(isinstance(text, str) for text in texts):
            return computed([*texts])  # which says what is no text
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        distinct = [*place]
        keys = [_hashed(text, key) for text in distinct]
        vectors = np.empty((len(distinct), self.dimension), np.float32)
        found = self.cache.get(keys, vectors)
        if not found.all():
            lacking = np.flatnonzero(~found)
            vectors[lacking] = computed([distinct[each] for each in lacking])
            self.cache.put([keys[each] for each in lacking], vectors[lacking])
        return vectors if len(distinct) == len(texts) else vectors[[place[each] for each in texts]]

    def _key(self, prefix: str, normalize: bool | None, precision: Precision | None) -> bytes:
        """Of all but the text that a vector depends on."""
        chosen = self.precision
        if precision not in (None, chosen):
            chosen = self._resolved(precision)
        own = self.normalize and self.truncate_dim is None
        unit = own if normalize is None else normalize
        where = self.device.type if self.runtime is None else self.runtime.backend
        parts = [_LAYOUT, embeddings_of(self, prefix, unit), chosen, where]
        return hashlib.sha256(" ".join(parts).encode()).digest()


def _hashed(text: str, key: bytes) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(raw, digest_size=16, key=key).digest()
