"""What is no export, or another's, or broken: one sentence, and nothing is lost."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from simcse_kit.encoder import SentenceEncoder, export
from simcse_kit.encoder.runtimes import exporting, sessions
from simcse_kit.encoder.runtimes.graph import cannot
from simcse_kit.encoder.runtimes.note import digest_of
from simcse_kit.errors import InputError

from .conftest import TEXTS

pytest.importorskip("onnxruntime")


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made.folder, tmp_path / "copy")


def refused(folder, reason, **settings):
    with pytest.raises(InputError, match=reason) as caught:
        SentenceEncoder.from_pretrained(folder, **({"backend": "onnx"} | settings))
    assert "\n" not in str(caught.value)


def change_note(folder, **changes):
    path = folder / "onnx/export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_settings_that_are_none(folder, monkeypatch):
    there = importlib.util.find_spec
    found = {"openvino": there("json")}  # as where it is installed
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found.get(name) or there(name))
    refused(folder, "unknown backend 'onxn'; choose torch or onnx or openvino", backend="onxn")
    refused(folder, "has no export for openvino", backend="openvino")
    refused(folder, "runs on the CPU, not on cuda", device="cuda")
    refused(folder, "dropout is for training", dropout=0.1)
    refused(folder, "in fp32, not in bf16", precision="bf16")
    refused(folder, "is of pooling mean, not cls", pooling="cls")
    refused(folder, "with another head", head="none")


def test_folder_without_export(folder, tiny_encoder):
    shutil.rmtree(folder / "onnx")
    refused(folder, "has no export for onnx; make it: simcse-kit export")
    refused(tiny_encoder("bert"), "has no export for onnx", pooling="mean")


def test_other_weights_than_the_folder_has_now(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(each for each in weights if each.endswith("query.weight"))
    weights[name] = weights[name] + 0.01
    save_file(weights, path, {"format": "pt"})
    refused(folder, "its export for onnx is of other weights than the folder has now")


def test_files_that_are_not_as_written(folder):
    graph = folder / "onnx/model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])
    refused(folder, "onnx/model.onnx is not as it was written")
    change_note(folder, files={"model.onnx": digest_of(graph)})
    refused(folder, "onnx does not run its model.onnx")
    graph.unlink()
    refused(folder, "onnx/model.onnx is not there")


def test_notes_that_are_none(folder):
    change_note(folder, files={"../model.onnx": "0" * 64, "model.onnx": "0" * 64})
    refused(folder, "leads out of its folder")
    change_note(folder, files={})
    refused(folder, "is of no export for onnx")
    for text in ("{", "[]", "null", '{"format": "onnx"}', "\0"):
        (folder / "onnx/export.json").write_text(text)
        refused(folder, "export.json of its export cannot be read")


def test_packages_that_are_wanting(folder, made, tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in gone else there(name)
    )
    gone = ["onnxruntime"]
    refused(folder, r"onnx needs onnxruntime, which is not .* pip install 'simcse-kit\[onnx\]'")
    gone = ["onnx", "onnxscript"]
    SentenceEncoder.from_pretrained(folder, backend="onnx").encode(TEXTS)
    with pytest.raises(InputError, match="needs onnx and onnxscript, which are not installed"):
        export(made.encoder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"format": "tflite"}, "unknown format 'tflite'; choose onnx or openvino"),
        ({"int8": "static"}, "unknown int8 'static'"),
        ({"int8": "calibrated", "calibration": TEXTS}, "calibrated for openvino alone"),
        ({"tolerance": 2.0}, "no share of a cosine"),
        ({"tolerance": float("nan")}, "no share of a cosine"),
    ],
)
def test_export_settings_that_are_none(settings, reason, made, tmp_path):
    with pytest.raises(InputError, match=reason):
        export(made.encoder, tmp_path / "new", **settings)
    assert not list(tmp_path.iterdir())


def test_places_that_hold_something_else(made, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no sentence encoder, but other files"):
        export(made.encoder, tmp_path / "notes")
    with pytest.raises(InputError, match="is a file; give a folder"):
        export(made.encoder, tmp_path / "notes/mine.txt")
    with pytest.raises(InputError, match="no folder of a sentence encoder"):
        export(made.encoder)
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_what_would_fail_at_the_end_is_refused_at_the_start(folder, made, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "write_onnx", None)  # is not come to
    with pytest.raises(InputError, match="there are no texts to measure the loss on"):
        export(made.encoder, tmp_path / "new", texts=[])
    (folder / "README.md").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"README\.md is not UTF-8; save it as UTF-8"):
        export(made.encoder, folder)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot make the folder .*link is a file"):
        export(made.encoder, tmp_path / "link")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="no permission to write in"):
        export(made.encoder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_full_disk_is_no_fault_of_the_family(error, made, tmp_path, monkeypatch):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(torch.onnx, "export", full)
    with pytest.raises((InputError, MemoryError)) as caught:
        export(made.encoder, tmp_path / "new")
    assert "torch cannot export" not in str(caught.value) and error.__cause__ is None
    assert not (tmp_path / "new").exists()


@pytest.fixture
def quick(monkeypatch, made):
    """Exports whose graph is the one that was made before, for what happens after it."""

    def written(parts, path):
        shutil.copy(made.folder / "onnx/model.onnx", path)

    monkeypatch.setattr(exporting, "write_onnx", written)


def contents(folder):
    return {
        str(path.relative_to(folder)): digest_of(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_loses_too_much_is_not_written(folder, made, tmp_path, quick):
    before = contents(folder)
    for place in (folder, tmp_path / "new"):
        with pytest.raises(InputError, match="more than the tolerance of 1e-09; it is not written"):
            export(made.encoder, place, int8="dynamic", tolerance=1e-9)
    assert contents(folder) == before and not (tmp_path / "new").exists()


def test_a_folder_of_another_encoder_keeps_what_it_has(folder, made, quick):
    before = contents(folder)
    parts = made.encoder.parts()
    parts.pooling = "cls"
    with pytest.raises(InputError, match="would be of pooling cls, not mean"):
        export(SentenceEncoder(parts, name="other", precision="fp32"), folder, tolerance=1.0)
    assert contents(folder) == before


def test_stopped_half_way_leaves_nothing(folder, made, tmp_path, quick, monkeypatch):
    before, measured = contents(folder), exporting._measured

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "_measured", stop)
    for place in (folder, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            export(made.encoder, place)
    assert contents(folder) == before and not (tmp_path / "new").exists()
    monkeypatch.setattr(exporting, "_measured", measured)
    (tmp_path / "new/.being-written.building/model").mkdir(parents=True)  # of one that was killed
    assert export(made.encoder, tmp_path / "new").folder == tmp_path / "new"
    assert not [path.name for path in (tmp_path / "new").iterdir() if path.name[0] == "."]


def test_what_another_export_made_meanwhile_stays(made, tmp_path, quick, monkeypatch):
    """Two begun together into a new folder: the second waits, and then fails."""
    filling = exporting.filling

    @contextlib.contextmanager
    def after_another(folder):
        shutil.copytree(made.folder, folder, dirs_exist_ok=True)
        with filling(folder) as building:
            yield building

    monkeypatch.setattr(exporting, "filling", after_another)
    with pytest.raises(InputError, match="more than the tolerance of 1e-09; it is not written"):
        export(made.encoder, tmp_path / "new", int8="dynamic", tolerance=1e-9)
    assert contents(tmp_path / "new") == contents(made.folder)


def test_exports_of_two_formats_fill_a_new_folder_in_turn(made, tmp_path, quick, monkeypatch):
    """The one fails while the other waits for it, which then finds the folder as it should be."""
    begun, go_on = threading.Event(), threading.Event()

    def failing(*_, **__):
        begun.set()
        assert go_on.wait(30)
        raise ValueError("no such layer")

    monkeypatch.setattr(exporting, "openvino_of", failing)
    monkeypatch.setattr(exporting, "check_packages", lambda *_, **__: None)
    with ThreadPoolExecutor(2) as pool:
        fails = pool.submit(export, made.encoder, tmp_path / "new", format="openvino")
        assert begun.wait(30)
        writes = pool.submit(export, made.encoder, tmp_path / "new")
        assert writes in wait([writes], 0.2).not_done
        go_on.set()
        with pytest.raises(InputError, match="OpenVINO cannot write 'tiny'"):
            fails.result(60)
        assert writes.result(60).folder == tmp_path / "new"
    assert {*contents(tmp_path / "new")} == {*contents(made.folder)}
    loaded = SentenceEncoder.from_pretrained(tmp_path / "new", backend="onnx")
    np.testing.assert_allclose(loaded.encode(TEXTS), made.encoder.encode(TEXTS), atol=1e-6)


def test_an_export_of_another_program_is_not_replaced(folder, made, tmp_path, quick):
    """As in many a folder of the hub."""
    (folder / "onnx/export.json").unlink()
    before = contents(folder)
    with pytest.raises(InputError, match=r"model.onnx has no export.json beside it, so another"):
        export(made.encoder, folder)
    assert contents(folder) == before
    assert export(made.encoder, tmp_path / "new").folder == tmp_path / "new"


def test_a_graph_that_computes_no_numbers_is_not_written(made, tmp_path, quick, monkeypatch):
    """OpenVINO's of a Qwen3 gave NaN (sentence-transformers, issue 3515)."""
    run = sessions.OnnxSession.run
    monkeypatch.setattr(
        sessions.OnnxSession, "run", lambda *given: np.full_like(run(*given), np.nan)
    )
    with pytest.raises(InputError, match=r"the export of 'tiny' in fp32 cannot embed what it is"):
        export(made.encoder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("This protobuf of size is too large"), "ONNX Runtime cannot write 'tiny' in"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("write failed: No space left on device"), "the disk is full"),
    ],
)
def test_int8_that_fails_is_said(error, said, made, tmp_path, quick, monkeypatch):
    def failing(*_):
        raise error

    monkeypatch.setattr(exporting, "onnx_in_int8", failing)
    with pytest.raises(InputError, match=said):
        export(made.encoder, tmp_path / "new", int8="dynamic")
    assert not (tmp_path / "new").exists() and error.__cause__ is None


