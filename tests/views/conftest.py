"""Tokenizers of the three ways to write words in tokens, and texts as the store holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcse_kit.views import Vocabulary, vocabulary_of

WAYS = ("bert", "roberta", "xlm-roberta")  # WordPiece, byte-level BPE, sentencepiece
MAX_LENGTH, ROOM = 32, 40
TEXTS = [
    "the big man reads a happy story , slowly",
    "a dog runs",
    "it is good",
    "the old teacher sees one black cat and two white horses by the river in the hot city",
]


@dataclass(frozen=True)
class Written:
    """Texts in the tokens of one tokenizer."""

    tokenizer: Any
    vocabulary: Vocabulary

    def ids(self, *texts: str) -> tuple[np.ndarray, np.ndarray]:
        rows = self.tokenizer(list(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
        return np.concatenate([np.array(row) for row in rows]), np.array([len(row) for row in rows])

    def texts(self, ids: np.ndarray, lengths: np.ndarray) -> list[str]:
        rows = np.split(ids, np.cumsum(lengths)[:-1])
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]


@pytest.fixture(scope="session")
def written(tiny_encoder: Callable[[str], Path]) -> Callable[[str], Written]:
    from transformers import AutoTokenizer

    known: dict[str, Written] = {}

    def build(family: str) -> Written:
        if family not in known:
            tokenizer = AutoTokenizer.from_pretrained(tiny_encoder(family))
            known[family] = Written(tokenizer, vocabulary_of(tokenizer, MAX_LENGTH, ROOM))
        return known[family]

    return build


@pytest.fixture(params=WAYS)
def any_written(request: pytest.FixtureRequest, written: Callable[[str], Written]) -> Written:
    return written(request.param)


@pytest.fixture
def bert(written: Callable[[str], Written]) -> Written:
    return written("bert")


@pytest.fixture
def plain() -> Vocabulary:
    """100 tokens: 0 begins and 1 ends a text, 2 is the mask, odd ones from 51 on continue words."""
    numbers = np.arange(100)
    return Vocabulary(
        special=numbers < 3,
        continues=(numbers > 50) & (numbers % 2 == 1),
        ends=np.zeros(100, dtype=bool),
        opens=np.zeros(100, dtype=bool),
        within=numbers,
        first=numbers,
        mask_id=2,
        max_length=MAX_LENGTH,
        room=None,
        words=lambda words: [[int(word)] for word in words],
        texts=lambda words: [str(word[0]) for word in words],
    )
