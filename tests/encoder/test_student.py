"""Students of some of their teacher's layers: Hugging Face's own model with those layers, saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from simcse_kit.compute import PackedBatch
from simcse_kit.encoder import SentenceEncoder, keep_layers
from simcse_kit.errors import InputError

TEXTS = ["a man plays the guitar", "the old city by the river is small", "dog", "a red house " * 6]

#: Where Hugging Face's models have their layers.
LAYERS = {
    "bert": lambda model: model.encoder.layer,
    "roberta": lambda model: model.encoder.layer,
    "electra": lambda model: model.encoder.layer,
    "mpnet": lambda model: model.encoder.layer,
    "distilbert": lambda model: model.transformer.layer,
    "modernbert": lambda model: model.layers,
}


def expected(folder, family, kept, pooling):
    """A padded forward of Hugging Face's model, in which layers are taken out of the list."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    layers = LAYERS[family](model)
    for place in reversed(range(len(layers))):
        if place not in kept:
            del layers[place]
    inputs = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    return (states[:, 0] if pooling == "cls" else (states * mask).sum(1) / mask.sum(1)).numpy()


@pytest.mark.parametrize(
    ("family", "kept", "pooling"),
    [
        ("bert", [0, 2], "mean"),
        ("bert", [1], "cls"),  # the last layer ends early
        ("roberta", [1, 2], "mean"),
        ("electra", [0, 1], "cls"),
        ("mpnet", [0, 2], "mean"),
        ("distilbert", [2], "mean"),
        ("modernbert", [0, 2], "mean"),
        ("modernbert", [0, 1], "mean"),
    ],
)
def test_a_student_is_the_model_without_the_other_layers(
    tiny_encoder, tmp_path, family, kept, pooling
):
    folder = tiny_encoder(family)
    teacher = SentenceEncoder.from_pretrained(folder, pooling=pooling, precision="fp32")
    before = teacher.encode(TEXTS)
    student = keep_layers(teacher, kept)
    wanted = expected(folder, family, kept, pooling)
    near = {"atol": 1e-5, "rtol": 1e-5}
    np.testing.assert_allclose(student.encode(TEXTS, normalize=False), wanted, **near)
    assert student.packed == teacher.packed
    with torch.no_grad():
        for each in student.parameters():
            each.add_(1)  # shares nothing with its teacher
    np.testing.assert_array_equal(teacher.encode(TEXTS), before)
    student = keep_layers(teacher, kept)
    student.save_pretrained(tmp_path / "student")
    again = SentenceEncoder.from_pretrained(tmp_path / "student", precision="fp32")
    np.testing.assert_allclose(again.encode(TEXTS, normalize=False), wanted, **near)
    theirs = SentenceTransformer(str(tmp_path / "student"), device="cpu")
    np.testing.assert_allclose(theirs.encode(TEXTS), wanted, **near)
    assert AutoModel.from_pretrained(tmp_path / "student").config.num_hidden_layers == len(kept)


def test_training_a_student_is_as_fast_ways_compute_it(tiny_encoder):
    """Value and gradient of the packed forward in training mode are the padded ones'."""
    folder = tiny_encoder("bert")
    teacher = SentenceEncoder.from_pretrained(folder, pooling="mean", dropout=0.0)
    student = keep_layers(teacher, [0, 2])
    student.set_dropout(0.0)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").train()
    del model.encoder.layer[1]
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs = student.tokenizer(TEXTS, padding=True, return_tensors="pt")
    mask = inputs["attention_mask"][..., None]
    (model(**inputs).last_hidden_state * mask).sum(1).div(mask.sum(1)).pow(3).sum().backward()
    batch = PackedBatch.from_sequences(student.tokenizer(TEXTS)["input_ids"])
    student.train()(batch).pow(3).sum().backward()
    ours, theirs = dict(student.backbone.named_parameters()), dict(model.named_parameters())
    for name, each in ours.items():
        torch.testing.assert_close(each.grad, theirs[name].grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "layers", "said"),
    [
        ("bert", [], "names no layer"),
        ("bert", [0, 3], "has the layers 0 to 2"),
        ("bert", [-1], "has the layers 0 to 2"),
        ("bert", [2, 0], "must rise, and each stand once"),
        ("bert", [1, 1], "must rise, and each stand once"),
        ("modernbert", [1, 2], "not built alike"),  # its first layer has a norm less
    ],
)
def test_layers_that_make_no_student_are_said(tiny_encoder, family, layers, said):
    encoder = SentenceEncoder.from_pretrained(tiny_encoder(family), pooling="mean")
    with pytest.raises(InputError, match=said):
        keep_layers(encoder, layers)


def test_layers_that_are_one_cannot_be_told_apart(tmp_path, tiny_tokenizer):
    from transformers import AlbertConfig, AlbertModel

    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    config = AlbertConfig(
        vocab_size=len(tiny_tokenizer), embedding_size=8, num_hidden_layers=4, **shape
    )
    AlbertModel(config).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    encoder = SentenceEncoder.from_pretrained(tmp_path, pooling="mean")
    with pytest.raises(InputError, match=r"\(albert\) cannot be told apart"):
        keep_layers(encoder, [0, 1])
