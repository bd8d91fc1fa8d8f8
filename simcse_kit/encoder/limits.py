"""What a backbone has room for: tokens a text, and tokens of a vocabulary."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from simcse_kit.data import TokenStore
from simcse_kit.errors import TextError

_AT_ONCE = 1 << 22  # tokens of a store that are looked at

logger = logging.getLogger(__name__)


def position_limit(backbone: PreTrainedModel) -> int | None:
    """The most tokens a backbone has positions for; None where it has no such bound."""
    limit = getattr(backbone.config, "max_position_embeddings", None)
    embeddings = getattr(backbone, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    # RoBERTa and MPNet start counting after the padding index
    if isinstance(table, nn.Embedding) and table.padding_idx is not None:
        limit = table.num_embeddings - table.padding_idx - 1
    return limit if limit is not None and limit > 0 else None  # XLNet writes -1


class Vocabulary:
    """Which tokens of a tokenizer have an embedding. Where some have none, it is said at once.

    Attributes:
        size: tokens with an embedding, where the tokenizer has more; else None.
    """

    def __init__(self, tokenizer: Any, backbone: PreTrainedModel, name: str) -> None:
        self._tokenizer, self._name = tokenizer, name
        try:
            table = backbone.get_input_embeddings()
        except NotImplementedError:  # transformers' way to say that it does not know the table
            table = None
        size: int | None = getattr(table, "num_embeddings", None)
        self.size = size if size is not None and size < len(tokenizer) else None
        if self.size is not None:
            logger.warning(
                "the tokenizer of %s has %d tokens and the model embeds %d: a text with one of the "
                "others is refused; resize_token_embeddings gives them one",
                *(name, len(tokenizer), size),
            )

    def check(self, store: TokenStore, first: int = 0) -> None:
        """Raise TextError for a token without an embedding, which would stop a GPU.

        Args:
            first: number of the store's first text.
        """
        if self.size is None:
            return
        for start in range(0, len(store.ids), _AT_ONCE):
            block = store.ids[start : start + _AT_ONCE]
            beyond = start + np.flatnonzero(block >= self.size)
            if not len(beyond):
                continue
            token = int(store.ids[beyond[0]])
            spelt = self._tokenizer.convert_ids_to_tokens(token)
            text = first + int(np.searchsorted(store.offsets, beyond[0], side="right")) - 1
            raise TextError(
                text,
                f"text {{}} holds {spelt!r}, token {token} of the tokenizer, and "
                f"{self._name!r} embeds {self.size}; resize its embeddings "
                "(resize_token_embeddings), or take the tokenizer it was trained with",
            )
