"""Texts tokenised a chunk at a time, ahead of who reads them: memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from simcse_kit.data.tokens import TokenStore
from simcse_kit.errors import TextError


def tokenised(
    texts: Sequence[str], tokenizer: Any, max_length: int, *, prefix: str = "", chunk: int
) -> Iterator[tuple[int, TokenStore]]:
    """Each chunk's first row and its tokens; the next is tokenised while one is worked on.

    Args:
        texts: N texts.
        tokenizer, max_length: as in `TokenStore.build`.
        prefix: put before each text.
        chunk: texts tokenised at a time.

    Raises:
        TextError: an entry is not a string, or has no tokens; its number is named.
    """

    def tokenise(start: int) -> tuple[int, TokenStore]:
        part = texts[start : start + chunk]
        for offset, text in enumerate(part):
            if not isinstance(text, str):
                kind = type(text).__name__
                raise TextError(start + offset, f"text {{}} is a {kind}, not a string")
        whole = [prefix + text for text in part] if prefix else part
        try:
            return start, TokenStore.build(whole, tokenizer, max_length)
        except TextError as error:
            raise error.at(start + error.number) from error

    if len(texts) <= chunk:
        yield from map(tokenise, range(0, len(texts), chunk))
        return
    with ThreadPoolExecutor(max_workers=1) as ahead:
        following = ahead.submit(tokenise, 0)
        for start in range(chunk, len(texts) + chunk, chunk):
            current = following.result()
            if start < len(texts):
                following = ahead.submit(tokenise, start)
            yield current
