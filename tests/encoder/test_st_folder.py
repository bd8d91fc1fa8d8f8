"""Folders of sentence-transformers run as that library runs them, and are written as it does."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError

TEXTS = [
    "a man plays the guitar",
    "the dog eats",
    "one two three four five big old red cars on the street",
    "",
]
PROMPTS = {"query": "the question ", "passage": "a book ", "long": "the old king of the city sees "}


def ours(folder: Path, **settings: Any) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        folder, **({"precision": "fp32", "device": "cpu"} | settings)
    )


def theirs(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def build(
    base: Path,
    folder: Path,
    *,
    pooling: str | Sequence[str] = "mean",
    include_prompt: bool = True,
    after: Callable[[int], Sequence[Any]] = lambda width: [],
    **settings: Any,
) -> Path:
    """A folder that sentence-transformers writes; `after` makes the modules of a pooled width."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(len(str(pooling)))
    pooled = Pooling(32, pooling, include_prompt=include_prompt)
    modules = [Transformer(str(base)), pooled, *after(pooled.pooling_output_dimension)]
    SentenceTransformer(modules=modules, device="cpu", **settings).save_pretrained(
        str(folder), create_model_card=False
    )
    return folder


def dense(width: int, out: int = 16, **settings: Any) -> Any:
    from sentence_transformers.base.modules import Dense

    return Dense(width, out, **settings)


def normalize(width: int = 0) -> Any:
    from sentence_transformers.base.modules import Normalize

    return Normalize()


def layer_norm(width: int) -> Any:
    from sentence_transformers.sentence_transformer.modules import LayerNorm

    return LayerNorm(width)


def dropout() -> Any:
    from sentence_transformers.sentence_transformer.modules import Dropout

    return Dropout(0.5)


CHAINS: dict[str, Callable[[int], Sequence[Any]]] = {
    "nothing": lambda width: [],
    "no bias": lambda width: [dense(width, bias=False)],
    "relu": lambda width: [dense(width, activation_function=torch.nn.ReLU())],
    "halved": lambda width: [dense(width, activation_function=torch.nn.GLU()), normalize()],
    "residual": lambda width: [dense(width, use_residual=True)],
    "before dense": lambda width: [normalize(), normalize(), dense(width), normalize()],
    "three": lambda width: [dense(width), dense(16, 8, bias=False), dense(8, 24), normalize()],
    "others": lambda width: [layer_norm(width), dropout(), dense(width), dropout()],
}
POOLINGS = ["cls", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("cls", "mean", "max")]
SHAPES = [
    (chain, POOLINGS[number % len(POOLINGS)], dim, similarity)
    for number, (chain, (dim, similarity)) in enumerate(
        zip(CHAINS, itertools.cycle([(None, "dot"), (5, "euclidean"), (7, "manhattan")]))
    )
]


@pytest.mark.parametrize(("chain", "pooling", "dim", "similarity"), SHAPES)
def test_what_a_folder_says_is_done_read_and_written(
    tiny_encoder, tmp_path, chain, pooling, dim, similarity
):
    from sentence_transformers import SentenceTransformer

    folder = build(
        tiny_encoder("bert"),
        tmp_path / "theirs",
        pooling=pooling,
        after=CHAINS[chain],
        truncate_dim=dim,
        similarity_fn_name=similarity,
        prompts=PROMPTS,
        default_prompt_name="long",
    )
    expected = theirs(folder)
    encoder = ours(folder)
    vectors = expected.encode(TEXTS)
    assert encoder.dimension == vectors.shape[1]
    np.testing.assert_allclose(encoder.encode(TEXTS), vectors, atol=2e-5)
    np.testing.assert_allclose(
        encoder.encode(TEXTS, normalize=True),
        expected.encode(TEXTS, normalize_embeddings=True),
        atol=2e-5,
    )
    for call in ("encode_query", "encode_document"):
        got = getattr(encoder, call)(TEXTS)
        np.testing.assert_allclose(got, getattr(expected, call)(TEXTS), atol=2e-5)
        assert np.abs(got - vectors).max() > 1e-3  # another prompt, another vector
    np.testing.assert_allclose(
        encoder.similarity(TEXTS, TEXTS[:2]),
        expected.similarity(vectors, vectors[:2]).numpy(),
        atol=1e-4,
        rtol=1e-4,
    )
    half = ours(folder).to(torch.bfloat16).encode(TEXTS)
    np.testing.assert_allclose(half, vectors, atol=0.05)
    again = tmp_path / "ours"
    encoder.save_pretrained(again)
    card = (again / "README.md").read_text()
    assert "- `passage`: `'a book '`" in card and "cosine" not in card
    for model in (SentenceTransformer(str(again), device="cpu"), ours(again)):
        np.testing.assert_allclose(model.encode(TEXTS), vectors, atol=2e-5)
        np.testing.assert_allclose(
            model.encode(TEXTS, prompt_name="passage"),
            expected.encode(TEXTS, prompt_name="passage"),
            atol=2e-5,
        )
    files = ("modules.json", "config_sentence_transformers.json", "1_Pooling/config.json")
    for file in files:
        assert json.loads((again / file).read_text()) == json.loads((folder / file).read_text())


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "weightedmean"])
def test_a_prompt_is_left_out_of_pooling_where_the_folder_says_so(tiny_encoder, tmp_path, pooling):
    folder = build(
        tiny_encoder("bert"),
        tmp_path,
        pooling=pooling,
        include_prompt=False,
        prompts=PROMPTS,
        default_prompt_name="query",
    )
    encoder, expected = ours(folder), theirs(folder)
    for asked in ({}, {"prompt_name": "long"}, {"prompt": "in the city "}, {"prompt": ""}):
        np.testing.assert_allclose(
            encoder.encode(TEXTS, **asked), expected.encode(TEXTS, **asked), atol=2e-5
        )
    encoder.save_pretrained(tmp_path / "again")
    np.testing.assert_allclose(
        theirs(tmp_path / "again").encode(TEXTS), expected.encode(TEXTS), atol=2e-5
    )


