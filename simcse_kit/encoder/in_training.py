"""Embeddings as a training step sees them: with the model's dropout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from simcse_kit.compute import PackedBatch, token_batches
from simcse_kit.data import TokenStore
from simcse_kit.encoder.prompts import prompt_text
from simcse_kit.encoder.sentence_encoder import SentenceEncoder

_TOKENS = 8_192  # a pass, so that memory stays bounded


def embed_as_in_training(
    encoder: SentenceEncoder, texts: Sequence[str], *, seed: int
) -> np.ndarray:
    """One pass over the texts with dropout, so that equal texts have different embeddings.

    In the precision of the encoder, behind its default prompt, without a projection that training
    would add.

    Args:
        texts: N texts.
        seed: of the dropout; torch's own generator stays where it was.

    Returns:
        float32 ``(N, dimension)``, of any length.

    Raises:
        InputError: the encoder has no embedding for a token.
    """
    prefix = prompt_text(encoder.prompts, encoder.default_prompt, None, None)
    store = TokenStore.build(
        [prefix + text for text in texts], encoder.tokenizer, encoder.max_length
    )
    encoder.vocabulary.check(store)
    skip = 0 if encoder.include_prompt else encoder._tokens_of(prefix)
    out = np.empty((len(texts), encoder.dimension), dtype=np.float32)
    bf16 = encoder.precision == "bf16" and encoder.backbone.dtype != torch.float16
    with (
        _training(encoder),
        torch.random.fork_rng(),
        torch.no_grad(),
        torch.autocast(encoder.device.type, dtype=torch.bfloat16, enabled=bf16),
    ):
        torch.manual_seed(seed)
        for places in token_batches(store.lengths, _TOKENS, padded=not encoder.packed):
            batch = PackedBatch.from_flat(*store.gather(places))
            if encoder.device.type == "cuda":
                batch = batch.laid_out(encoder.pad_id).to(encoder.device)
            out[places] = encoder(batch, skip).float().cpu().numpy()
    return out


@contextmanager
def _training(encoder: SentenceEncoder) -> Iterator[None]:
    """Training mode; the flag is put back."""
    training = encoder.training
    encoder.train()
    try:
        yield
    finally:
        encoder.train(training)