def test_the_first_cause_is_told_where_causes_go_round():
    first, second = ValueError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert str(cannot("no", second, "stop")) == "no (ValueError: first); stop"


@pytest.mark.parametrize("int8", [None, "dynamic"])
def test_large_weights_lie_beside_the_graph(int8, made, tmp_path, monkeypatch):
    """Over 2 GB no graph holds them; and a folder of the hub's cache is links to other names."""
    onnx = pytest.importorskip("onnx")

    def written(_, path):
        graph = onnx.load(made.folder / "onnx/model.onnx")
        onnx.save(graph, path, save_as_external_data=True, location=f"{path.name}.data")

    monkeypatch.setattr(exporting, "write_onnx", written)
    monkeypatch.setattr("simcse_kit.encoder.runtimes.int8.LARGE", 0)
    note = export(made.encoder, tmp_path / "new", int8=int8).note
    assert set(note.files) == {"model.onnx", "model.onnx.data"}
    (tmp_path / "blobs").mkdir()
    for path in [path for path in (tmp_path / "new").rglob("*") if path.is_file()]:
        blob = tmp_path / "blobs" / digest_of(path)
        path.rename(blob)
        path.symlink_to(blob)
    loaded = SentenceEncoder.from_pretrained(tmp_path / "new", backend="onnx")
    atol = 1e-6 if int8 is None else 0.1
    np.testing.assert_allclose(loaded.encode(TEXTS), made.encoder.encode(TEXTS), atol=atol)
    export(made.encoder, tmp_path / "new", tolerance=1.0)  # in place of it, by its links
    (tmp_path / "new/onnx/model.onnx.data").unlink()
    refused(tmp_path / "new", r"onnx/model.onnx.data is not there")


def test_int8_takes_the_place_of_fp32_and_its_score_is_noted(folder, made, quick):
    before = contents(folder)
    scores = iter([50.0, 50.25])
    note = export(
        made.encoder, folder, int8="dynamic", texts=TEXTS, judge=lambda _: next(scores)
    ).note
    assert (note.measured.sts, note.measured.sts_torch) == (50.0, 50.25)
    assert 1e-6 < 1 - note.measured.mean_cosine < 0.02
    after = contents(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"onnx/model.onnx", "onnx/export.json", "README.md"}
    card = (folder / "README.md").read_text()
    assert "STS 50.00 where torch has 50.25" in card and card.count("## Export for") == 1
    loaded = SentenceEncoder.from_pretrained(folder, backend="onnx")
    assert loaded.precision == "int8"
    found, expected = loaded.encode(TEXTS), made.encoder.encode(TEXTS)
    cosines = (found * expected).sum(1)
    assert cosines.mean() == pytest.approx(note.measured.mean_cosine, abs=2e-3)
    with pytest.raises(InputError, match="in int8, and does not compute in fp32"):
        loaded.encode(TEXTS, precision="fp32")
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
