"""A disk that is full is said in a sentence, and nothing that is finished is lost."""

from __future__ import annotations

import numpy as np
import pytest

from invoking import run, succeed
from simcse_kit.corpus import EmbeddedCorpus, embed_corpus, embed_file
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from small_disk import files_of_at_most, mounted

TEXTS = [f"the dog {number}" for number in range(600)]  # of 32 float32: 77 KB


@pytest.fixture
def encoder(tiny_encoder):
    return SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS))
    return path


@pytest.mark.parametrize("form", ["out.npy", "out.parquet", "out"])
def test_what_has_no_room_is_refused_before_the_work(encoder, texts, tmp_path, monkeypatch, form):
    def worked(*_, **__):
        raise AssertionError("a text was embedded")

    embed = embed_file if "." in form else embed_corpus
    with monkeypatch.context() as patch, files_of_at_most(60_000):
        patch.setattr(SentenceEncoder, "encode", worked)
        with pytest.raises(InputError, match=f"cannot write .*{form}.*: the disk is full"):
            embed(encoder, texts, tmp_path / form)
        if "." in form:
            assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]
    embed(encoder, texts, tmp_path / form)


@pytest.mark.parametrize("form", [".npy", ".parquet"])
def test_embed_on_a_disk_that_is_full(tiny_encoder, texts, tmp_path, form):
    with mounted(tmp_path / "disk", 60_000) as disk:
        (disk / "before.txt").write_text("mine")
        words = ["embed", tiny_encoder("bert"), texts, "--pooling", "mean"]
        result = run(*words, "--output", disk / f"out{form}")
        assert result.exit_code == 2 and "the disk is full" in result.stderr
        assert "Traceback" not in result.stderr and result.stderr.count("error:") == 1
        assert [path.name for path in disk.iterdir()] == ["before.txt"]


@pytest.mark.parametrize("store", ["parquet", "npy"])
def test_what_is_finished_stays_where_the_disk_fills_up(encoder, texts, tmp_path, store):
    how = {"store": store, "shard_rows": 100}
    words = ["embed", encoder.name, texts, "--pooling", "mean", "--store", store]
    words += ["--shard-rows", 100, "--precision", "fp32"]
    with mounted(tmp_path / "disk", 150_000) as disk:
        (disk / "other").write_bytes(b"x" * 50_000)
        result = run(*words, "--output", disk / "out")
        assert result.exit_code == 2 and "the disk is full" in result.stderr
        assert result.stderr.count("error:") == 1
        (disk / "other").unlink()
        finished = len(list((disk / "out" / ".done").iterdir()))
        assert 0 < finished < 6
        succeed(*words, "--output", disk / "out", "--json", tmp_path / "said.json")
        assert f'"shards_found": {finished}' in (tmp_path / "said.json").read_text()
        fresh = SentenceEncoder.from_pretrained(encoder.name, pooling="mean", precision="fp32")
        embed_corpus(fresh, texts, tmp_path / "whole", **how)
        one, other = EmbeddedCorpus(disk / "out"), EmbeddedCorpus(tmp_path / "whole")
        np.testing.assert_array_equal(one.vectors[:], other.vectors[:])


def test_what_fits_is_written_as_ever(encoder, texts, tmp_path):
    embed_file(encoder, texts, tmp_path / "out.npy")
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(found, encoder.encode(TEXTS))
