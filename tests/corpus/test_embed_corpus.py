"""A corpus of shards: what `encode` gives, however it is kept, cut, shared out and interrupted."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tqdm.std import tqdm

from simcse_kit.corpus import (
    EmbeddedCorpus,
    ShardSpec,
    check_output,
    embed_corpus,
    embed_file,
    embed_shard,
    shards,
)
from simcse_kit.corpus.manifest import Manifest
from simcse_kit.corpus.numbers import kept_as
from simcse_kit.corpus.run_lock import alone
from simcse_kit.data import TextStream
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError, TextError

ROWS = 45
TEXTS = [f"the {'red' if n % 2 else 'blue'} dog {n % 19}" for n in range(ROWS)]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Callable[[str], Path], tmp_path_factory: Any) -> SentenceEncoder:
    folder = tmp_path_factory.mktemp("model") / "unit"
    raw = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")
    raw.normalize = True
    raw.save_pretrained(folder)
    return SentenceEncoder.from_pretrained(folder, precision="fp32", device="cpu")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": text, "id": f"d{n}"}) for n, text in enumerate(TEXTS))
    )
    return path


def vectors_of(folder: Path) -> np.ndarray:
    return np.asarray(EmbeddedCorpus(folder).vectors[:])


@pytest.mark.parametrize("store", ["parquet", "npy"])
def test_vectors_are_those_of_encode_to_the_bit(encoder, texts, tmp_path, store):
    done = embed_corpus(encoder, texts, tmp_path / "out", store=store, shard_rows=16, texts=True)
    assert (done.rows, done.dimension, done.made, done.found) == (ROWS, 32, 3, 0)
    corpus = EmbeddedCorpus(tmp_path / "out")
    for start in range(0, ROWS, 16):  # a shard: each of its texts once
        some = TEXTS[start : start + 16]
        distinct = list(dict.fromkeys(some))
        each = dict(zip(distinct, encoder.encode(distinct), strict=True))
        expected = np.stack([each[text] for text in some])
        np.testing.assert_array_equal(corpus.vectors[start : start + 16], expected)
    np.testing.assert_allclose(corpus.vectors[:], encoder.encode(TEXTS), atol=1e-6)
    assert len(corpus) == ROWS and corpus.normalized
    assert corpus.texts() == TEXTS and corpus.ids() == [f"d{n}" for n in range(ROWS)]
    corpus.check()
    corpus.check_model(encoder)
    names = {path.name for path in (tmp_path / "out").iterdir() if "lock" not in path.name}
    assert names == {"manifest.json", *(f"shard-{n:06d}.parquet" for n in range(3))} | (
        {"vectors.npy"} if store == "npy" else set()
    )


def test_equal_texts_of_a_shard_are_embedded_once(encoder, texts, tmp_path, monkeypatch):
    seen: list[str] = []
    encode = SentenceEncoder.encode

    def counted(self: Any, texts: Any, **how: Any) -> Any:
        seen.extend(texts)
        return encode(self, texts, **how)

    monkeypatch.setattr(SentenceEncoder, "encode", counted)
    embed_corpus(encoder, texts, tmp_path / "out", shard_rows=100)
    assert seen == list(dict.fromkeys(TEXTS)) and len(seen) < ROWS


def test_the_bar_counts_every_row_once(encoder, texts, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bars: list[Any] = []
    init = tqdm.__init__

    def kept(self: Any, *args: Any, **named: Any) -> None:
        init(self, *args, **named | {"disable": False, "file": io.StringIO()})
        if named.get("desc") == "embed":
            bars.append(self)

    monkeypatch.setattr(tqdm, "__init__", kept)
    embed_corpus(encoder, texts, tmp_path / "out", shard_rows=16, show_progress=True)
    (tmp_path / "out" / "shard-000001.parquet").unlink()
    embed_corpus(encoder, texts, tmp_path / "out", shard_rows=16, show_progress=True)
    assert [bar.n for bar in bars] == [ROWS, ROWS] and bars[1].initial == ROWS - 16
    (tmp_path / "plain.txt").write_text("\n".join(TEXTS) + "\n")
    assert TextStream(tmp_path / "plain.txt").count() == ROWS


@pytest.mark.parametrize("store", ["parquet", "npy"])
@pytest.mark.parametrize("dimension", [None, 12])
@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8", "binary"])
def test_every_type_is_what_numpy_makes_of_the_vectors(
    encoder, texts, tmp_path, kind, dimension, store
):
    how = {"type": kind, "dimension": dimension, "store": store}
    embed_corpus(encoder, texts, tmp_path / "out", shard_rows=16, **how)
    whole = encoder.encode(TEXTS)
    if dimension is not None:
        whole = whole[:, :dimension] / np.linalg.norm(whole[:, :dimension], axis=1, keepdims=True)
    corpus = EmbeddedCorpus(tmp_path / "out")
    found = np.asarray(corpus.vectors[:])
    assert found.shape == (ROWS, dimension or 32) and found.dtype == np.float32
    if kind == "binary":
        np.testing.assert_allclose(found, np.where(whole > 0, 1, -1) / whole.shape[1] ** 0.5)
    else:
        steps = np.abs(whole).max(axis=1, keepdims=True)
        off = {"fp32": 1e-6, "fp16": steps * 2**-11 + 1e-6, "int8": steps / 254 + 1e-6}[kind]
        assert (np.abs(found - whole) <= off).all()
    file = tmp_path / "out" / ("vectors.npy" if store == "npy" else "shard-000000.parquet")
    if store == "npy":
        kept = np.load(file)
    else:
        column = pq.read_table(file).column("vector").combine_chunks()
        kept = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    names = {"fp32": "float32", "fp16": "float16", "int8": "int8", "binary": "uint8"}
    assert kept.dtype == names[kind]
    if kind == "binary":
        np.testing.assert_array_equal(kept[:16], np.packbits(whole[:16] > 0, axis=1))


def test_numbers_too_large_for_fp16_are_refused():
    vectors = np.array([[65_504, -1], [2, 3]], np.float32)
    np.testing.assert_array_equal(kept_as(vectors, "fp16").numbers, vectors)
    vectors[1, 1] = -70_000
    with pytest.raises(InputError, match="above 65,504 and do not fit fp16; give type fp32"):
        kept_as(vectors, "fp16")
    np.testing.assert_array_equal(kept_as(vectors, "fp32").numbers, vectors)


def test_rows_in_any_order(encoder, texts, tmp_path):
    embed_corpus(encoder, texts, tmp_path / "out", shard_rows=16, texts=True)
    corpus = EmbeddedCorpus(tmp_path / "out")
    everything, rows = np.asarray(corpus.vectors[:]), [40, 3, 16, 3, 0, 44]
    np.testing.assert_array_equal(corpus.vectors[np.array(rows)], everything[rows])
    np.testing.assert_array_equal(corpus.vectors[7], everything[7])
    np.testing.assert_array_equal(corpus.vectors[30:2:-5], everything[30:2:-5])
    np.testing.assert_array_equal(np.concatenate([b for _, b in corpus.blocks(7)]), everything)
    assert corpus.texts(rows) == [TEXTS[row] for row in rows]
    assert corpus.ids(rows) == [f"d{row}" for row in rows]
    cells = [
        (start + n, each)
        for start, part in corpus.column_blocks("id")
        for n, each in enumerate(part)
    ]
    assert cells == [(n, f"d{n}") for n in range(ROWS)]
    with pytest.raises(IndexError, match="row 45 of 45"):
        corpus.vectors[[45]]
    again = pickle.loads(pickle.dumps(corpus))
    np.testing.assert_array_equal(again.vectors[:], everything)


def test_rows_that_are_left_out_keep_their_numbers(encoder, tmp_path):
    for name, content in (
        ("a.csv", "text,n\none,1\n,2\nx,y,z\nfour,4\n"),
        ("b.txt", "five\n\nsix\n"),
    ):
        (tmp_path / name).write_text(content)
    stream = TextStream([tmp_path / "a.csv", tmp_path / "b.txt"], blank="skip", skip_bad_rows=1)
    embed_corpus(encoder, stream, tmp_path / "out", shard_rows=2, texts=True)
    corpus = EmbeddedCorpus(tmp_path / "out")
    assert corpus.texts() == ["one", "four", "five", "six"] and corpus.ids() is None
    assert corpus.numbers().tolist() == [0, 3, 4, 6] and corpus.numbers([2]).tolist() == [4]
    np.testing.assert_allclose(corpus.vectors[:], encoder.encode(corpus.texts()), atol=1e-6)


# ---- runs that share the work, and that go on ----------------------------------------------------


def test_parts_and_workers_and_one_process_make_the_same(encoder, texts, tmp_path):
    whole = tmp_path / "whole"
    embed_corpus(encoder, texts, whole, shard_rows=8)
    first = embed_corpus(encoder, texts, tmp_path / "parts", shard_rows=8, part=(1, 2))
    assert first.rows is None and first.made == 3
    with pytest.raises(InputError, match="is not whole; the same `embed` again finishes it"):
        EmbeddedCorpus(tmp_path / "parts")
    last = embed_corpus(encoder, texts, tmp_path / "parts", shard_rows=8, part=(0, 2))
    assert (last.rows, last.made, last.found) == (ROWS, 3, 3)
    embed_corpus(encoder, texts, tmp_path / "workers", shard_rows=8, workers=2)
    for other in ("parts", "workers"):
        np.testing.assert_array_equal(vectors_of(tmp_path / other), vectors_of(whole))
        assert Manifest.read(tmp_path / other) == Manifest.read(whole)
    one_left = embed_corpus(encoder, texts, tmp_path / "left", shard_rows=8, part=(0, 2))
    assert one_left.rows is None  # a run without a part does what is missing
    assert embed_corpus(encoder, texts, tmp_path / "left", shard_rows=8).made == 3
    np.testing.assert_array_equal(vectors_of(tmp_path / "left"), vectors_of(whole))


def test_a_shard_can_be_made_anywhere(encoder, texts, tmp_path, monkeypatch):
    embed_corpus(encoder, texts, tmp_path / "whole", shard_rows=16)
    specs: list[ShardSpec] = []
    make = shards.make

    def kept(spec: ShardSpec, *others: Any) -> Any:
        specs.append(spec)
        return make(spec, *others)

    monkeypatch.setattr("simcse_kit.corpus.embedding.make", kept)
    embed_corpus(encoder, texts, tmp_path / "out", shard_rows=16)
    monkeypatch.chdir(tmp_path / "whole")
    spec = pickle.loads(pickle.dumps(specs[1]))
    (tmp_path / "out" / "shard-000001.parquet").unlink()
    shard = embed_shard(spec)  # with the model, which it loads by its name
    assert shard == Manifest.read(tmp_path / "out").shards[1]
    np.testing.assert_array_equal(vectors_of(tmp_path / "out"), vectors_of(tmp_path / "whole"))


def test_what_is_finished_is_neither_read_nor_made_again(encoder, texts, tmp_path, monkeypatch):
    out = tmp_path / "out"
    made: list[int] = []
    make = shards.make

    def interrupted(spec: ShardSpec, *others: Any) -> Any:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(spec.number)
        return make(spec, *others)

    monkeypatch.setattr("simcse_kit.corpus.embedding.make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed_corpus(encoder, texts, out, shard_rows=8)
    places: list[Any] = []
    blocks = TextStream.blocks

    def watched(self: TextStream, start: Any = None) -> Any:
        places.append(start)
        return blocks(self, start)

    monkeypatch.setattr(TextStream, "blocks", watched)
    monkeypatch.setattr("simcse_kit.corpus.embedding.make", make)
    done = embed_corpus(encoder, texts, out, shard_rows=8)
    assert (made, done.made, done.found) == ([0, 1, 2], 3, 3)
    assert [(place.row, place.line) for place in places] == [(24, 25)]
    assert embed_corpus(encoder, texts, out, shard_rows=8).made == 0 and len(places) == 1


@pytest.mark.parametrize("store", ["parquet", "npy"])
@pytest.mark.parametrize("damage", ["bits", "cut", "gone"])
def test_a_damaged_shard_is_made_again_and_said(encoder, texts, tmp_path, caplog, store, damage):
    out = tmp_path / "out"
    embed_corpus(encoder, texts, out, shard_rows=8, store=store)
    expected = vectors_of(out)
    file = out / (
        "shard-000002.parquet" if store == "parquet" or damage == "gone" else "vectors.npy"
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content if damage == "bits" else content[: len(content) // 2])
    with pytest.raises(InputError, match=r"the same `embed` again"):
        corpus = EmbeddedCorpus(out)
        corpus.check()
    caplog.set_level(logging.WARNING)
    done = embed_corpus(encoder, texts, out, shard_rows=8, store=store)
    assert "is damaged, and is embedded again" in caplog.text
    assert 1 <= done.made < 6 and done.rows == ROWS
    EmbeddedCorpus(out).check()
    np.testing.assert_array_equal(vectors_of(out), expected)


# ---- what is refused -----------------------------------------------------------------------------


def test_another_model_setting_or_input_is_refused_by_name(encoder, tiny_encoder, texts, tmp_path):
    out = tmp_path / "out"
    embed_corpus(encoder, texts, out, shard_rows=16)
    before = {path: path.read_bytes() for path in out.iterdir()}
    other = SentenceEncoder.from_pretrained(tiny_encoder("roberta"), pooling="mean", device="cpu")
    (tmp_path / "more.jsonl").write_text('{"text": "more"}')
    cases: list[tuple[str, tuple[Any, Any], dict[str, Any]]] = [
        ("holds embeddings by the model .*unit, not by .*roberta", (other, texts), {}),
        ("with the prompt '', not 'query: '", (encoder, texts), {"prompt": "query: "}),
        ("with normalized True, not False", (encoder, texts), {"normalize": False}),
        ("was begun with dimension 32, not 8", (encoder, texts), {"dimension": 8}),
        ("was begun with type fp32, not int8", (encoder, texts), {"type": "int8"}),
        ("was begun with shard rows 16, not 9", (encoder, texts), {"shard_rows": 9}),
        ("was begun with texts False, not True", (encoder, texts), {"texts": True}),
        ("was begun with store parquet, not npy", (encoder, texts), {"store": "npy"}),
        ("was begun without .*more.jsonl", (encoder, [texts, tmp_path / "more.jsonl"]), {}),
        ("was begun without .*more.jsonl and with .*texts", (encoder, tmp_path / "more.jsonl"), {}),
    ]
    for said, given, how in cases:
        with pytest.raises(InputError, match=said) as error:
            embed_corpus(*given, out, **{"shard_rows": 16, **how})
        assert "--overwrite" in error.value.command_line
    os.utime(texts, ns=(1, 1))
    with pytest.raises(InputError, match=r"was begun before .*texts.jsonl changed"):
        embed_corpus(encoder, texts, out, shard_rows=16)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert embed_corpus(other, texts, out, shard_rows=9, overwrite=True).made == 5
    assert EmbeddedCorpus(out).manifest.model.name == other.name


def test_bad_rows_may_be_let_pass_when_they_are_met(encoder, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,n\n" + "a,1\n" * 20 + "b\n,3\nc,4\n")
    with pytest.raises(InputError, match=r"a.csv:22: has 1 column where"):
        embed_corpus(encoder, path, tmp_path / "out", shard_rows=4)
    stream = TextStream(path, skip_bad_rows=1, blank="skip")
    done = embed_corpus(encoder, stream, tmp_path / "out", shard_rows=4)
    assert done.rows == 21
    assert EmbeddedCorpus(tmp_path / "out").numbers()[-2:].tolist() == [19, 22]


def test_rows_get_the_prompt_of_documents(encoder, texts, tmp_path):
    prompted = SentenceEncoder.from_pretrained(encoder.name, precision="fp32", device="cpu")
    prompted.prompts = {"query": "find: ", "passage": "text: "}
    embed_corpus(prompted, texts, tmp_path / "out", shard_rows=64)
    expected = prompted.encode_document(TEXTS)
    assert not np.allclose(expected, encoder.encode(TEXTS), atol=1e-3)
    np.testing.assert_allclose(vectors_of(tmp_path / "out"), expected, atol=1e-6)
    with pytest.raises(InputError, match="with the prompt 'text: ', not ''"):
        embed_corpus(prompted, texts, tmp_path / "out", shard_rows=64, prompt="")
    prompted.default_prompt = "query"  # the model's own, or what --prompt-name says
    with pytest.raises(InputError, match="with the prompt 'text: ', not 'find: '"):
        embed_corpus(prompted, texts, tmp_path / "out", shard_rows=64)


def test_what_is_made_of_blank_rows_stays_so(encoder, tmp_path, monkeypatch):
    path, out = tmp_path / "a.csv", tmp_path / "out"
    path.write_text("text,n\n" + "a,1\n" * 5 + ",2\n" + "b,1\n" * 5 + ",2\n" + "c,1\n" * 5)
    with pytest.raises(InputError, match=r"a.csv:7: has no text"):
        embed_corpus(encoder, path, out, shard_rows=4)

    def killed(spec: ShardSpec, *others: Any) -> Any:
        if spec.number:
            raise KeyboardInterrupt
        return shards.make(spec, *others)

    with monkeypatch.context() as patch:
        patch.setattr("simcse_kit.corpus.embedding.make", killed)
        with pytest.raises(KeyboardInterrupt):
            embed_corpus(encoder, TextStream(path, blank="skip"), out, shard_rows=4)
    for blank in ("keep", "error"):
        with pytest.raises(InputError, match=f"was begun with blank skip, not {blank}"):
            embed_corpus(encoder, TextStream(path, blank=blank), out, shard_rows=4)
    assert embed_corpus(encoder, TextStream(path, blank="skip"), out, shard_rows=4).rows == 15


def test_two_runs_on_one_output(encoder, texts, tmp_path):
    out = tmp_path / "out"
    embed_corpus(encoder, texts, out, shard_rows=16, part=(0, 3))
    with alone(out), pytest.raises(InputError, match="another run writes there; wait"):
        embed_corpus(encoder, texts, out, shard_rows=16)
    with alone(out, (1, 3)):
        with pytest.raises(InputError, match="another run makes part 1/3 there"):
            embed_corpus(encoder, texts, out, shard_rows=16, part=(1, 3))
        with pytest.raises(InputError, match="another run writes there"):
            embed_corpus(encoder, texts, out, shard_rows=16)
        assert embed_corpus(encoder, texts, out, shard_rows=16, part=(2, 3)).made == 1
    assert embed_corpus(encoder, texts, out, shard_rows=16).rows == ROWS


def test_parts_that_begin_together_are_of_one_manifest(encoder, texts, tmp_path, monkeypatch):
    """Two types at once: the first to come is begun with, the other is refused."""
    out, write, refused = tmp_path / "out", Manifest.write, list[str]()

    def slowly(self: Manifest, folder: Path) -> None:
        time.sleep(0.2)  # in which the other would find no manifest yet
        write(self, folder)

    def embed(number: int) -> None:
        kind: Any = ("fp32", "fp16")[number]
        try:
            embed_corpus(encoder, texts, out, shard_rows=16, part=(number, 2), type=kind)
        except InputError as error:
            refused.append(str(error))

    monkeypatch.setattr(Manifest, "write", slowly)
    threads = [threading.Thread(target=embed, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1 and "was begun with type" in refused[0]


def test_one_file_at_home(encoder, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    check_output(Path("~/out.npy"))
    embed_file(encoder, texts, "~/out.npy")
    assert np.load(tmp_path / "out.npy").shape == (ROWS, 32)


def test_a_refused_run_on_one_file_leaves_the_folder_of_the_other(encoder, texts, tmp_path):
    folder = tmp_path / ".out.npy.embedding"
    folder.mkdir()
    with alone(folder), pytest.raises(InputError, match="another run writes there"):
        embed_file(encoder, texts, tmp_path / "out.npy")
    assert folder.is_dir() and (folder / ".lock").is_file()
    embed_file(encoder, texts, tmp_path / "out.npy")
    assert not folder.exists() and np.load(tmp_path / "out.npy").shape == (ROWS, 32)
    with pytest.raises(InputError):
        embed_file(encoder, tmp_path / "none.txt", tmp_path / "other.npy")
    assert not (tmp_path / ".other.npy.embedding").exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"dimension": 33}, "dimension is 33; .* makes vectors of 32"),
        ({"type": "fp8"}, "type must be one of fp32, fp16, int8, binary, not 'fp8'"),
        ({"shard_rows": 0}, "shard_rows is 0; it must be 1 or more"),
        ({"workers": 0}, "workers is 0"),
        ({"part": (2, 2)}, r"part is \(2, 2\); it is \(i, n\)"),
        ({"part": (0, 2), "overwrite": True}, "overwrite would take away what other parts made"),
        ({"prompt_name": "none"}, "no prompt named 'none'"),
    ],
)
def test_settings_that_cannot_be(encoder, texts, tmp_path, how, said):
    with pytest.raises(InputError, match=said):
        embed_corpus(encoder, texts, tmp_path / "out", **how)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_folders_that_cannot_be(encoder, texts, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"holds other things \(letter.txt\) and no embeddings"):
        embed_corpus(encoder, texts, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    with pytest.raises(InputError, match="shards are written to a folder of this machine"):
        embed_corpus(encoder, texts, "s3://bucket/out")
    with pytest.raises(InputError, match="is a file"):
        embed_corpus(encoder, texts, texts / "out")
    for name, content in (("half", '{"format": 1, "mod'), ("strange", '{"format": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".lock").touch()  # a folder of ours
        (tmp_path / name / "manifest.json").write_text(content)
        with pytest.raises(InputError, match="is no manifest of embeddings that this version"):
            embed_corpus(encoder, texts, tmp_path / name)
        with pytest.raises(InputError, match="is no manifest of embeddings that this version"):
            EmbeddedCorpus(tmp_path / name)
        assert embed_corpus(encoder, texts, tmp_path / name, overwrite=True).rows == ROWS
    with pytest.raises(InputError, match=r"has no manifest.json; give a folder that"):
        EmbeddedCorpus(tmp_path / "mine")
    with pytest.raises(InputError, match="there is no such file or folder"):
        EmbeddedCorpus(tmp_path / "nothing")


def test_a_bare_array_is_a_corpus(encoder, tmp_path):
    vectors = encoder.encode(TEXTS)
    np.save(tmp_path / "e.npy", vectors)
    corpus = EmbeddedCorpus(tmp_path / "e.npy")
    assert isinstance(corpus.vectors, np.memmap) and corpus.dimension == 32
    np.testing.assert_array_equal(corpus.vectors[:], vectors)
    assert corpus.texts() is None and corpus.ids() is None and corpus.numbers([3]).tolist() == [3]
    corpus.check_model(encoder)
    np.save(tmp_path / "f.npy", vectors[0])
    with pytest.raises(InputError, match=r"holds float32 of shape \(32,\)"):
        EmbeddedCorpus(tmp_path / "f.npy")
    (tmp_path / "g.npy").write_text("text")
    with pytest.raises(InputError, match=r"is no .npy file that can be read"):
        EmbeddedCorpus(tmp_path / "g.npy")


def test_an_input_that_vanishes_or_changes_on_the_way(encoder, texts, tmp_path, monkeypatch):
    make = shards.make

    def vanishing(spec: ShardSpec, *others: Any) -> Any:
        texts.unlink(missing_ok=True)
        return make(spec, *others)

    monkeypatch.setattr("simcse_kit.corpus.embedding.make", vanishing)
    other = tmp_path / "other.txt"
    other.write_text("one\ntwo")
    stream = TextStream([other, texts])
    texts.unlink()
    with pytest.raises(InputError, match=r"texts.jsonl: no such file"):
        embed_corpus(encoder, stream, tmp_path / "out", shard_rows=8)


def test_the_encoder_of_a_corpus_is_asked_for(encoder, tiny_encoder, texts, tmp_path):
    embed_corpus(encoder, texts, tmp_path / "out")
    corpus = EmbeddedCorpus(tmp_path / "out")
    other = SentenceEncoder.from_pretrained(tiny_encoder("roberta"), pooling="mean", device="cpu")
    with pytest.raises(InputError, match=r"was embedded by .*unit .* which .*roberta .* is not"):
        corpus.check_model(other)
    loaded = corpus.manifest.model.load()
    np.testing.assert_array_equal(loaded.encode(TEXTS[:3]), encoder.encode(TEXTS[:3]))


@pytest.mark.slow
@pytest.mark.parametrize("store", ["parquet", "npy"])
def test_memory_is_that_of_a_shard(encoder, tmp_path, store, monkeypatch):
    monkeypatch.setattr("simcse_kit.data.lines._PIECE", 1 << 16)  # these files are small

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.txt"
        path.write_text("\n".join(f"the dog {n} and the cat {n % 1000}" for n in range(rows)))
        tracemalloc.start()
        embed_corpus(encoder, path, tmp_path / f"{store}-{rows}", shard_rows=2000, store=store)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2000)  # what is imported and kept for good
    assert peak(40_000) < 1.2 * peak(20_000)  # each more than the blocks that are read ahead


def test_a_text_at_fault_is_named_by_its_row(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    plain = encoder.encode

    def encode(texts: list[str], **how: Any) -> np.ndarray:
        if "bad" in texts:  # each distinct text is embedded once
            raise TextError(texts.index("bad"), "text {} is odd")
        return plain(texts, **how)

    monkeypatch.setattr(encoder, "encode", encode)
    (tmp_path / "texts.txt").write_text("a\nb\na\nb\na\na\nbad\nbad\n")
    with pytest.raises(InputError, match=r"^shard 1, row 6: text 6 is odd"):
        embed_corpus(encoder, tmp_path / "texts.txt", tmp_path / "kept", shard_rows=4)
