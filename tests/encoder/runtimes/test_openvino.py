"""The same by OpenVINO, where it is installed."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

from simcse_kit.encoder import SentenceEncoder, export
from simcse_kit.errors import InputError

from .conftest import TEXTS, headed, needs_openvino

pytestmark = needs_openvino


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    place = tmp_path_factory.mktemp("openvino") / "tiny"
    export(made.encoder, place, format="openvino")
    return place


def test_gives_the_same_rows(folder, made):
    loaded = SentenceEncoder.from_pretrained(folder, backend="openvino", precision="fp32")
    for texts in (TEXTS, ["dog"], [""], TEXTS * 5):
        for given in ({}, {"normalize": False}, {"batch_tokens": 8}, {"prompt_name": "query"}):
            expected = made.encoder.encode(texts, **given)
            np.testing.assert_allclose(loaded.encode(texts, **given), expected, atol=1e-5)
    again = pickle.loads(pickle.dumps(loaded))
    np.testing.assert_allclose(again.encode(TEXTS), made.encoder.encode(TEXTS), atol=1e-5)


def test_computes_in_bf16_where_asked(folder, made):
    loaded = SentenceEncoder.from_pretrained(folder, backend="openvino", precision="bf16")
    assert loaded.precision == "bf16"
    expected = made.encoder.encode(TEXTS)
    assert (loaded.encode(TEXTS) * expected).sum(1).min() > 0.99
    np.testing.assert_allclose(loaded.encode(TEXTS, precision="fp32"), expected, atol=1e-5)


def test_threads_do_not_share_a_request(folder, made):
    loaded = SentenceEncoder.from_pretrained(folder, backend="openvino", precision="fp32")
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: loaded.encode(TEXTS[i:] * 20)}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, rows in found.items():
        np.testing.assert_allclose(rows, made.encoder.encode(TEXTS[i:] * 20), atol=1e-5)
    assert len(found) == 4


def test_a_broken_file_is_said(folder, tmp_path):
    import shutil

    place = shutil.copytree(folder, tmp_path / "copy")
    weights = place / "openvino/openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match=r"openvino_model\.bin is not as it was written"):
        SentenceEncoder.from_pretrained(place, backend="openvino")


@pytest.mark.slow
@pytest.mark.parametrize(("int8", "calibration"), [("dynamic", ()), ("calibrated", TEXTS * 3)])
def test_int8_is_measured_and_near(int8, calibration, tiny_encoder, tmp_path):
    encoder = headed(tiny_encoder("bert"))
    made = export(
        encoder,
        tmp_path / "x",
        format="openvino",
        int8=int8,
        calibration=calibration,
        tolerance=0.2,
    )
    assert made.note.int8 == int8 and made.note.measured.mean_cosine > 0.95
    loaded = SentenceEncoder.from_pretrained(tmp_path / "x", backend="openvino")
    assert loaded.precision == "int8"
    alone = np.stack([loaded.encode(text) for text in TEXTS])
    np.testing.assert_allclose(loaded.encode(TEXTS * 3)[: len(TEXTS)], alone, atol=2e-3)
    assert (loaded.encode(TEXTS) * encoder.encode(TEXTS)).sum(1).mean() > 0.95
    assert {path.name for path in (tmp_path / "x/openvino").iterdir()} == {
        *("export.json", "openvino_model.xml", "openvino_model.bin")
    }


def test_calibrated_wants_texts(made, tmp_path):
    with pytest.raises(InputError, match="needs texts to fix its scales from"):
        export(made.encoder, tmp_path / "x", format="openvino", int8="calibrated")
