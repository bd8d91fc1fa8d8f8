"""Texts' vectors in files that are mapped, made bit by bit so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.data import add_texts, disk_errors, replacing, take_room
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.mining.pool import Pool
from simcse_kit.evaluation.mining.workplace import Workplace

#: From texts to float32 (N, D), unit rows.
Encode = Callable[[Sequence[str]], np.ndarray]

#: Texts embedded at a time, at most: what is lost when a run is interrupted.
_AT_A_TIME = 16_384

_PROBED = 4  # texts from the beginning, and as many of the longest


@dataclass(frozen=True, eq=False)
class Vectors:
    """Unit rows, float32: of the anchors (N, D) and of the candidates (M, D)."""

    anchors: np.ndarray
    candidates: np.ndarray


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoder's way from a pool's texts to vectors, one side as queries and one as documents.

    Attributes:
        name: what its files are called.
        keys: of the anchors' vectors and of the candidates'.
    """

    name: str
    pool: Pool
    sides: tuple[Encode, Encode]
    keys: tuple[str, str]

    @classmethod
    def by(cls, name: str, encoder: SentenceEncoder, pool: Pool) -> Embedding:
        """By an encoder, with its prompts for queries and for documents."""
        query = partial(encoder.encode_query, normalize=True)
        document = partial(encoder.encode_document, normalize=True)
        keys = vectors_key(query, pool.anchors), vectors_key(document, pool.candidates)
        return cls(name, pool, (query, document), keys)

    def vectors(self, place: Workplace, *, show_progress: bool) -> Vectors:
        """The vectors, from their files as far as they are there."""
        named = zip(("anchors", "candidates"), self.sides, self.keys, strict=True)
        return Vectors(
            **{
                side: vectors_on_disk(
                    encode,
                    getattr(self.pool, side),
                    place.file(f"{self.name}-{side}", key, ".npy"),
                    what=side if self.name == "model" else f"{side} ({self.name})",
                    show_progress=show_progress,
                )
                for side, encode, key in named
            }
        )


def vectors_key(encode: Encode, texts: Sequence[str]) -> str:
    """Equal for equal texts that get equal vectors: of a few texts these are asked for.

    So it depends on whatever the vectors do: weights, tokenizer, pooling, prompt, precision.
    """
    longest = sorted(texts, key=len, reverse=True)[:_PROBED]
    digest = hashlib.sha256(encode([*texts[:_PROBED], *longest]).tobytes())
    add_texts(digest, texts)
    return digest.hexdigest()[:16]


def vectors_on_disk(
    encode: Encode, texts: Sequence[str], path: Path, *, what: str, show_progress: bool
) -> np.ndarray:
    """The vectors of the texts, float32 (N, D), mapped from a file ``.npy`` that is filled here.

    How many rows are finished stands beside it, in ``.rows``. Texts are embedded in parts of one
    size, so that a run that goes on computes what one that was not interrupted does.

    Raises InputError where the disk has no room, before the first part is embedded.
    """
    finished = path.with_suffix(".rows")
    done = int(finished.read_text()) if finished.is_file() and path.is_file() else 0
    parts = -(-len(texts) // _AT_A_TIME)
    bounds = np.linspace(0, len(texts), parts + 1).round().astype(int).tolist()
    bar = tqdm(
        total=len(texts),
        initial=done,
        unit="text",
        desc=f"embed {what}",
        disable=None if show_progress else True,
    )
    with disk_errors(path), bar:
        matrix = np.load(path, mmap_mode="r+") if done else None
        for start, stop in pairwise(bounds):
            if stop <= done:
                continue
            vectors = encode(texts[start:stop])
            if matrix is None:
                shape = (len(texts), vectors.shape[1])
                matrix = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=shape)
                take_room(path, path.stat().st_size)
            matrix[start:stop] = vectors
            matrix.flush()
            with replacing(finished) as aside:
                aside.write_text(str(stop))
            bar.update(stop - start)
    return np.load(path, mmap_mode="r")
