"""Projection heads: their layers, what is kept of them, and Matryoshka against its source."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.objectives import Embedded
from simcse_kit.training.model.building import build_model
from training_rows import config, sentences


def encoder_of(folder) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        folder, pooling="mean", device="cpu", precision="fp32", dropout=0.0
    )


@pytest.mark.parametrize(
    ("projection", "kinds", "width"),
    [
        ("tanh", ["Linear", "Tanh"], 32),
        ({"name": "tanh", "width": 8}, ["Linear", "Tanh"], 8),
        ("mlp", ["Linear", "ReLU", "Linear"], 32),
        (
            {"name": "mlp", "norm": "batch", "hidden_width": 64, "width": 16},
            ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"],
            16,
        ),
        ({"name": "mlp", "layers": 1, "norm": "layer"}, ["Linear", "LayerNorm"], 32),
    ],
)
def test_layers(tiny_encoder, tmp_path, projection, kinds, width):
    encoder = encoder_of(tiny_encoder("bert"))
    model = build_model(encoder, config(tmp_path, projection=projection))
    assert model.projection is not None
    found = [type(each).__name__ for each in model.projection.modules() if not [*each.children()]]
    assert found == kinds
    assert model.projection(torch.randn(4, 32)).shape == (4, width)


@pytest.mark.parametrize("projection", ["tanh", {"name": "mlp", "hidden_width": 48, "width": 16}])
def test_a_kept_head_is_the_saved_models(tiny_encoder, tmp_path, projection):
    from sentence_transformers import SentenceTransformer

    encoder = encoder_of(tiny_encoder("bert"))
    model = build_model(encoder, config(tmp_path, projection=projection, head="keep"))
    assert model.projection is None and encoder.head is not None
    encoder.eval().save_pretrained(tmp_path / "saved")
    texts = sentences(4)
    ours = encoder.encode(texts)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(texts)
    again = SentenceEncoder.from_pretrained(
        tmp_path / "saved", device="cpu", precision="fp32"
    ).encode(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(ours, again, atol=1e-5)


def test_a_norm_cannot_be_kept(tiny_encoder, tmp_path):
    own = config(tmp_path, projection={"name": "mlp", "norm": "batch"}, head="keep")
    with pytest.raises(InputError, match="norm 'batch' cannot be kept"):
        build_model(encoder_of(tiny_encoder("bert")), own)


@pytest.mark.parametrize("weights", [[], [1.0, 0.5, 2.0]])
def test_matryoshka_is_sentence_transformers(tiny_encoder, tmp_path, weights):
    """`MatryoshkaLoss` over `MultipleNegativesRankingLoss`, on given embeddings."""
    from sentence_transformers.sentence_transformer.losses import (
        MatryoshkaLoss,
        MultipleNegativesRankingLoss,
    )

    dims = [32, 16, 4]
    own = {"matryoshka_dims": dims, "matryoshka_weights": weights, "head": "none"}
    model = build_model(encoder_of(tiny_encoder("bert")), config(tmp_path, **own))
    ours = [torch.randn(6, 32, requires_grad=True) for _ in range(2)]
    loss = model.goals[0](Embedded(*ours))
    loss.backward()

    class Given(nn.Module):
        """Stands for a model: hands through the embeddings."""

        def get_embedding_dimension(self):
            return 32

        def forward(self, features):
            return {"sentence_embedding": features["x"]}

        def preprocess(self, *_):
            raise AssertionError

    theirs = [each.detach().clone().requires_grad_() for each in ours]
    given = Given()
    inner = MultipleNegativesRankingLoss(given, scale=20.0)
    outer = MatryoshkaLoss(given, inner, dims, weights or None)
    expected = outer([{"x": each} for each in theirs], torch.zeros(6))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dims", "said"), [([16, 4], True), ([32, 4], False)])
def test_dims_without_the_whole_embedding_are_said(tiny_encoder, tmp_path, caplog, dims, said):
    own = config(tmp_path, matryoshka_dims=dims, head="none")
    build_model(encoder_of(tiny_encoder("bert")), own)
    sentence = "of its 32 numbers the objective sees the first 16 alone; add 32"
    assert (sentence in caplog.text) == said
