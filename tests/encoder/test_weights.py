"""A folder's weights are all there, or it is refused; what is written loads as what was saved."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from simcse_kit.encoder import persistence
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError

QUERY = "encoder.layer.1.attention.self.query"


def load(folder: Path, **settings: Any) -> SentenceEncoder:
    usual = {"default_pooling": "mean", "precision": "fp32", "device": "cpu"}
    return SentenceEncoder.from_pretrained(folder, **(usual | settings))


def saved(tiny_encoder, folder: Path, kind: str) -> Path:
    """A folder of one kind, its weights in one file or in shards."""
    if kind == "plain":
        shutil.copytree(tiny_encoder("bert"), folder)
    else:
        load(tiny_encoder("bert")).save_pretrained(folder)
    if kind == "shards":
        weights = load_file(folder / "model.safetensors")
        names = sorted(weights)
        parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
        for file, keys in parts.items():
            save_file({key: weights[key] for key in keys}, folder / file, {"format": "pt"})
        (folder / "model.safetensors").unlink()
        index = {key: file for file, keys in parts.items() for key in keys}
        index = {"metadata": {"total_size": 1}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def change(folder: Path, how: str) -> None:
    file = next(path for path in folder.glob("*.safetensors") if QUERY in str(load_file(path)))
    weights = load_file(file)
    name = f"{QUERY}.weight"
    if how == "prefix":
        weights = {f"other.{key}": value for key, value in weights.items()}
    elif how == "lacks":
        weights.pop(name)
    elif how == "shape":
        weights[name] = weights[name][:, :5].clone()
    elif how == "spare":
        weights[name.replace("layer.1", "layer.3")] = weights[name].clone()
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", ["plain", "sentence-transformers", "shards"])
@pytest.mark.parametrize(
    ("how", "says"),
    [("lacks", "lack 1 tensors, encoder.layer.1"), ("prefix", "lack"), ("shape", "query|mismatch")],
)
def test_weights_that_are_missing_are_named(tiny_encoder, tmp_path, kind, how, says):
    folder = saved(tiny_encoder, tmp_path / "model", kind)
    whole = load(folder).encode("the dog eats")
    np.testing.assert_array_equal(load(folder).encode("the dog eats"), whole)
    change(folder, how)
    with pytest.raises(InputError, match=says) as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_weights_of_layers_that_are_not_there_are_said(tiny_encoder, tmp_path, caplog):
    folder = saved(tiny_encoder, tmp_path / "model", "sentence-transformers")
    whole = load(folder).encode("the dog eats")
    assert "no place" not in caplog.text
    change(folder, "spare")
    np.testing.assert_array_equal(load(folder).encode("the dog eats"), whole)
    assert "1 tensors of its weights have no place in a bert" in caplog.text


def test_a_dense_without_its_weights_is_refused(tiny_encoder, tmp_path):
    from simcse_kit.encoder import Head

    encoder = load(tiny_encoder("bert"))
    encoder.head = Head(32, 32)
    encoder.save_pretrained(tmp_path)
    file = tmp_path / "2_Dense" / "model.safetensors"
    weights = load_file(file)
    weights.pop("linear.bias")
    save_file(weights, file)
    with pytest.raises(InputError, match=r"linear\.bias"):
        load(tmp_path)


class Adapter(nn.Module):
    """A low-rank adapter as such libraries put them in: the layer below another name."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.up = nn.Linear(base_layer.in_features, base_layer.out_features, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.base_layer(states) + self.up(states)


def inject(encoder: SentenceEncoder) -> None:
    attention = encoder.backbone.encoder.layer[1].attention.self
    attention.query = Adapter(attention.query)


def patch(encoder: SentenceEncoder) -> None:
    layer = encoder.backbone.encoder.layer[1].output.dense
    layer.register_forward_hook(lambda module, given, states: states + 1 * states)


@pytest.mark.parametrize("layout", ["current", "legacy"])
@pytest.mark.parametrize("spoil", [inject, patch])
def test_what_would_load_as_another_model_is_not_saved(tiny_encoder, tmp_path, spoil, layout):
    encoder = load(tiny_encoder("bert"))
    encoder.save_pretrained(tmp_path / "before")
    files = {path: path.read_bytes() for path in (tmp_path / "before").rglob("*.*")}
    spoil(encoder)
    for folder in ("before", "new"):
        with pytest.raises(InputError, match=r"is not saved in .*: (it would load|model)") as error:
            encoder.save_pretrained(tmp_path / folder, layout=layout)
        assert ".building" not in str(error.value)
    assert not (tmp_path / "new").exists()
    assert files == {path: path.read_bytes() for path in (tmp_path / "before").rglob("*.*")}


