"""The bar of `encode`: its own, or one of a caller that embeds more than one call's texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from tqdm.auto import tqdm
from tqdm.std import tqdm as any_tqdm

Bar: TypeAlias = "any_tqdm[Any]"
Progress: TypeAlias = "bool | Bar"


@contextmanager
def bar_of(shown: Progress, total: int) -> Iterator[Bar]:
    """A bar of so many texts, on stderr when that is a terminal; or the caller's, left open."""
    if isinstance(shown, any_tqdm):
        yield shown
        return
    with tqdm(total=total, unit="sentence", desc="embed", disable=None if shown else True) as bar:
        yield bar
