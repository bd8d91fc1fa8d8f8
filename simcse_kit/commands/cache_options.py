"""``--cache DIR``: vectors that commands keep for each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder, VectorCache

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

Cache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep vectors there, and take those that are there already."),
]
CacheSize = Annotated[
    str, typer.Option(metavar="SIZE", help="Of it, at most: what was used least goes first.")
]


def bytes_of(size: str) -> int:
    """``"2GB"``, ``"500 MB"`` or a number of bytes; InputError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", size.strip(), re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        raise InputError(f"--cache-size {size}: write it as 500MB or 2GB")
    unit = _UNITS[found[2].upper()]
    if found[3]:
        unit = 1024 ** list(_UNITS).index(found[2].upper())
    return int(float(found[1]) * unit)


def opened(cache: Path | None, size: str) -> VectorCache | None:
    """The cache that was asked for, if any."""
    limit = bytes_of(size)
    if cache is None:
        return None
    from simcse_kit.encoder import VectorCache

    return VectorCache(cache, limit)


def with_cache(encoder: SentenceEncoder, cache: Path | None, size: str) -> SentenceEncoder:
    """The encoder, before a cache where one was asked for."""
    found = opened(cache, size)
    if found is None:
        return encoder
    from simcse_kit.encoder import CachedEncoder

    return CachedEncoder.of(encoder, found)