@pytest.mark.parametrize("existed", [False, True])
def test_a_save_that_fails_takes_nothing_of_another_s(tiny_encoder, tmp_path, monkeypatch, existed):
    """Two begun together into one folder: one waits, and saves when the other has failed."""
    folder, begun, go_on = tmp_path / "new", Event(), Event()
    if existed:
        folder.mkdir()
    spoilt, whole = load(tiny_encoder("bert")), load(tiny_encoder("mpnet"))
    inject(spoilt)
    build = persistence.sentence_transformer

    def slow(parts, place):
        begun.set()
        assert go_on.wait(30)
        return build(parts, place)

    monkeypatch.setattr(persistence, "sentence_transformer", slow)
    with ThreadPoolExecutor(2) as pool:
        fails = pool.submit(spoilt.save_pretrained, folder)
        assert begun.wait(30)
        saves = pool.submit(whole.save_pretrained, folder)
        assert saves in wait([saves], 0.2).not_done
        go_on.set()
        with pytest.raises(InputError, match="is not saved in"):
            fails.result(60)
        saves.result(60)
    np.testing.assert_array_equal(load(folder).encode("a man"), whole.encode("a man"))
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_save_draws_no_random_numbers_and_says_nothing(tiny_encoder, tmp_path, caplog):
    encoder = load(tiny_encoder("bert"), pooling="cls", head="keep").train()
    before = torch.get_rng_state()
    caplog.set_level(logging.INFO)
    caplog.clear()
    encoder.save_pretrained(tmp_path)
    assert torch.equal(before, torch.get_rng_state()) and encoder.training
    assert [record for record in caplog.records if record.name.startswith("simcse")] == []


def test_a_pooler_that_is_left_out_is_said(tiny_encoder, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    load(tiny_encoder("bert"), pooling="cls")
    assert "has a trained pooler, which is left out; head='keep'" in caplog.text
    caplog.clear()
    load(tiny_encoder("bert"), pooling="cls", head="none")
    load(tiny_encoder("bert"), pooling="cls", head="keep").save_pretrained(tmp_path)
    load(tmp_path)
    assert "trained pooler" not in caplog.text


def test_a_length_beyond_the_positions_is_cut_and_said(tiny_encoder, tmp_path, caplog):
    load(tiny_encoder("roberta")).save_pretrained(tmp_path, layout="legacy")
    file = tmp_path / "sentence_bert_config.json"
    file.write_text(json.dumps({"max_seq_length": 66, "do_lower_case": False}))
    caplog.set_level(logging.INFO)
    encoder = load(tmp_path)
    assert encoder.max_length == 64
    assert "says texts of 66 tokens and has positions for 64" in caplog.text
    assert np.isfinite(encoder.encode("one " * 100)).all()
    with pytest.raises(InputError, match="66 is over the 64 tokens"):
        load(tmp_path, max_length=66)


def test_a_tokenizer_beyond_the_table_is_said_and_its_tokens_refused(
    tiny_encoder, tmp_path, caplog
):
    from transformers import AutoTokenizer

    shutil.copytree(tiny_encoder("bert"), tmp_path, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    size = len(tokenizer)
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(tmp_path)
    encoder = load(tmp_path)
    assert f"has {size + 1} tokens and the model embeds {size}" in caplog.text
    assert encoder.encode(["the dog eats"]).shape == (1, 32)
    with pytest.raises(InputError, match=rf"text 2 holds 'zebra', token {size} of the tokenizer"):
        encoder.encode(["the dog", "a cat", "a zebra"])


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Not as root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "shut", ["model.safetensors", "tokenizer.json", "modules.json", "1_Pooling", "."]
)
def test_a_file_that_may_not_be_read_is_said_to_be_so(tiny_encoder, shut):
    place = Path(tempfile.mkdtemp())  # pytest's own is for its owner alone
    try:
        place.chmod(0o755)
        folder = saved(tiny_encoder, place / "model", "sentence-transformers")
        load(folder)  # what is imported is read by the owner
        (folder / shut).chmod(0)
        with nobody(), pytest.raises(InputError, match="permission to read ") as error:
            load(folder)
        assert ("config.json" if shut == "." else shut) in str(error.value)
    finally:
        (place / "model").chmod(0o755)
        shutil.rmtree(place)
