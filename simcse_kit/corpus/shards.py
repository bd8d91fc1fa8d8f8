"""Shards: how inputs are cut into them, and how one is made, wherever that is done.

A shard is so many rows of the inputs that follow each other. `ShardSpec` says all that making one
takes, so that any process, on any machine that sees the inputs and the output, can do it
(`embed_shard`). A finished shard leaves a record; without one it is not there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.corpus.manifest import EmbeddedBy, Layout, Manifest, Shard
from simcse_kit.corpus.numbers import kept_as
from simcse_kit.corpus.shard_files import OneFile, digest_of, shard_file, write_shard
from simcse_kit.data import (
    Block,
    Place,
    TextStream,
    beside,
    disk_errors,
    take_room,
    write_json,
)
from simcse_kit.errors import InputError, TextError

if TYPE_CHECKING:
    from tqdm import tqdm

    from simcse_kit.encoder import SentenceEncoder

_DONE = ".done"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardSpec:
    """All that making a shard takes; it can be pickled.

    Attributes:
        folder: of the corpus, an absolute path.
        number: of the shard, from 0.
        rows: of it.
        start: where its first row stands among the inputs.
        next: where the next shard's does; None after the last.
        stream: reads the inputs.
        manifest: which model, and how vectors are kept.
        trust_remote_code: whether a model's own code may run.
    """

    folder: Path
    number: int
    rows: int
    start: Place
    next: Place | None
    stream: TextStream
    manifest: Manifest
    trust_remote_code: bool = False


def embed_shard(spec: ShardSpec, encoder: SentenceEncoder | None = None) -> Shard:
    """Read a shard's rows, embed them, put them on the disk, and give the record of it.

    It may be called anywhere and again: what it writes is the same, and appears whole.

    Args:
        encoder: the model; None loads it by its name, once in a process.

    Raises:
        InputError: the rows are not there any more, the model is another, the disk is full.
    """
    encoder = encoder or _loaded(spec.manifest.model, spec.trust_remote_code)
    blocks = next(cut(spec.stream, spec.start, spec.rows), ([], None))[0]
    if sum(map(len, blocks)) != spec.rows:
        name = spec.stream.sources[spec.start.source]
        raise InputError(f"{name}: has changed since this run began; begin anew with --overwrite")
    return make(spec, encoder, blocks)


def make(
    spec: ShardSpec, encoder: SentenceEncoder, blocks: list[Block], bar: tqdm[Any] | None = None
) -> Shard:
    """`embed_shard` of rows that are read."""
    layout = spec.manifest.layout
    texts = [text for block in blocks for text in block.texts]
    ids = [row_id or None for block in blocks for row_id in block.ids or [""] * len(block)]
    numbers = np.concatenate([block.before + block.numbers for block in blocks])
    with disk_errors(spec.folder):
        _take_room(spec.folder, layout, spec.number, len(texts))
    try:
        vectors = _embedded(encoder, texts, spec.manifest, bar)
    except TextError as error:
        row = int(numbers[error.number])
        raise InputError(f"shard {spec.number}, row {row}: {error.at(row)}") from error
    except InputError as error:
        raise InputError(f"shard {spec.number}, from row {numbers[0]}: {error}") from error
    kept = kept_as(vectors, layout.type)
    file, vectors_digest = shard_file(spec.folder, spec.number), None
    with disk_errors(spec.folder):
        if layout.store == "npy":
            vectors_digest = OneFile(spec.folder, layout).put(spec.number, kept.numbers)
        digest = write_shard(file, layout, numbers, ids, texts, kept)
        shard = Shard(spec.number, len(texts), spec.start, spec.next, digest, vectors_digest)
        record(spec.folder, shard)
    return shard


def _take_room(folder: Path, layout: Layout, number: int, rows: int) -> None:
    """Have the disk promise the room of a shard's vectors before they are computed."""
    one_file = OneFile(folder, layout)
    if layout.store == "npy":
        one_file.take_room(number, rows)
        return
    with beside(shard_file(folder, number)) as aside:
        take_room(aside, rows * one_file.row_bytes)


