"""pytorch_model.bin converted: plain, SimCSE's, sentence-transformers' folders; other pickles."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from convert_checkpoint import convert, main
from simcse_kit.encoder import Head, SentenceEncoder
from simcse_kit.encoder.persistence import _load_advice
from simcse_kit.errors import InputError

TEXTS = ["a man plays the guitar", "dog", "one two three four five"]


def in_bin(folder: Path, target: Path, change=lambda tensors: tensors) -> Path:
    """A copy of a folder with its weights in pytorch_model.bin alone."""
    shutil.copytree(folder, target)
    for path in list(target.rglob("*.safetensors")):
        torch.save(change(load_file(path)), path.with_name("pytorch_model.bin"))
        path.unlink()
    return target


def layer(place: str) -> dict[str, torch.Tensor]:
    weight = torch.linspace(-1, 1, 32 * 32).reshape(32, 32).sin()
    return {f"{place}.dense.weight": weight, f"{place}.dense.bias": torch.linspace(-1, 1, 32)}


def with_head(folder: Path, place: str) -> np.ndarray:
    encoder = SentenceEncoder.from_pretrained(folder, pooling="cls", precision="fp32", device="cpu")
    encoder.head = Head(32, 32)
    weight, bias = layer(place).values()
    encoder.head.linear.load_state_dict({"weight": weight, "bias": bias})
    return encoder.encode(TEXTS)


def read(folder: Path) -> np.ndarray:
    return SentenceEncoder.from_pretrained(folder, precision="fp32", device="cpu").encode(TEXTS)


def headless(folder: Path, pooling: str) -> np.ndarray:
    encoder = SentenceEncoder.from_pretrained(
        folder, pooling=pooling, precision="fp32", device="cpu"
    )
    return encoder.encode(TEXTS)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("prefix", ["", "base.", "module."])
@pytest.mark.parametrize("pooling", ["mean", "cls_before_pooler"])
def test_a_plain_checkpoint(tiny_encoder, tmp_path, family, prefix, pooling):
    """With the prefixes that heads for pretraining and DataParallel put before every name."""
    prefix = f"{family}." if prefix == "base." else prefix
    folder = tiny_encoder(family)
    source = in_bin(
        folder, tmp_path / "bin", lambda tensors: {prefix + key: t for key, t in tensors.items()}
    )
    convert(source, tmp_path / "new", pooling=pooling, head="none")
    np.testing.assert_allclose(read(tmp_path / "new"), headless(folder, pooling), atol=1e-6)
    assert not list((tmp_path / "new").rglob("*.bin"))
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(tmp_path / "new"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, read(tmp_path / "new"), atol=1e-5)


def test_simcse_s_own_checkpoint_has_its_mlp_run_after_cls(tiny_encoder, tmp_path):
    folder = tiny_encoder("bert")
    source = in_bin(
        folder,
        tmp_path / "bin",
        lambda tensors: {f"bert.{key}": t for key, t in tensors.items()} | layer("mlp"),
    )
    convert(source, tmp_path / "head", pooling="cls")
    np.testing.assert_allclose(read(tmp_path / "head"), with_head(folder, "mlp"), atol=1e-6)
    convert(source, tmp_path / "before", pooling="cls_before_pooler")
    plain = headless(folder, "cls")
    np.testing.assert_allclose(read(tmp_path / "before"), plain, atol=1e-6)
    assert np.abs(read(tmp_path / "head") - plain).max() > 0.1


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_a_pooler_is_asked_about(tiny_encoder, tmp_path, prefix):
    folder = tiny_encoder("bert")
    source = in_bin(
        folder,
        tmp_path / "bin",
        lambda tensors: (
            {prefix + key: t for key, t in tensors.items() if not key.startswith("pooler.")}
            | layer(f"{prefix}pooler")
        ),
    )
    with pytest.raises(InputError, match=r"pooler\.dense\.\*: .* --head keep .* --head none"):
        convert(source, tmp_path / "new", pooling="cls")
    assert not (tmp_path / "new").exists()
    convert(source, tmp_path / "kept", pooling="cls", head="keep")
    np.testing.assert_allclose(read(tmp_path / "kept"), with_head(folder, "pooler"), atol=1e-6)
    convert(source, tmp_path / "left", pooling="cls", head="none")
    np.testing.assert_allclose(read(tmp_path / "left"), headless(folder, "cls"), atol=1e-6)


def test_a_folder_of_sentence_transformers_keeps_its_modules(tiny_encoder, tmp_path):
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="max", precision="fp32", device="cpu"
    )
    encoder.head, encoder.normalize, encoder.max_length = Head(32, 16), True, 9
    encoder.save_pretrained(tmp_path / "whole", layout="legacy")
    source = in_bin(tmp_path / "whole", tmp_path / "bin")
    assert len(list(source.rglob("pytorch_model.bin"))) == 2
    found = convert(source, tmp_path / "new")
    assert (found.pooling, found.max_length, found.dimension) == ("max", 9, 16)
    np.testing.assert_allclose(read(tmp_path / "new"), encoder.encode(TEXTS), atol=1e-6)


def test_weights_in_several_files_and_inside_a_training_s(tiny_encoder, tmp_path):
    folder = tiny_encoder("bert")
    source = in_bin(folder, tmp_path / "bin", lambda tensors: {"state_dict": tensors, "epoch": 3})
    tensors = torch.load(source / "pytorch_model.bin", weights_only=True)["state_dict"]
    convert(source, tmp_path / "one", pooling="mean")
    (source / "pytorch_model.bin").unlink()
    names = sorted(tensors)
    for number, part in enumerate((names[::2], names[1::2]), 1):
        torch.save(
            {name: tensors[name] for name in part},
            source / f"pytorch_model-0000{number}-of-00002.bin",
        )
    index = {"weight_map": dict.fromkeys(names, "pytorch_model-00001-of-00002.bin")}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    convert(source, tmp_path / "two", pooling="mean")
    for made in ("one", "two"):
        np.testing.assert_allclose(read(tmp_path / made), headless(folder, "mean"), atol=1e-6)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


@pytest.mark.parametrize("holds", ["code", "list", "rubbish", "nothing"])
def test_what_is_not_tensors_is_refused_and_not_run(tiny_encoder, tmp_path, monkeypatch, holds):
    monkeypatch.chdir(tmp_path)
    source = in_bin(tiny_encoder("bert"), tmp_path / "bin")
    file = source / "pytorch_model.bin"
    if holds == "code":
        file.write_bytes(pickle.dumps({"weight": Evil()}, protocol=2))
    elif holds == "list":
        torch.save([torch.zeros(2)], file)
    elif holds == "rubbish":
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    else:
        file.unlink()
    said = {"code": "more than tensors", "list": "holds a list", "nothing": "no pytorch_model.bin"}
    with pytest.raises(InputError, match=said.get(holds, "pytorch_model.bin")):
        convert(source, tmp_path / "new", pooling="mean")
    assert not Path("was-run").exists() and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "pooling", "said"),
    [
        (lambda t: {k: v for k, v in t.items() if "layer.1.output" not in k}, "mean", "lack"),
        (lambda t: t, None, "choose a pooling"),
        (lambda t: t | {"mlp.net.0.weight": torch.zeros(2)}, "cls", r"mlp\.net\.0\.weight"),
    ],
)
def test_what_does_not_make_a_model_is_said(tiny_encoder, tmp_path, change, pooling, said):
    source = in_bin(tiny_encoder("bert"), tmp_path / "bin", change)
    with pytest.raises(InputError, match=said):
        convert(source, tmp_path / "new", pooling=pooling)
    assert not (tmp_path / "new").exists()


def test_a_model_of_the_hub_that_has_no_safetensors_is_converted_too():
    error = OSError("org/old does not appear to have a file named model.safetensors")
    assert "python scripts/convert_checkpoint.py org/old NEW_FOLDER" in _load_advice(
        "org/old", error
    )


def test_nothing_is_overwritten(tiny_encoder, tmp_path):
    source = in_bin(tiny_encoder("bert"), tmp_path / "bin")
    with pytest.raises(InputError, match="exists; give a new folder"):
        convert(source, source, pooling="mean")


def test_the_complaint_about_a_bin_names_the_script_and_the_command_works(
    tiny_encoder, tmp_path, capsys
):
    source = in_bin(tiny_encoder("bert"), tmp_path / "bin")
    with pytest.raises(InputError, match=r"python scripts/convert_checkpoint\.py .*bin") as caught:
        SentenceEncoder.from_pretrained(source, pooling="mean")
    assert "\n" not in str(caught.value)
    assert main([str(source), str(tmp_path / "new"), "--pooling", "mean", "--head", "none"]) == 0
    assert "32 numbers a text, pooling mean, without a head" in capsys.readouterr().out
    assert main([str(source), str(tmp_path / "new"), "--pooling", "mean"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_it_runs_as_a_script(tiny_encoder, tmp_path):
    source = in_bin(tiny_encoder("bert"), tmp_path / "bin")
    script = Path(__file__).parents[2] / "scripts/convert_checkpoint.py"
    command = [sys.executable, script, source, tmp_path / "new", "--pooling", "mean"]
    assert subprocess.run(command, check=False).returncode == 0
    assert (tmp_path / "new/model.safetensors").is_file()