def test_prompts_given_stand_before_every_text_and_are_saved(tiny_encoder, tmp_path):
    encoder = ours(tiny_encoder("bert"), pooling="mean")
    plain = encoder.encode(["a book the dog eats", "the dog eats", "the question the dog eats"])
    encoder.use_prompts("a book ")
    np.testing.assert_allclose(encoder.encode("the dog eats"), plain[0], atol=1e-6)
    np.testing.assert_allclose(encoder.encode_query("the dog eats"), plain[0], atol=1e-6)
    np.testing.assert_allclose(encoder.encode_document("the dog eats"), plain[1], atol=1e-6)
    encoder.use_prompts(document_prompt="the question ")
    encoder.save_pretrained(tmp_path)
    for model in (ours(tmp_path), theirs(tmp_path)):
        np.testing.assert_allclose(model.encode("the dog eats"), plain[0], atol=1e-5)
        np.testing.assert_allclose(model.encode_document("the dog eats"), plain[2], atol=1e-5)
    named = ours(tmp_path)
    named.use_prompts(prompt_name="document")
    np.testing.assert_allclose(named.encode_query("the dog eats"), plain[2], atol=1e-6)
    with pytest.raises(InputError, match=r"no prompt named 'other'; .* query, document"):
        named.use_prompts(prompt_name="other")
    with pytest.raises(InputError, match="give one of them"):
        named.use_prompts("a ", "query")


def edit(folder: Path, file: str, **changes: Any) -> None:
    path = folder / file
    value = json.loads(path.read_text())
    if isinstance(value, list):
        value[-1].update(changes)
    else:
        value.update(changes)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("modules.json", {"type": "sentence_transformers.models.LSTM"}, "cannot run: LSTM"),
        ("modules.json", {"type": "sentence_transformers.models.Router"}, "cannot run: Router"),
        ("modules.json", {"type": "my_code.Normalize"}, "cannot run: Normalize"),
        ("modules.json", {"path": "../other"}, "leads out of the folder"),
        ("modules.json", {"path": 3}, "modules.json is no list of modules"),
        ("config_sentence_transformers.json", {"truncate_dim": 0}, "truncate_dim"),
        ("config_sentence_transformers.json", {"prompts": {"a": 1}}, "prompts"),
        ("config_sentence_transformers.json", {"default_prompt_name": "b"}, "default prompt 'b'"),
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "a CrossEncoder"),
        ("1_Pooling/config.json", {"pooling_mode": "best"}, "best"),
        ("1_Pooling/config.json", {"embedding_dimension": 31}, "states of 31 numbers"),
        ("2_Dense/config.json", {"activation_function": "os.system"}, "trust_remote_code"),
        ("2_Dense/config.json", {"activation_function": "torch.save"}, "torch.nn.Module class"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "Dense on token_emb"),
        ("2_Dense/config.json", {"in_features": 31}, "2_Dense|Dense"),
        ("sentence_bert_config.json", {"module_output_name": "all"}, "gives 'all'"),
        ("sentence_bert_config.json", {"bogus": 1}, "bogus"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(tiny_encoder, tmp_path, file, changes, says):
    folder = build(tiny_encoder("bert"), tmp_path, after=lambda width: [dense(width)])
    edit(folder, file, **changes)
    with pytest.raises(InputError, match=says) as error:
        ours(folder)
    assert "\n" not in str(error.value)


def test_token_states_are_pooled_once_and_in_order(tiny_encoder, tmp_path):
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = build(tiny_encoder("bert"), tmp_path, after=lambda width: [Pooling(32, "max")])
    with pytest.raises(InputError, match="cannot run: Pooling in this place"):
        ours(folder)
    edit(folder, "modules.json", type="sentence_transformers.models.WeightedLayerPooling")
    shutil.rmtree(folder / "2_Pooling")
    with pytest.raises(InputError):
        ours(folder)


def test_a_transformer_may_stand_in_a_folder_of_its_own(tiny_encoder, tmp_path):
    """As older versions of sentence-transformers wrote it (0_BERT, 0_Transformer)."""
    folder = build(tiny_encoder("bert"), tmp_path / "model")
    inner = folder / "0_Transformer"
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "sentence_bert_config.json"):
        (folder / name).rename(inner / name)
    for path in folder.glob("tokenizer*"):
        path.rename(inner / path.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = inner.name
    (folder / "modules.json").write_text(json.dumps(modules))
    expected = theirs(folder).encode(TEXTS, batch_size=1)
    encoder = ours(folder)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    encoder.save_pretrained(tmp_path / "again")
    np.testing.assert_allclose(ours(tmp_path / "again").encode(TEXTS), expected, atol=1e-5)
    (inner / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=f"{inner.name}' has no tokenizer"):
        ours(folder)
