"""Which of more texts than memory holds are equal: by hashes of 128 bits, sorted part by part.

That two different texts of 10⁹ have one such hash has a chance of 10⁻²¹, so it is taken for the
text itself, as content-addressed stores take it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from simcse_kit.data.atomic import take_room

#: Bytes of a hash.
WIDTH = 16
_AT_ONCE = 1 << 19  # hashes that are sorted at a time: some 20 MiB
_PARTS = 64  # at most: all hashes are read for each, and more are sorted at a time instead


def hash_of(data: bytes) -> bytes:
    """The hash of a text's bytes."""
    return blake2b(data, digest_size=WIDTH).digest()


#: The hash of the empty text.
EMPTY = hash_of(b"")


def number_equal(hashes: Sequence[Path], out: Path, *, empty: int | None = None) -> int:
    """Number texts from 0 by first appearance, equal for equal texts.

    Args:
        hashes: files of hashes, one behind the other: N in all.
        out: where the N numbers are written, int64.
        empty: the number of the empty text; None: one like others.

    Returns:
        How many numbers there are; that of `empty` does not count.
    """
    total = sum(path.stat().st_size for path in hashes) // WIDTH
    if not total:
        out.write_bytes(b"")
        return 0
    take_room(out, 8 * total)
    os.truncate(out, 8 * total)
    numbers = np.memmap(out, np.int64, "r+")
    parts = min(-(-total // _AT_ONCE), _PARTS)
    for part in range(parts):
        _note_firsts(hashes, numbers, part, parts)
    count = _number_firsts(hashes, numbers, empty)
    numbers.flush()
    return count


def _blocks(hashes: Iterable[Path]) -> Iterator[tuple[int, np.ndarray]]:
    """Hashes in order, uint64 ``(n, 2)``, and how many were before them."""
    before = 0
    for path in hashes:
        with path.open("rb") as file:
            while data := file.read(WIDTH * _AT_ONCE):
                block = np.frombuffer(data, np.uint64).reshape(-1, 2)
                yield before, block
                before += len(block)


def _note_firsts(hashes: Sequence[Path], numbers: np.ndarray, part: int, parts: int) -> None:
    """For the texts whose hashes fall in a part: where the first that equals each stands."""
    found_places, found = [], []
    for before, block in _blocks(hashes):
        some = np.flatnonzero(block[:, 0] % np.uint64(parts) == part)
        found_places.append(some + before)
        found.append(block[some])
    places, keys = np.concatenate(found_places), np.concatenate(found)
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal ones the first comes first
    keys, places = keys[order], places[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    numbers[places] = places[new][np.cumsum(new) - 1]


def _number_firsts(hashes: Sequence[Path], numbers: np.ndarray, empty: int | None) -> int:
    """Put the texts' numbers in place of where the first of each stands."""
    nothing = np.frombuffer(EMPTY, np.uint64)
    count = 0
    for before, block in _blocks(hashes):
        firsts = numbers[before : before + len(block)]  # above it, numbers stand by now
        own = firsts == np.arange(before, before + len(block))
        is_empty = np.zeros(len(block), dtype=bool)
        if empty is not None:
            is_empty = (block == nothing).all(axis=1)
        counted = own & ~is_empty
        firsts[counted] = np.arange(count, count + counted.sum())
        firsts[~own] = numbers[firsts[~own]]
        if empty is not None:
            firsts[is_empty] = empty
        count += int(counted.sum())
    return count
