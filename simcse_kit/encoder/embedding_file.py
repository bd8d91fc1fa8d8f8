"""Embeddings of a list of texts, written to a file in the texts' order.

The embeddings go through a memory map on disk, so memory does not grow with the number of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simcse_kit.data import at_home, beside, check_can_write, replacing, take_room
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder

FORMATS = (".npy", ".parquet")
_ROW_GROUP = 16_384  # rows; about 50 MB of 768 float32


def check_output(path: Path) -> None:
    """Raise InputError unless the format is known and the file can be written."""
    if path.suffix not in FORMATS:
        raise InputError(f"cannot write {path}: the name must end in {' or '.join(FORMATS)}")
    check_can_write(path)


def rows_file(path: Path) -> Path:
    """Where the numbers of rows stand beside ``FILE.npy``: ``FILE.rows.npy``."""
    return path.with_suffix(".rows.npy")


def write_embeddings(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    path: Path,
    *,
    numbers: np.ndarray | None = None,
    show_progress: bool = False,
) -> None:
    """Embed `texts` into ``.npy`` float32 (N, D), or ``.parquet`` with columns text, embedding.

    Args:
        numbers: int64 (N,), which row of their source the texts are, where they are not all of
            its rows. Written into `rows_file` beside a ``.npy``, as a column row of a ``.parquet``.

    The file appears under its name only when it is complete. Raises InputError as `check_output`,
    and where the disk has no room for all of it: that is taken before the first text is embedded.
    """
    path = at_home(path)
    check_output(path)
    if path.suffix == ".npy":
        with replacing(path) as aside:
            _embed(encoder, texts, aside, show_progress)
            _write_numbers(numbers, rows_file(path))
        return
    with replacing(path) as aside, beside(path.with_suffix(".npy")) as vectors:
        take_room(aside, 4 * len(texts) * encoder.dimension)  # for the time when it is written
        _write_parquet(_embed(encoder, texts, vectors, show_progress), texts, numbers, aside)


def _write_numbers(numbers: np.ndarray | None, path: Path) -> None:
    """Without numbers, those of an earlier file must not stay beside this one."""
    if numbers is None:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as aside, aside.open("wb") as file:
        np.save(file, numbers)


def _embed(
    encoder: SentenceEncoder, texts: Sequence[str], path: Path, show_progress: bool
) -> np.ndarray:
    """Embeddings float32 (N, D) in a memory-mapped .npy file."""
    shape = (len(texts), encoder.dimension)
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    take_room(path, path.stat().st_size)
    encoder.encode(texts, out=matrix, show_progress=show_progress)
    matrix.flush()
    return matrix


def _write_parquet(
    matrix: np.ndarray, texts: Sequence[str], numbers: np.ndarray | None, path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    dimension = matrix.shape[1]
    columns = [("text", pa.string()), ("embedding", pa.list_(pa.float32(), dimension))]
    schema = pa.schema(columns + ([] if numbers is None else [("row", pa.int64())]))
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(texts), _ROW_GROUP):
            rows = slice(start, start + _ROW_GROUP)
            flat = pa.array(np.asarray(matrix[rows]).reshape(-1))
            vectors = pa.FixedSizeListArray.from_arrays(flat, dimension)
            parts = [pa.array(texts[rows], pa.string()), vectors]
            parts += [] if numbers is None else [pa.array(numbers[rows])]
            writer.write_batch(pa.record_batch(parts, schema=schema))
