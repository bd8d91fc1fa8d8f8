"""The vectors of a pool's texts, kept on disk and mapped: an interrupted run goes on with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.data import KeptMatrix, add_texts
from simcse_kit.encoder import (
    SentenceEncoder,
    document_prompt,
    embeddings_of,
    prompt_text,
    query_prompt,
)
from simcse_kit.errors import TextError
from simcse_kit.evaluation.mining.pool import Pool

#: Texts embedded at a time, at most: what is lost when a run is interrupted.
_AT_A_TIME = 32_768


@dataclass(frozen=True, eq=False)
class Vectors:
    """Unit rows, float32: of the anchors (N, D) and of the candidates (M, D)."""

    anchors: np.ndarray
    candidates: np.ndarray


@dataclass(frozen=True, eq=False)
class Side:
    """Texts that an encoder embeds with one prompt.

    Attributes:
        key: of all that the vectors depend on.
    """

    encoder: SentenceEncoder
    prompt: str
    texts: Sequence[str]
    what: str
    key: str

    @classmethod
    def of(
        cls, encoder: SentenceEncoder, prompt_name: str | None, texts: list[str], what: str
    ) -> Side:
        """With the prompt of this name, else the default one."""
        prompt = prompt_text(encoder.prompts, encoder.default_prompt, None, prompt_name)
        digest = hashlib.sha256(embeddings_of(encoder, prompt, True).encode())
        add_texts(digest, texts)
        return cls(encoder, prompt, texts, what, digest.hexdigest()[:16])

    def vectors(self, folder: Path, *, show_progress: bool) -> np.ndarray:
        """Unit rows, float32 (N, D), from the folder as far as they are there."""
        bar = tqdm(
            total=len(self.texts),
            unit="text",
            desc=f"embed {self.what}",
            disable=None if show_progress else True,
        )

        def rows(start: int, end: int) -> np.ndarray:
            bar.update(start - bar.n)
            some = self.texts[start:end]
            try:
                found = self.encoder.encode(some, prompt=self.prompt, normalize=True)
            except TextError as error:  # by its number among all
                raise error.at(start + error.number) from error
            bar.update(end - start)
            return found

        shape = len(self.texts), self.encoder.dimension
        with bar:
            kept = KeptMatrix(folder / f"vectors-{self.key}", shape, np.float32, _AT_A_TIME)
            return kept.get(rows)


def sides_of(encoder: SentenceEncoder, pool: Pool, whose: str = "") -> tuple[Side, Side]:
    """The anchors as queries, the candidates as documents; `whose` is said beside a bar."""
    query, document = query_prompt(encoder.prompts), document_prompt(encoder.prompts)
    return (
        Side.of(encoder, query, pool.anchors, f"anchors{whose}"),
        Side.of(encoder, document, pool.candidates, f"candidates{whose}"),
    )
