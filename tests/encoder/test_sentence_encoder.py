"""SentenceEncoder: saving and loading, encode, and what readers of its folders see."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from simcse_kit.compute.precision import resolve_precision
from simcse_kit.encoder.persistence import Head
from simcse_kit.encoder.pooling import POOLINGS
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError

FAMILIES = ["bert", "roberta", "distilbert", "mpnet", "electra", "xlm-roberta", "modernbert"]
TEXTS = [
    "a man plays the guitar",
    "the dog eats",
    "one two three four five big old red cars on the street",
    "",
    "a man plays the guitar",
]


def load(folder, **kwargs) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        folder, **({"pooling": "mean", "precision": "fp32", "device": "cpu"} | kwargs)
    )


def by_sentence_transformers(folder) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_folders_load_everywhere(tiny_encoder, tmp_path, family):
    encoder = load(tiny_encoder(family))
    ours = encoder.encode(TEXTS)
    encoder.save_pretrained(tmp_path)
    np.testing.assert_allclose(by_sentence_transformers(tmp_path), ours, atol=1e-5)
    again = SentenceEncoder.from_pretrained(tmp_path, precision="fp32", device="cpu")
    np.testing.assert_allclose(again.encode(TEXTS), ours, atol=1e-6)
    assert (again.pooling, again.max_length) == ("mean", encoder.max_length)
    backbone = AutoModel.from_pretrained(tmp_path).eval()
    ids = AutoTokenizer.from_pretrained(tmp_path)(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        mean = backbone(**ids).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(mean.numpy(), ours[0], atol=1e-5)


@pytest.mark.parametrize("layout", ["current", "legacy"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_survives_in_both_layouts(tiny_encoder, tmp_path, pooling, layout):
    encoder = load(tiny_encoder("bert"), pooling=pooling)
    encoder.use_template("{} means [MASK]" if pooling == "mask" else "")
    ours = encoder.encode(TEXTS)
    encoder.save_pretrained(tmp_path, layout=layout)
    np.testing.assert_allclose(by_sentence_transformers(tmp_path), ours, atol=1e-5)
    again = SentenceEncoder.from_pretrained(tmp_path, precision="fp32", device="cpu")
    np.testing.assert_allclose(again.encode(TEXTS), ours, atol=1e-6)


@pytest.mark.parametrize("layout", ["current", "legacy"])
@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "first_last_mean", "top2_mean"])
@pytest.mark.parametrize("with_head", [True, False])
def test_head_and_normalisation_survive(tiny_encoder, tmp_path, layout, pooling, with_head):
    encoder = load(tiny_encoder("bert"), pooling=pooling)
    encoder.head = Head(32, 16) if with_head else None
    encoder.normalize = True
    encoder.prompts, encoder.default_prompt = {"query": "the question "}, None
    ours = encoder.encode(TEXTS)
    assert ours.shape == (5, 16 if with_head else 32)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    encoder.save_pretrained(tmp_path, layout=layout)
    np.testing.assert_allclose(by_sentence_transformers(tmp_path), ours, atol=1e-5)
    again = SentenceEncoder.from_pretrained(tmp_path, precision="fp32", device="cpu")
    assert again.normalize and again.pooling == pooling
    np.testing.assert_allclose(again.encode(TEXTS), ours, atol=1e-6)
    cosines = again.encode(TEXTS[0]) @ again.encode(TEXTS).T  # what a dot product is for
    np.testing.assert_allclose(cosines, encoder.similarity(TEXTS[0], TEXTS)[0], atol=1e-5)
    asked = again.encode(TEXTS, prompt_name="query")
    np.testing.assert_allclose(
        asked, again.encode([f"the question {text}" for text in TEXTS]), atol=1e-6
    )


def test_the_legacy_layout_has_the_older_keys(tiny_encoder, tmp_path):
    load(tiny_encoder("bert")).save_pretrained(tmp_path, layout="legacy")
    pooling = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert pooling["word_embedding_dimension"] == 32
    assert pooling["pooling_mode_mean_tokens"] is True
    assert pooling["pooling_mode_cls_token"] is False
    types = [module["type"] for module in json.loads((tmp_path / "modules.json").read_text())]
    assert types == [
        "sentence_transformers.models.Transformer",
        "sentence_transformers.models.Pooling",
    ]
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text())["max_seq_length"] == 64


def test_sentence_transformers_folders_load_here(tiny_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    theirs = SentenceTransformer(
        modules=[
            Transformer(str(tiny_encoder("bert")), max_seq_length=8),
            Pooling(32, "max"),
            Normalize(),
        ],
        device="cpu",
    )
    theirs.save_pretrained(str(tmp_path))
    ours = SentenceEncoder.from_pretrained(tmp_path, precision="fp32", device="cpu")
    assert (ours.pooling, ours.max_length, ours.normalize) == ("max", 8, True)
    np.testing.assert_allclose(ours.encode(TEXTS), theirs.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert"])
def test_embeddings_do_not_depend_on_the_rest_of_the_call(tiny_encoder, family):
    encoder = load(tiny_encoder(family))
    whole = encoder.encode(TEXTS)
    single = np.stack([encoder.encode(text) for text in TEXTS])
    backwards = encoder.encode(TEXTS[::-1])[::-1]
    small = encoder.encode(TEXTS, batch_tokens=8)
    for other in (single, backwards, small):
        np.testing.assert_allclose(other, whole, atol=1e-5)


def test_long_texts_are_cut_as_the_tokenizer_cuts(tiny_encoder):
    encoder = load(tiny_encoder("bert"), max_length=6)
    long, cut = "a man plays the guitar on the street", "a man plays the"
    np.testing.assert_allclose(encoder.encode(long), encoder.encode(cut), atol=1e-6)


def test_shapes_of_encode(tiny_encoder):
    encoder = load(tiny_encoder("bert"))
    assert encoder.encode("one").shape == (32,)
    assert encoder.encode(["one"]).shape == (1, 32)
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode(["one"]).dtype == np.float32
    out = np.zeros((2, 32), dtype=np.float32)
    assert encoder.encode(["one", "two"], out=out) is out and out.all()
    cosine = encoder.similarity(["one", "two"], "one")
    assert cosine.shape == (2, 1) and cosine[0, 0] == pytest.approx(1, abs=1e-5)


def test_encode_leaves_training_mode_and_random_numbers_alone(tiny_encoder):
    encoder = load(tiny_encoder("bert")).train()
    before = torch.get_rng_state()
    first, second = encoder.encode(TEXTS), encoder.encode(TEXTS)
    assert encoder.training and torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(first, second)  # dropout is off


def test_bf16_stays_close_to_fp32(tiny_encoder):
    encoder = load(tiny_encoder("bert"))
    exact = encoder.encode(TEXTS, normalize=True)
    close = encoder.encode(TEXTS, normalize=True, precision="bf16")
    assert (exact * close).sum(axis=1).min() > 0.999
    assert resolve_precision("auto", "cpu") in ("fp32", "bf16")


def test_a_released_simcse_checkpoint_keeps_its_pooler_as_head(tiny_encoder):
    """Supervised SimCSE models are plain checkpoints whose pooler is the MLP."""
    folder = tiny_encoder("bert")
    encoder = load(folder, pooling="cls", head="keep")
    model = AutoModel.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        expected = model(**ids).pooler_output[0].numpy()
    np.testing.assert_allclose(encoder.encode(TEXTS[0]), expected, atol=1e-5)
    assert load(folder, pooling="cls").head is None


def test_dropout_override_reaches_every_rate(tiny_encoder):
    for family in FAMILIES:
        encoder = load(tiny_encoder(family), dropout=0.25)
        assert encoder.dropout_rates() == {0.25}, family
    assert load(tiny_encoder("modernbert")).dropout_rates() == {0.0}


def test_the_packing_in_use_is_said(tiny_encoder):
    assert load(tiny_encoder("bert")).packed and not load(tiny_encoder("mpnet")).packed


def test_a_failed_save_leaves_the_former_model(tiny_encoder, tmp_path, monkeypatch):
    encoder = load(tiny_encoder("bert"))
    encoder.save_pretrained(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(encoder.tokenizer, "save_pretrained", fail)
    with pytest.raises(InputError, match="disk full"):
        encoder.save_pretrained(tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def broken_folder(source, target, drop=(), truncate=None):
    shutil.copytree(source, target)
    for name in drop:
        (target / name).unlink()
    if truncate:
        data = (target / truncate).read_bytes()
        (target / truncate).write_bytes(data[: len(data) // 2])
    return target


@pytest.mark.parametrize(
    ("broken", "kwargs", "says"),
    [
        ({"drop": ["tokenizer.json", "tokenizer_config.json"]}, {}, "has no tokenizer"),
        ({"drop": ["model.safetensors"]}, {}, "no safetensors weights"),
        ({"drop": ["config.json"]}, {}, "config.json"),
        ({"truncate": "model.safetensors"}, {}, "weights cannot be read"),
        ({}, {"pooling": None}, "plain checkpoint with no pooling"),
        ({}, {"pooling": "avg"}, "unknown pooling 'avg'"),
        ({}, {"head": "mlp"}, "unknown head 'mlp'"),
        ({}, {"max_length": 65}, "over the 64 tokens"),
        ({}, {"max_length": 1}, "leaves no room"),
        ({}, {"max_length": 0}, "leaves no room"),
        ({}, {"precision": "fp8"}, "unknown precision 'fp8'"),
        ({}, {"dropout": 1.5}, "dropout 1.5"),
    ],
)
def test_bad_folders_and_settings(tiny_encoder, tmp_path, broken, kwargs, says):
    folder = broken_folder(tiny_encoder("bert"), tmp_path / "model", **broken)
    with pytest.raises(InputError, match=says):
        load(folder, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99' is not to be had"),
        ({"device": "what"}, "device 'what' is not to be had"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"dropout": 1.5}, "dropout 1.5"),
        ({"backend": "onnx", "device": "cuda"}, "backend onnx runs on the CPU, not on cuda"),
    ],
)
def test_settings_are_looked_at_before_the_weights(tiny_encoder, monkeypatch, kwargs, says):
    reads = "simcse_kit.encoder.sentence_encoder.load_parts"
    monkeypatch.setattr(reads, lambda *_, **__: pytest.fail("the weights are read"))
    with pytest.raises(InputError, match=says):
        load(tiny_encoder("bert"), **kwargs)


def test_bad_names_and_texts(tiny_encoder, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no folder here and the hub is not asked"):
        load("nobody/nothing")
    encoder = load(tiny_encoder("bert"))
    with pytest.raises(InputError, match="text 1 is a int"):
        encoder.encode(["one", 2])
    with pytest.raises(InputError, match="no prompt named 'query'"):
        encoder.encode("one", prompt_name="query")
    with torch.no_grad():
        encoder.backbone.embeddings.LayerNorm.weight[0] = float("nan")
    with pytest.raises(InputError, match="embedding of text 0 is not finite"):
        encoder.encode("one")


def test_a_checkpoint_of_too_few_weights_is_refused(tiny_encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = broken_folder(tiny_encoder("bert"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.layer.0.attention.self.query.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack 1 tensors, encoder"):
        load(folder)


def test_pushing_uploads_the_saved_folder(tiny_encoder, monkeypatch):
    import huggingface_hub

    seen = {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, private, exist_ok):
            seen["repo"] = (repo_id, private)

        def upload_folder(self, repo_id, folder_path, commit_message):
            encoder = SentenceEncoder.from_pretrained(folder_path, precision="fp32", device="cpu")
            seen["embedding"] = encoder.encode("one")
            seen["card"] = (Path(folder_path) / "README.md").read_text()
            return type("Commit", (), {"commit_url": "https://hub/commit"})

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    encoder = load(tiny_encoder("bert"))
    address = encoder.push_to_hub("me/model", measured="| STS12 | 72.37 |")
    assert address == "https://hub/commit"
    assert "| STS12 | 72.37 |" in seen["card"] and "# model\n" in seen["card"]
    assert seen["repo"] == ("me/model", True)
    np.testing.assert_allclose(seen["embedding"], encoder.encode("one"), atol=1e-6)


def test_chunks_tokenised_ahead_give_what_one_chunk_gives(tiny_encoder, monkeypatch):
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", device="cpu", precision="fp32"
    )
    texts = [f"{'red ' * (n % 5)}dog {n}" for n in range(10)]
    whole = encoder.encode(texts)
    monkeypatch.setattr("simcse_kit.encoder.sentence_encoder._CHUNK", 3)
    np.testing.assert_allclose(encoder.encode(texts), whole, atol=1e-6)
    prompted = encoder.encode(texts, prompt="a ")
    np.testing.assert_allclose(prompted, encoder.encode(["a " + t for t in texts]), atol=1e-6)
    with pytest.raises(InputError, match="text 7 is a int, not a string"):
        encoder.encode([*texts[:7], 7, *texts[8:]])