def _embedded(
    encoder: SentenceEncoder, texts: list[str], manifest: Manifest, bar: tqdm[Any] | None
) -> np.ndarray:
    """Vectors float32 ``(n, D)``; each distinct text is embedded once."""
    distinct = list(dict.fromkeys(texts))
    model, dimension = manifest.model, manifest.layout.dimension
    is_cut = dimension < encoder.dimension
    own = encoder.normalize and encoder.truncate_dim is None
    unit = None if model.normalized == own and not is_cut else model.normalized
    shown = False if bar is None else bar
    try:
        vectors = encoder.encode(distinct, prompt=model.prompt, normalize=unit, show_progress=shown)
    except TextError as error:  # by its number among all
        raise error.at(texts.index(distinct[error.number])) from error
    if is_cut:
        vectors = vectors[:, :dimension]
        if model.normalized:
            lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
            vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    if bar is not None:
        bar.update(len(texts) - len(distinct))
    if len(distinct) == len(texts):
        return vectors
    place = {text: number for number, text in enumerate(distinct)}
    return vectors[[place[text] for text in texts]]


def cut(
    stream: TextStream, start: Place | None, rows: int
) -> Iterator[tuple[list[Block], Place | None]]:
    """The rows of a stream, so many at a time, each with where the next begin; None at the end."""
    found: list[Block] = []
    count = 0
    for block in stream.blocks(start):
        at = 0
        while at < len(block):
            if count == rows:
                yield found, block.place(at)
                found, count = [], 0
            part = block.part(at, at + rows - count)
            found.append(part)
            count += len(part)
            at += len(part)
    if found:
        yield found, None


def plan(
    stream: TextStream, rows: int, done: Mapping[int, Shard]
) -> Iterator[tuple[int, list[Block], Place | None]]:
    """Number, rows and next place of each shard that is not done, in order.

    What is done is not read: the shard before it knows where the next begins.
    """
    number, start = 0, None
    while True:
        while number in done:
            start = done[number].next
            number += 1
            if start is None:
                return
        for blocks, after in cut(stream, start, rows):
            yield number, blocks, after
            number, start = number + 1, after
            if number in done:
                break
        else:
            return


# ---- records of what is finished -----------------------------------------------------------------


def record(folder: Path, shard: Shard) -> None:
    """Say on the disk that a shard is finished."""
    place = folder / _DONE
    place.mkdir(exist_ok=True)
    write_json(place / f"{shard.number:06d}.json", asdict(shard))


def recorded(folder: Path) -> dict[int, Shard]:
    """The shards that are said to be finished; a record that cannot be read is none."""
    found: dict[int, Shard] = {}
    for path in sorted((folder / _DONE).glob("*.json")):
        try:
            shard = Shard.read(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        found[shard.number] = shard
    return found


def forget(folder: Path, numbers: list[int] | None = None) -> None:
    """Take back the records of some shards, or of all."""
    place = folder / _DONE
    names = [f"{number:06d}.json" for number in numbers or []]
    paths = [place / name for name in names] if numbers is not None else place.glob("*")
    for path in paths:
        path.unlink(missing_ok=True)
    if numbers is None and place.is_dir():
        place.rmdir()


def damaged(folder: Path, manifest: Manifest, shards: Mapping[int, Shard]) -> list[int]:
    """Which of the shards do not stand on the disk as they were written."""
    one_file = OneFile(folder, manifest.layout)
    bad = []
    for number, shard in shards.items():
        good = digest_of(shard_file(folder, number)) == shard.digest
        if good and shard.vectors_digest is not None:
            good = one_file.digest(number, shard.rows) == shard.vectors_digest
        if not good:
            bad.append(number)
    return bad


@lru_cache(maxsize=1)
def _loaded(model: EmbeddedBy, trust_remote_code: bool) -> SentenceEncoder:
    return model.load(trust_remote_code=trust_remote_code)
