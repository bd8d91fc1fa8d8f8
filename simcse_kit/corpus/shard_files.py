"""A shard on the disk: a Parquet file of its rows, and its part of one ``vectors.npy``.

A shard's vectors stand in its Parquet file as fixed-size lists, or else in the ``.npy`` file, where
shard k begins at row ``k × shard_rows``. Both are read a row group at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.corpus.manifest import Layout
from simcse_kit.corpus.numbers import Kept, dtype_of, width_of
from simcse_kit.data import replacing, take_room

VECTORS = "vectors.npy"
ROW_GROUP = 16_384  # rows; about 25 MB of 384 float32
_PIECE = 1 << 22

#: How a column of vectors is written. Of few different numbers a dictionary takes a byte each,
#: where Parquet's plain form takes four.
_WRITING: dict[str, dict[str, Any]] = {
    "fp32": {"compression": "none", "use_dictionary": False},
    "fp16": {"compression": "none", "use_dictionary": False},
    "int8": {"compression": "none", "use_dictionary": ["vector.list.element"]},
    "binary": {
        "compression": "zstd",
        "use_dictionary": False,
        "use_byte_stream_split": ["vector.list.element"],
    },
}


def shard_file(folder: Path, number: int) -> Path:
    """The Parquet file of a shard."""
    return folder / f"shard-{number:06d}.parquet"


def write_shard(
    file: Path,
    layout: Layout,
    numbers: np.ndarray,
    ids: Sequence[str | None],
    texts: Sequence[str],
    kept: Kept,
) -> str:
    """Write a shard's rows, whole or not at all, and give the SHA-256 of its file.

    Columns: row int64, id (null for none), text where the layout has it, scale float32 of int8,
    and vector, a fixed-size list of the numbers as they are kept, unless they stand elsewhere.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "row": pa.array(numbers, pa.int64()),
        "id": pa.array(ids, pa.string()),
    }
    if layout.texts:
        columns["text"] = pa.array(texts, pa.string())
    if kept.scales is not None:
        columns["scale"] = pa.array(kept.scales, pa.float32())
    how: dict[str, Any] = {"compression": "zstd"}
    if layout.store == "parquet":
        flat, width = pa.array(kept.numbers.reshape(-1)), kept.numbers.shape[1]
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, width)
        how = {**_WRITING[layout.type]}
        if how["compression"] == "none":  # rows, ids and texts are smaller packed
            how["compression"] = dict.fromkeys(columns, "zstd") | {"vector": "none"}
            how["compression"]["vector.list.element"] = how["compression"].pop("vector")
    with replacing(file) as aside:
        pq.write_table(pa.table(columns), aside, row_group_size=ROW_GROUP, **how)
        return _sha256(aside)


def read_group(file: Path, group: int, column: str) -> Any:
    """A column of one row group: a numpy array of numbers or vectors, or a list.

    Raises OSError, or one of arrow's errors, where the file is damaged.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        found = opened.read_row_group(group, columns=[column]).column(0)
    if column in ("row", "scale"):
        return found.to_numpy()
    if column != "vector":
        return found.to_pylist()  # of more than 2 GiB there are chunks, which cannot be one
    whole = found.combine_chunks()
    return whole.flatten().to_numpy(zero_copy_only=False).reshape(len(whole), -1)


def digest_of(file: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read."""
    try:
        return _sha256(file)
    except OSError:
        return None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class OneFile:
    """The one ``.npy`` file that shards put their vectors into, in any order.

    While it is written it ends in ``.part`` and has no header.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.file = folder / VECTORS
        self.part = folder / f"{VECTORS}.part"
        self.layout = layout
        self.width = width_of(layout.type, layout.dimension)
        self.row_bytes = self.width * dtype_of(layout.type).itemsize

    def open(self) -> None:
        """Make the file where there is none; one that was whole is opened again."""
        if self.file.exists() and not self.part.exists():
            with contextlib.suppress(FileNotFoundError):  # another part's run was faster
                os.replace(self.file, self.part)
        self.part.touch()

    def take_room(self, number: int, rows: int) -> None:
        """Have the disk promise the file up to the end of a shard."""
        take_room(self.part, self._place(number) + rows * self.row_bytes)

    def put(self, number: int, rows: np.ndarray) -> str:
        """Write the vectors of a shard to their place, and give their SHA-256."""
        raw = np.ascontiguousarray(rows).data.cast("B")
        with self.part.open("r+b") as stream:
            stream.seek(self._place(number))
            stream.write(raw)
        return hashlib.sha256(raw).hexdigest()

    def digest(self, number: int, rows: int) -> str | None:
        """SHA-256 of the vectors of a shard as they stand there; None without a file."""
        file = self.part if self.part.exists() else self.file
        digest, left = hashlib.sha256(), rows * self.row_bytes
        try:
            with file.open("rb") as stream:
                stream.seek(self._place(number))
                while left and (piece := stream.read(min(left, _PIECE))):
                    digest.update(piece)
                    left -= len(piece)
        except OSError:
            return None
        return digest.hexdigest()

    def close(self, rows: int) -> None:
        """Say how many rows there are, and give the file its name."""
        if not self.part.exists():
            return
        header = self._header(rows)
        with self.part.open("r+b") as stream:
            stream.write(header)
            stream.truncate(len(header) + rows * self.row_bytes)
        os.replace(self.part, self.file)

    def _place(self, number: int) -> int:
        return len(self._header(0)) + number * self.layout.shard_rows * self.row_bytes

    def _header(self, rows: int) -> bytes:
        """Of a fixed length: numpy leaves room for the number of rows to grow."""
        stream = io.BytesIO()
        dtype = np.lib.format.dtype_to_descr(dtype_of(self.layout.type))
        told = {"descr": dtype, "fortran_order": False, "shape": (rows, self.width)}
        np.lib.format.write_array_header_1_0(stream, told)
        return stream.getvalue()
