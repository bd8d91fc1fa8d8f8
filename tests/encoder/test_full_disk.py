"""Embeddings have their room on the disk before the first text is embedded."""

from __future__ import annotations

import numpy as np
import pytest

from invoking import run
from simcse_kit.encoder import SentenceEncoder, write_embeddings
from simcse_kit.errors import InputError
from small_disk import files_of_at_most, mounted

TEXTS = [f"the dog {number}" for number in range(600)]  # of 32 float32: 77 KB


@pytest.mark.parametrize("form", [".npy", ".parquet"])
def test_embeddings_without_room_are_refused_before_the_work(
    tiny_encoder, tmp_path, monkeypatch, form
):
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")

    def worked(*_, **__):
        raise AssertionError("a text was embedded")

    with monkeypatch.context() as patch, files_of_at_most(60_000):
        patch.setattr(SentenceEncoder, "encode", worked)
        with pytest.raises(InputError, match=f"cannot write .*out{form}: the disk is full"):
            write_embeddings(encoder, TEXTS, tmp_path / f"out{form}")
        assert not list(tmp_path.iterdir())
    write_embeddings(encoder, TEXTS, tmp_path / f"out{form}")


@pytest.mark.parametrize("form", [".npy", ".parquet"])
def test_embed_on_a_disk_that_is_full(tiny_encoder, tmp_path, form):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    with mounted(tmp_path / "disk", 60_000) as disk:
        (disk / "before.txt").write_text("mine")
        words = ["embed", tiny_encoder("bert"), tmp_path / "texts.txt", "--pooling", "mean"]
        result = run(*words, "--output", disk / f"out{form}")
        assert result.exit_code == 2 and "the disk is full" in result.stderr
        assert "Traceback" not in result.stderr and result.stderr.count("error:") == 1
        assert [path.name for path in disk.iterdir()] == ["before.txt"]


def test_what_fits_is_written_as_ever(tiny_encoder, tmp_path):
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")
    write_embeddings(encoder, TEXTS, tmp_path / "out.npy")
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(found, encoder.encode(TEXTS))
