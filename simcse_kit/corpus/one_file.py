"""Embeddings in one file, ``FILE.npy`` or ``FILE.parquet``: shards in a folder beside, then joined.

The folder is hidden and goes when the file is whole; what a killed run left of it is gone on with.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.corpus.embedded import EmbeddedCorpus
from simcse_kit.corpus.embedding import Progress, embed_corpus
from simcse_kit.corpus.numbers import NumberType
from simcse_kit.corpus.run_lock import alone
from simcse_kit.corpus.shard_files import ROW_GROUP, VECTORS
from simcse_kit.corpus.shards import recorded
from simcse_kit.data import TextStream, at_home, check_can_write, disk_errors, replacing
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

_TYPES = ("fp32", "fp16")  # others need more than their numbers to be read

#: Names of single files end so; any other output is a folder.
FORMATS = (".npy", ".parquet")


def check_output(path: Path) -> None:
    """Raise InputError unless the format is known and the file can be written."""
    path = at_home(path)
    if path.suffix not in FORMATS:
        raise InputError(f"cannot write {path}: the name must end in {' or '.join(FORMATS)}")
    check_can_write(path)


def rows_file(path: Path) -> Path:
    """Where the numbers of rows stand beside ``FILE.npy``: ``FILE.rows.npy``."""
    return path.with_suffix(".rows.npy")


def embed_file(
    encoder: SentenceEncoder,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | TextStream,
    output: str | os.PathLike[str],
    *,
    type: NumberType = "fp32",
    numbers: bool = False,
    **settings: Any,
) -> tuple[Progress, bool]:
    """`embed_corpus` into ``.npy``, float32 or float16 (N, D), or ``.parquet``: text, embedding.

    Args:
        numbers: write which rows of the inputs there are, even where that is all of them: into
            `rows_file` beside a ``.npy``, as a column row of a ``.parquet``.
        settings: further ones of `embed_corpus`, but for those of a folder.

    Returns:
        What was made, and whether the numbers were written.

    Raises:
        InputError: as `embed_corpus`, or the name ends otherwise. What was there stays.
    """
    path = at_home(os.fspath(output))
    check_output(path)
    if type not in _TYPES:
        raise InputError(
            f"{path}: {type} needs more than one array; give a folder, or type fp32 or fp16",
            command_line=f"{path}: {type} needs more than one array; give a folder as --output, "
            "or --type fp32 or fp16",
        )
    stream = inputs if isinstance(inputs, TextStream) else TextStream(inputs)
    stream.check_apart(path)
    path = path.resolve()
    folder = path.with_name(f".{path.name}.embedding")
    form: dict[str, Any] = {"store": "npy", "texts": path.suffix == ".parquet"}
    try:
        done = embed_corpus(encoder, stream, folder, type=type, other="anew", **form, **settings)
    except BaseException:
        with contextlib.suppress(InputError, OSError), alone(folder):  # else it is another run's
            if not recorded(folder):
                shutil.rmtree(folder, ignore_errors=True)
        raise
    with disk_errors(folder), alone(folder):
        told = _joined(EmbeddedCorpus(folder), path, numbers)
        shutil.rmtree(folder, ignore_errors=True)
    return replace(done, folder=path), told


def _joined(corpus: EmbeddedCorpus, path: Path, numbers: bool) -> bool:
    """Make the one file of a whole corpus; whether it says the numbers of its rows."""
    numbers = numbers or int(corpus.numbers([len(corpus) - 1])[0]) != len(corpus) - 1
    if path.suffix == ".parquet":
        with replacing(path) as aside:
            _write_parquet(corpus, aside, numbers)
        return numbers
    if numbers:
        with replacing(rows_file(path)) as aside, aside.open("wb") as file:
            np.save(file, corpus.numbers())
    os.replace(corpus.path / VECTORS, path)
    if not numbers:  # those of an earlier file must not stay beside this one
        with contextlib.suppress(FileNotFoundError):
            rows_file(path).unlink()
    return numbers


def _write_parquet(corpus: EmbeddedCorpus, path: Path, numbers: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = np.load(corpus.path / VECTORS, mmap_mode="r", allow_pickle=False)
    number = pa.float16() if vectors.dtype == np.float16 else pa.float32()
    columns = [("text", pa.string()), ("embedding", pa.list_(number, corpus.dimension))]
    schema = pa.schema(columns + ([("row", pa.int64())] if numbers else []))
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(corpus), ROW_GROUP):
            rows = np.arange(start, min(start + ROW_GROUP, len(corpus)))
            flat = pa.array(np.asarray(vectors[rows]).reshape(-1))
            parts = [
                pa.array(corpus.texts(rows), pa.string()),
                pa.FixedSizeListArray.from_arrays(flat, corpus.dimension),
            ]
            parts += [pa.array(corpus.numbers(rows))] if numbers else []
            writer.write_table(pa.table(parts, schema=schema))  # texts over 2 GiB are in chunks
