"""Lists of texts as a digest takes them: no two lists give the same bytes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

_AT_A_TIME = 8192  # texts; bounds memory beyond them


class Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""


def add_texts(digest: Digest, texts: Sequence[str]) -> None:
    """Have a digest take the texts, their lengths before their characters."""
    for start in range(0, len(texts), _AT_A_TIME):
        some = texts[start : start + _AT_A_TIME]
        digest.update(np.fromiter(map(len, some), np.int64, len(some)).tobytes())
        digest.update("".join(some).encode(errors="surrogatepass"))


def crc32_of(path: Path) -> int:
    """Of a file, which is read and not mapped, so that memory does not fill with it."""
    crc = 0
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            crc = zlib.crc32(data, crc)
    return crc
