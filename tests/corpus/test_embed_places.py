"""Where a corpus is written: nothing of others is written over, and no input of its own."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simcse_kit.corpus import EmbeddedCorpus, embed_corpus, embed_file, embedding, shards
from simcse_kit.corpus.run_lock import alone
from simcse_kit.data import TextStream
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError

TEXTS = [f"the dog {n}" for n in range(20)]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Callable[[str], Path]) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", precision="fp32", device="cpu"
    )


def parquet(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": texts}), path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and "lock" not in path.name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_no_input_is_written_over(encoder, tmp_path):
    """The shards of a data set are called as ours are."""
    parquet(tmp_path / "data/shard-000000.parquet", TEXTS)
    parquet(tmp_path / "data/deep/more.parquet", TEXTS)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    before = contents(tmp_path)
    for inputs, output in (
        ("data/shard-*.parquet", "data"),
        ("data/shard-*.parquet", "link"),
        ("link/deep/more.parquet", "data"),
        ("data/**/*.parquet", "data/deep"),
    ):
        with pytest.raises(InputError, match=r"cannot write into .*, which is read, lies there"):
            embed_corpus(encoder, str(tmp_path / inputs), tmp_path / output, overwrite=True)
    with pytest.raises(InputError, match=r"more.parquet: it is a file that is read too"):
        embed_file(encoder, tmp_path / "data/deep/*.parquet", tmp_path / "link/deep/more.parquet")
    assert contents(tmp_path) == before


def test_a_pattern_that_matches_the_output_of_before(encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parquet(tmp_path / "a.parquet", TEXTS)
    embed_file(encoder, "*.parquet", "vectors.parquet")
    embed_corpus(encoder, "a.parquet", "corpus")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"cannot write vectors.parquet: it is a file that"):
        embed_file(encoder, "*.parquet", "vectors.parquet")
    with pytest.raises(InputError, match=r"corpus/shard-000000.parquet, which is read, lies there"):
        embed_corpus(encoder, "**/*.parquet", "corpus", overwrite=True)
    assert contents(tmp_path) == before


def test_a_stream_lies_nowhere(encoder, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    stdin = io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert embed_corpus(encoder, "-", ".").rows == len(TEXTS)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("shard-000000.parquet", b"a data set's"),
        ("vectors.npy", b"somebody's"),
        ("manifest.json", b'{"name": "a page", "icons": []}'),
        ("manifest.json", b"[]"),
    ],
)
def test_files_of_others_that_are_called_as_ours(encoder, tmp_path, name, content, overwrite):
    texts = parquet(tmp_path / "a.parquet", TEXTS)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"holds other things \({name}\) and no embeddings"):
        embed_corpus(encoder, texts, tmp_path / "theirs", overwrite=overwrite)
    assert contents(tmp_path / "theirs") == {name: content}


def test_a_folder_of_ours_is_known_by_its_manifest_or_its_lock(encoder, tmp_path):
    texts, out = parquet(tmp_path / "a.parquet", TEXTS), tmp_path / "out"
    embed_corpus(encoder, texts, out, shard_rows=8)
    whole = np.asarray(EmbeddedCorpus(out).vectors[:])
    for gone in (".lock", "manifest.json"):  # as in a copy; as where beginning anew was killed
        for path in out.glob(f"{gone}*"):
            path.unlink()
        assert embed_corpus(encoder, texts, out, shard_rows=8).rows == len(TEXTS)
        np.testing.assert_array_equal(EmbeddedCorpus(out).vectors[:], whole)


def test_a_run_that_finished_nothing_binds_no_other(encoder, tmp_path):
    """A bad row is mended, and the same command typed again; or another model is taken."""
    path, out = tmp_path / "a.csv", tmp_path / "out"
    path.write_text("text,n\none,1\n,2\n")
    with pytest.raises(InputError, match=r"a.csv:3: has no text"):
        embed_corpus(encoder, path, out, shard_rows=4)
    path.write_text("text,n\none,1\ntwo,2\n")
    assert embed_corpus(encoder, path, out, shard_rows=4, type="fp16").rows == 2
    path.write_text("text,n\none,1\nthree,2\n")  # now something is finished
    with pytest.raises(InputError, match=r"was begun before .*a.csv changed"):
        embed_corpus(encoder, path, out, shard_rows=4, type="fp16")


def test_parts_are_bound_by_what_the_first_began_with(encoder, tmp_path):
    path, out = parquet(tmp_path / "a.parquet", TEXTS), tmp_path / "out"
    with alone(out_made(out), (0, 2)):  # runs still, and has finished nothing
        embed_corpus(encoder, path, out, shard_rows=64, part=(1, 2))
        with pytest.raises(InputError, match=r"type fp32, not fp16.* remove the folder") as one:
            embed_corpus(encoder, path, out, shard_rows=64, part=(1, 2), type="fp16")
        assert "--overwrite" not in one.value.command_line  # which parts refuse


def out_made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_an_input_that_changes_while_it_is_read_is_said(encoder, tmp_path, monkeypatch, caplog):
    path, out = tmp_path / "a.txt", tmp_path / "out"
    path.write_text("\n".join(TEXTS))
    make = shards.make

    def growing(*given: Any) -> Any:
        with path.open("a") as file:
            file.write("\nmore")
        return make(*given)

    monkeypatch.setattr("simcse_kit.corpus.embedding.make", growing)
    assert embed_corpus(encoder, path, out, shard_rows=8).rows == len(TEXTS)
    assert f"{path}: changed while it was read" in caplog.text
    with pytest.raises(InputError, match=r"was begun before .*a.txt changed"):
        embed_corpus(encoder, path, out, shard_rows=8)
    caplog.clear()
    monkeypatch.setattr("simcse_kit.corpus.embedding.make", make)
    embed_corpus(encoder, path, out, shard_rows=8, overwrite=True)
    assert "changed" not in caplog.text


def test_a_saved_data_set_that_changed_is_another_input(tmp_path):
    (tmp_path / "data-00000.arrow").write_text("rows")
    (tmp_path / "state.json").write_text(json.dumps({"_fingerprint": "1"}))
    before = TextStream(tmp_path).states()
    (tmp_path / "cache-12.arrow").write_text("of a map")
    assert TextStream(tmp_path).states() == before and not TextStream(tmp_path).changed(before)
    (tmp_path / "data-00000.arrow").write_text("other rows")
    assert TextStream(tmp_path).states() != before
    assert TextStream(tmp_path).changed(before) == [str(tmp_path)]


def test_a_place_that_does_not_answer_has_not_changed(tmp_path):
    files = fsspec.filesystem("memory")
    files.pipe("/there/a.txt", b"one\ntwo\n")
    stream = TextStream("memory://there/a.txt")
    before = stream.states()
    assert stream.changed(before) == []
    files.rm("/there/a.txt")
    assert stream.changed(before) == []


# ---- parts that end while others check -----------------------------------------------------------


@pytest.mark.parametrize("store", ["parquet", "npy"])
@pytest.mark.parametrize("harmed", [False, True])
def test_a_part_that_is_run_again_while_the_last_one_ends(
    encoder, tmp_path, monkeypatch, store, harmed
):
    """A job array's part is queued again after it ended, and checks its shards for minutes."""
    path, out = parquet(tmp_path / "a.parquet", TEXTS), tmp_path / "out"
    how: dict[str, Any] = {"shard_rows": 4, "store": store}
    embed_corpus(encoder, path, tmp_path / "whole", **how)
    embed_corpus(encoder, path, out, part=(1, 2), **how)
    damaged, called = embedding.damaged, list[int]()

    def while_another_ends(*given: Any) -> list[int]:
        called.append(1)
        if len(called) == 1:
            assert embed_corpus(encoder, path, out, part=(0, 2), **how).rows == len(TEXTS)
            if harmed:
                (out / "shard-000001.parquet").write_bytes(b"no longer")
        return damaged(*given)

    monkeypatch.setattr(embedding, "damaged", while_another_ends)
    again = embed_corpus(encoder, path, out, part=(1, 2), **how)
    assert (again.rows, again.made) == (len(TEXTS), int(harmed))
    EmbeddedCorpus(out).check()
    np.testing.assert_array_equal(
        EmbeddedCorpus(out).vectors[:], EmbeddedCorpus(tmp_path / "whole").vectors[:]
    )
    assert contents(out) == contents(tmp_path / "whole")


def test_a_shard_elsewhere_may_run_the_models_own_code_as_here(encoder, tmp_path, monkeypatch):
    path, trusted = parquet(tmp_path / "a.parquet", TEXTS), list[bool]()

    class Asked:
        def embedded(self, encoder: Any, specs: Any) -> Any:
            trusted.extend(spec.trust_remote_code for spec in specs)
            return iter(())

    embed_corpus(encoder, path, tmp_path / "one", engine=Asked())
    monkeypatch.setattr(encoder, "own_code", True)
    embed_corpus(encoder, path, tmp_path / "other", engine=Asked())
    assert trusted == [False, True]
