"""Whatever the JSON files of a folder hold: one sentence, or what sentence-transformers makes."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError

TEXTS = ["a man plays the guitar", "the dog eats the red car"]
KINDS = ["Transformer", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout", "Router", "LSTM"]
PLACES = ["", "1_Pooling", "2_Dense", "3_Normalize", "4_Dense", "nowhere", "../up", "/etc"]
WORDS = st.sampled_from(["", "query", "mean", "cls", "max", "dot", "euclidean", "maxsim", "tanh"])
NUMBERS = st.integers(-2, 40) | st.floats(allow_nan=False)
PLAIN = st.none() | st.booleans() | NUMBERS | WORDS
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
ACTIVATIONS = st.sampled_from(
    [
        *(f"torch.nn.modules.activation.{name}" for name in ("Tanh", "ReLU", "GLU", "Softmax")),
        *("torch.nn.modules.linear.Identity", "torch.nn.Linear", "torch.save", "torch.no"),
        *("os.system", "", "transformers.activations.GELUActivation"),
    ]
)
MODES = st.sampled_from(
    ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", "best"]
)
# a key, and what may stand there: what belongs there, or anything
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "config_sentence_transformers.json": {
        "prompts": st.dictionaries(WORDS, WORDS | st.none(), max_size=3),
        "default_prompt_name": WORDS | st.none(),
        "similarity_fn_name": WORDS | st.none(),
        "truncate_dim": st.integers(-1, 40) | st.none(),
        "model_type": st.sampled_from(["SentenceTransformer", "CrossEncoder", "SparseEncoder"]),
        "requirements": ANYTHING,
    },
    "1_Pooling/config.json": {
        "embedding_dimension": st.integers(30, 33),
        "pooling_mode": MODES | st.lists(MODES, max_size=3),
        "include_prompt": st.booleans(),
        "pooling_mode_cls_token": st.booleans(),
        "pooling_mode_mean_tokens": st.booleans(),
    },
    "2_Dense/config.json": {
        "in_features": st.integers(31, 33),
        "out_features": st.integers(15, 17),
        "bias": st.booleans(),
        "activation_function": ACTIVATIONS,
        "module_input_name": st.sampled_from(["sentence_embedding", "token_embeddings"]),
        "module_output_name": st.sampled_from(["sentence_embedding", "other"]),
        "use_residual": st.booleans(),
    },
    "sentence_bert_config.json": {
        "max_seq_length": st.integers(-1, 70) | st.none(),
        "do_lower_case": st.booleans(),
        "module_output_name": st.sampled_from(["token_embeddings", "sentence_embedding"]),
        "transformer_task": st.sampled_from(["feature-extraction", "fill-mask", "none"]),
        "modality_config": ANYTHING,
        "query_length": st.integers(1, 9) | st.none(),
    },
}
ENTRY = st.fixed_dictionaries(
    {
        "idx": st.integers(0, 4),
        "name": st.sampled_from(["0", "1", "2", "x"]),
        "path": st.sampled_from(PLACES),
        "type": st.sampled_from(KINDS).map("sentence_transformers.models.{}".format)
        | st.sampled_from(["mine.Dense", "Dense", "sentence_transformers.", "os.system"]),
    }
)
MODULES = st.lists(ENTRY, max_size=3) | ANYTHING


def changes() -> st.SearchStrategy[list[tuple[str, str, Any]]]:
    one = [
        st.tuples(st.just(file), st.just(key), wanted | ANYTHING)
        for file, fields in FIELDS.items()
        for key, wanted in fields.items()
    ]
    return st.lists(st.one_of(one), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def whole(tiny_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that sentence-transformers commonly writes."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("whole")
    modules = [Transformer(str(tiny_encoder("bert"))), Pooling(32, "mean"), Dense(32, 16)]
    SentenceTransformer(modules=[*modules, Normalize(), Dense(16, 8)], device="cpu").save(
        str(folder), create_model_card=False
    )
    return folder


def check(folder: Path) -> None:
    """Ours is refused in a sentence, or embeds as theirs."""
    from sentence_transformers import SentenceTransformer

    try:
        encoder = SentenceEncoder.from_pretrained(folder, precision="fp32", device="cpu")
        vectors = encoder.encode(TEXTS)
    except InputError as error:
        assert "\n" not in str(error)
        return
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(vectors, theirs, atol=2e-5)


def spoilt(whole: Path, spoil: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "model")
        shutil.copytree(whole, folder)
        spoil(folder)
        check(folder)


HOW = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@HOW
@given(changed=changes())
def test_any_value_in_a_config(whole: Path, changed: list[tuple[str, str, Any]]) -> None:
    def spoil(folder: Path) -> None:
        for file, key, value in changed:
            said = json.loads((folder / file).read_text())
            (folder / file).write_text(json.dumps(said | {key: value}))

    spoilt(whole, spoil)


@HOW
@given(modules=MODULES)
def test_any_list_of_modules(whole: Path, modules: Any) -> None:
    def spoil(folder: Path) -> None:
        given_first = json.loads((folder / "modules.json").read_text())
        if isinstance(modules, list):  # mostly behind what must stand in front
            (folder / "modules.json").write_text(json.dumps(given_first[:2] + modules))
        else:
            (folder / "modules.json").write_text(json.dumps(modules))

    spoilt(whole, spoil)


@HOW
@given(file=st.sampled_from(["modules.json", *FIELDS]), content=ANYTHING | st.binary(max_size=9))
def test_any_content_of_a_file(whole: Path, file: str, content: Any) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    spoilt(whole, lambda folder: (folder / file).write_bytes(raw))
