"""``simcse-kit export``, and its result run by the other commands."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from invoking import run, succeed
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.encoder.runtimes import exporting

TEXTS = ["a man plays the guitar", "dog", "the cat sleeps"]


@pytest.fixture(scope="module")
def folder(tiny_encoder, tmp_path_factory):
    """A saved sentence encoder with its export."""
    pytest.importorskip("onnxscript")
    place = tmp_path_factory.mktemp("command") / "model"
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", device="cpu", precision="fp32"
    )
    encoder.save_pretrained(place)
    said = run("export", place, "--format", "onnx")
    assert said.exit_code == 0, said.stderr
    assert said.stdout == f"{place}\n"
    assert "in fp32: cosine to fp32 1.000000 on average" in said.stderr
    return place


@pytest.fixture
def quick(monkeypatch, folder):
    """Exports of the graph that was made before."""
    graph = folder / "onnx/model.onnx"
    monkeypatch.setattr(exporting, "write_onnx", lambda _, path: shutil.copy(graph, path))


def test_lies_in_the_models_folder(folder):
    assert {path.name for path in (folder / "onnx").iterdir()} == {"model.onnx", "export.json"}
    assert "## Export for ONNX Runtime" in (folder / "README.md").read_text()
    assert not list(folder.glob(".*"))


def test_other_commands_run_it(folder, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    rows = []
    for backend in ("torch", "onnx"):
        output = tmp_path / f"{backend}.npy"
        how = ("--backend", backend, "--precision", "fp32")
        succeed("embed", folder, tmp_path / "texts.txt", *how, "--output", output)
        rows.append(np.load(output))
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)
    for model in (f"{folder}@backend=onnx", folder):
        assert succeed("similarity", model, "--precision", "fp32", *TEXTS[:2]) == succeed(
            "similarity", model, "--backend", "onnx", *TEXTS[:2]
        )


def test_int8_into_a_new_folder_measured_on_given_texts(folder, tmp_path, quick):
    (tmp_path / "texts.csv").write_text("text\n" + "\n".join(TEXTS * 2) + "\n")
    options = ("--int8", "--texts", tmp_path / "texts.csv", "--json", "-")
    said = succeed("export", folder, "--format", "onnx", "--output", tmp_path / "new", *options)
    figures = json.loads(said)
    assert figures["int8"] == "dynamic" and figures["folder"] == str(tmp_path / "new")
    assert figures["measured"]["texts"] == 3
    assert figures["measured"]["source"] == "texts of texts.csv"
    assert figures["measured"]["mean_cosine"] > 0.98
    assert json.loads((tmp_path / "new/onnx/export.json").read_text()) == {
        key: value for key, value in figures.items() if key != "folder"
    }
    loaded = SentenceEncoder.from_pretrained(tmp_path / "new", backend="onnx")
    assert loaded.precision == "int8"


def test_scores_both_on_sts(folder, tmp_path, quick, monkeypatch):
    from simcse_kit.commands import export

    calls = []

    def judge(data_dir):
        return lambda encoder: calls.append((data_dir, encoder.runtime is None)) or 70.0

    monkeypatch.setattr(export, "_judge", judge)
    options = ("--output", tmp_path / "new", "--data-dir", tmp_path, "--json", "-")
    figures = json.loads(succeed("export", folder, "--format", "onnx", *options))
    assert figures["measured"]["sts"] == figures["measured"]["sts_torch"] == 70.0
    assert calls == [(tmp_path, False), (tmp_path, True)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--format", "tflite"), "'tflite' is not one of"),
        ((), "Missing option '--format'"),
        (("--format", "onnx", "--calibrate", "TEXTS"), "give --int8 too, or leave it out"),
        (("--format", "onnx", "--int8", "--calibrate", "TEXTS"), "leave the calibration texts out"),
        (("--format", "onnx", "--tolerance", "2"), "less than or equal to 1"),
        (("--format", "onnx", "--texts", "nowhere.txt"), "nowhere.txt"),
        (("--format", "onnx", "--data-dir", "nowhere"), "nowhere"),
        (("--format", "onnx", "--int8", "--tolerance", "0"), "more than the tolerance of 0"),
        (("--format", "onnx", "--pooling", "cls"), "give a new folder for it (--output)"),
    ],
)
def test_mistakes_are_said_in_a_sentence(options, reason, folder, tmp_path, quick):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    given = [str(tmp_path / "texts.txt") if each == "TEXTS" else each for each in options]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = run("export", folder, *given)
    assert said.exit_code == 2 and reason in said.stderr, said.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_plain_checkpoint_wants_a_new_folder(tiny_encoder):
    said = run("export", tiny_encoder("bert"), "--format", "onnx", "--pooling", "mean")
    assert said.exit_code == 2 and "give a new folder for it (--output)" in said.stderr


def test_export_cannot_be_exported_or_whitened(folder, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    for command in (
        ("export", folder, "--format", "onnx", "--output", tmp_path / "new"),
        ("whiten", folder, tmp_path / "texts.txt", "--output-dir", tmp_path / "new", "-k", 2),
    ):
        said = run(*command, "--backend", "onnx")
        assert said.exit_code == 2 and "load it with backend='torch'" in said.stderr
    assert not (tmp_path / "new").exists()
