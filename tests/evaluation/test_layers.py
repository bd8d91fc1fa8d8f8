"""Geometry layer by layer: the states transformers gives, measured one layer at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from conftest import WORDS
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.layers import layer_embeddings, measure_layers
from simcse_kit.geometry import alignment, uniformity


def sentences(n: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, size=rng.integers(3, 12))) for _ in range(n)]


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "mpnet"])
def test_layers_are_the_means_of_the_hidden_states(
    family: str, tiny_encoder: Callable[[str], Path]
) -> None:
    folder, texts = tiny_encoder(family), sentences(9)
    encoder = SentenceEncoder.from_pretrained(folder, pooling="cls", precision="fp32", device="cpu")
    found = layer_embeddings(encoder, texts, batch_tokens=30)
    backbone, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for row, text in enumerate(texts):
        with torch.inference_mode():
            tokens = tokenizer(text, return_tensors="pt")
            states = backbone.eval()(**tokens, output_hidden_states=True).hidden_states
        assert len(found) == len(states) == 4
        for layer, expected in zip(found, states, strict=True):
            assert layer[row] == pytest.approx(expected[0].mean(0).numpy(), abs=1e-5)


def test_every_layer_is_measured_and_the_encoder_is_left_as_it_was(
    tiny_encoder: Callable[[str], Path],
) -> None:
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", precision="fp32", device="cpu"
    )
    texts = sentences(40)
    before, modes = encoder.encode(texts), [m.training for m in encoder.modules()]
    pairs = np.arange(40).reshape(20, 2)
    spaces = measure_layers(encoder, texts, pairs=pairs, batch=16, draws=50)
    layers = layer_embeddings(encoder, texts)
    assert len(spaces) == len(layers) == 4
    for space, layer in zip(spaces, layers, strict=True):
        assert space.figures["uniformity"].value == pytest.approx(uniformity(layer))
        x, y = layer[pairs[:, 0]], layer[pairs[:, 1]]
        assert space.figures["alignment"].value == pytest.approx(alignment(x, y))
    assert layers[-1] == pytest.approx(before, abs=1e-6)  # mean pooling is the last layer's mean
    assert (encoder.encode(texts) == before).all()
    assert [m.training for m in encoder.modules()] == modes
    encoder.train()
    layer_embeddings(encoder, texts[:2])
    assert encoder.backbone.training


def test_repeated_texts_and_what_cannot_be_measured_are_refused(
    tiny_encoder: Callable[[str], Path],
) -> None:
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")
    with pytest.raises(InputError, match="Text 2 repeats text 0"):
        measure_layers(encoder, ["a dog", "a cat", "a dog"])
    with pytest.raises(InputError, match=r"Layer 0 of .*: embeddings holds 2 row"):
        measure_layers(encoder, ["a dog", "a cat"])
