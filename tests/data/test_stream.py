"""Inputs read block by block: the rows that `read_rows` gives, from any of them on."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simcse_kit.data import Block, Place, TextStream, read_rows, stream
from simcse_kit.errors import InputError

TEXTS = [f'text {n}, of "many"' if n % 5 else "" for n in range(1, 42)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_BLOCK", 7)


def parquet(groups: int = 10) -> bytes:
    out = io.BytesIO()
    ids = [f"d{n}" for n in range(len(TEXTS))]
    table = pa.table({"other": range(len(TEXTS)), "text": [t or None for t in TEXTS], "id": ids})
    pq.write_table(table, out, row_group_size=groups)
    return out.getvalue()


def quoted(separator: str) -> str:
    lines = [f"id{separator}text"]
    for number, text in enumerate(TEXTS):
        if number % 11 == 3:
            lines.append("")  # a blank line is no row of two columns
        doubled = text.replace('"', '""').replace(",", ",\n" if number % 7 == 1 else ",")
        lines.append(f'{number}{separator}"{doubled}"')
    return "\n".join(lines) + "\n"


def records() -> str:
    lines = [
        json.dumps({"text": text} | ({"id": n} if n > 20 else {})) for n, text in enumerate(TEXTS)
    ]
    lines.insert(9, "")
    lines.insert(13, json.dumps({"nothing": None}))
    return "\n".join(lines)


CONTENTS: dict[str, str | bytes] = {
    "a.txt": "\r\n".join(TEXTS),
    "utf16.txt": "\n".join(TEXTS).encode("utf-16"),
    "mark.txt": "\ufeff" + "\n".join(TEXTS),
    "returns.txt": "\r".join(TEXTS),
    "a.csv": quoted(","),
    "quoted.tsv": quoted("\t"),
    "plain.tsv": "text\tid\n" + "\n".join(f"{text}\t{n}" for n, text in enumerate(TEXTS)),
    "one.csv": "text\n" + "\n".join(text.split(",")[0] for text in TEXTS),
    "a.jsonl": records(),
    "arrays.jsonl": "\n".join(json.dumps([text]) for text in TEXTS),
    "list.json": json.dumps([{"text": text, "id": n} for n, text in enumerate(TEXTS)]),
    "lines.json": records(),
    "a.parquet": parquet(),
    "one-group.parquet": parquet(10_000),
}


def packed(content: str | bytes, how: str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    if how == ".gz":
        return gzip.compress(raw)
    return bytes(pa.compress(raw, codec="zstd", asbytes=True)) if how else raw


def flat(blocks: list[Block]) -> list[tuple[int, str, str | None, int | None]]:
    return [
        (
            block.before + int(block.numbers[row]),
            block.texts[row],
            block.ids[row] if block.ids else None,
            None if block.lines is None else int(block.lines[row]),
        )
        for block in blocks
        for row in range(len(block))
    ]


def whole(path: Path, **how: Any) -> list[tuple[int, str, str | None, int | None]]:
    """The oracle: all at once."""
    rows = read_rows(path, wanted=["text"], beside=["id"], **how)
    numbers = range(len(rows)) if rows.numbers is None else rows.numbers
    ids = rows.columns.get("id", [None] * len(rows))
    lines = [None] * len(rows) if rows.lines is None else map(int, rows.lines)
    return list(zip(map(int, numbers), rows.columns["text"], ids, lines, strict=True))


@pytest.mark.parametrize("how", ["", ".gz", ".zst"])
@pytest.mark.parametrize("blank", ["keep", "skip"])
@pytest.mark.parametrize("name", CONTENTS)
def test_the_rows_of_a_stream_are_those_of_the_file(name, blank, how, tmp_path):
    path = tmp_path / f"{name}{how}"
    path.write_bytes(packed(CONTENTS[name], how))
    blocks = list(TextStream(path, blank=blank).blocks())
    expected = whole(path, blank=blank)
    found = flat(blocks)
    if name in ("a.jsonl", "lines.json"):  # ids that come later: none above, and not ""
        expected = [(n, text, row_id or None, line) for n, text, row_id, line in expected]
        found = [(n, text, row_id or None, line) for n, text, row_id, line in found]
    assert found == expected
    assert len(blocks) > 3


@pytest.mark.parametrize("name", CONTENTS)
def test_a_stream_begins_at_any_row(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(packed(CONTENTS[name], ""))
    source = TextStream(path, blank="skip")
    blocks = list(source.blocks())
    rows = [(block, row) for block in blocks for row in range(len(block))]
    everything = [row[:2] for row in flat(blocks)]
    for number in range(0, len(rows), 3):
        block, row = rows[number]
        found = flat(list(source.blocks(block.place(row))))
        assert [each[:2] for each in found] == everything[number:]
        assert found[0][3] == (None if block.lines is None else block.lines[row])


#: Keys of the first rows of a .jsonl, and of those below.
KEYS = [
    (["id", "text"], ["text", "id"]),
    (["text"], ["lang", "text"]),
    (["id", "text"], ["text"]),
    (["id", "lang", "text"], ["text", "more"]),
]


@pytest.mark.parametrize("packing", ["{}", "[{}]"])
@pytest.mark.parametrize(("above", "below"), KEYS)
def test_a_column_is_its_key_wherever_a_stream_begins(above, below, packing, tmp_path):
    rows = [{key: f"{key} {n}" for key in (above if n < 9 else below)} for n in range(30)]
    path = tmp_path / ("a.jsonl" if packing == "{}" else "a.json")
    form = "\n" if packing == "{}" else ",\n"
    path.write_text(packing.format(form.join(map(json.dumps, rows))))
    source = TextStream(path)
    blocks = list(source.blocks())
    assert [text for _, text, *_ in flat(blocks)] == [f"text {n}" for n in range(30)]
    for block in blocks:
        for row in range(len(block)):
            start = block.place(row)
            found = flat(list(source.blocks(start)))
            assert [each[:2] for each in found] == [(n, f"text {n}") for n in range(start.row, 30)]
            assert [each[2] or None for each in found] == [
                rows[n].get("id") for n in range(start.row, 30)
            ]


#: What readers choke on, put together by chance.
pieces = st.lists(
    st.sampled_from(["a", '"', ",", "\t", "\n", "\r\n", " ", "text", "id", '""', "b c", "\n\n"]),
    max_size=40,
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    parts=pieces,
    name=st.sampled_from(["a.txt", "a.csv", "a.tsv", "a.jsonl"]),
    header=st.booleans(),
)
def test_whatever_a_file_holds_is_read_alike(parts, name, header, tmp_path):
    content = "".join(parts)
    if name == "a.jsonl":
        content = "\n".join(json.dumps({part.strip() or "text": part}) for part in parts)
    path = tmp_path / name
    path.write_text(
        ("id,text\n".replace(",", "\t" * (name == "a.tsv") or ",") if header else "") + content
    )
    results = []
    for read in (whole, lambda path, **how: flat(list(TextStream(path, **how).blocks()))):
        try:
            found = read(path, blank="keep", skip_bad_rows=3)
            results.append([(n, text, row_id or None, line) for n, text, row_id, line in found])
        except InputError:
            results.append(None)
    assert results[0] == results[1]


def test_several_inputs_and_patterns_follow_each_other(tmp_path):
    for name in ("b-2.txt", "b-10.txt", "c.csv"):
        (tmp_path / name).write_text("text\none\ntwo\n" if name == "c.csv" else f"{name}\n")
    (tmp_path / "empty.txt").write_text("")
    found = TextStream([tmp_path / "b-*.txt", tmp_path / "empty.txt", tmp_path / "c.csv"])
    names = [Path(source).name for source in found.sources]
    assert names == ["b-10.txt", "b-2.txt", "empty.txt", "c.csv"]
    assert [row[:2] for row in flat(list(found.blocks()))] == [
        *((0, "b-10.txt"), (1, "b-2.txt"), (2, "one"), (3, "two"))
    ]
    last = list(found.blocks())[-1].place(1)
    assert (last.source, last.row, last.line, last.before) == (3, 1, 3, 2)
    assert flat(list(found.blocks(last)))[0][:2] == (3, "two")


def test_the_file_whose_name_holds_a_bracket_is_itself(tmp_path):
    (tmp_path / "a[1].txt").write_text("one")
    assert flat(list(TextStream(tmp_path / "a[1].txt").blocks()))[0][1] == "one"


def test_urls_are_read_where_they_lie(tmp_path):
    memory = fsspec.filesystem("memory")
    for name in ("a.parquet", "b.jsonl.gz"):
        content = parquet() if name == "a.parquet" else packed(records(), ".gz")
        memory.pipe(f"/corpus/{name}", content)
        (tmp_path / name).write_bytes(content)
    far = flat(list(TextStream("memory://corpus/*", blank="keep").blocks()))
    near = flat(list(TextStream(str(tmp_path / "*"), blank="keep").blocks()))
    assert far == near and len(far) == 2 * len(TEXTS) + 1
    url = f"file://{tmp_path}/a.parquet"
    assert whole(url, blank="keep") == whole(tmp_path / "a.parquet", blank="keep")
    assert TextStream(url).states()[0]["size"] == (tmp_path / "a.parquet").stat().st_size


def saved_dataset(folder: Path) -> Path:
    """As `datasets` saves one, but for what the data are."""
    (folder / "train").mkdir(parents=True)
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    for name in ("state.json", "dataset_info.json", "data-00000-of-00001.arrow"):
        (folder / "train" / name).write_text("{}")
    return folder


def test_no_output_lies_in_a_dataset_that_is_read(tmp_path):
    source = TextStream(saved_dataset(tmp_path / "ds"))
    for output in ("ds/vectors", "ds/e.npy", "ds/train/deep/e.npy", "ds/../ds/e.npy"):
        with pytest.raises(InputError, match=r"it lies in .*ds, a folder that is read; give ano"):
            source.check_apart(tmp_path / output)
    for output in ("ds.npy", "vectors", "dss/e.npy"):
        source.check_apart(tmp_path / output)


def test_what_lies_beside_the_data_of_a_dataset_is_no_part_of_them(tmp_path):
    folder = saved_dataset(tmp_path / "ds")
    source = TextStream(folder)
    states = source.states()
    for name in ("train/cache-1.arrow", "train/tmp1.arrow", "vectors-0.npy", "tokens/a.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("of others")
    assert source.states() == states and not source.changed(states)
    (folder / "train/data-00000-of-00001.arrow").write_text("other rows")
    assert source.changed(states) == [str(folder)]


def test_a_pipe_is_read_again(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("\n".join(TEXTS),))
    writer.start()
    source = TextStream(pipe)
    first, state = flat(list(source.blocks())), source.states()
    writer.join()
    assert flat(list(source.blocks())) == first and source.states() == state
    assert [text for _, text, *_ in first] == TEXTS


def test_bad_rows_are_named_or_left_out_wherever_they_stand(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,text\n" + "".join(f"{n},t{n}\n" for n in range(30)) + "x,y,z\n7,last\n")
    with pytest.raises(InputError, match=r"a.csv:32: has 3 columns where line \d+ has 2"):
        list(TextStream(path).blocks())
    found = flat(list(TextStream(path, skip_bad_rows=1).blocks()))
    assert found == whole(path, skip_bad_rows=1, blank="error")
    assert found[-1][:3] == (31, "last", "7")


REFUSED: dict[str, tuple[str, str, str]] = {
    "a header again": (
        "a.csv",
        "text,n\n" + "a,1\n" * 20 + "text,b\n",
        r"may be none, for 'text' stands in .*a.csv:22",
    ),
    "a blank text": ("a.csv", "text,n\n" + "a,1\n" * 20 + ",3\n", r"a.csv:22: has no text"),
    "no json": ("a.jsonl", '{"text": "a"}\n' * 20 + "{\n", r"a.jsonl:21: is not valid JSON"),
    "two texts": (
        "a.jsonl",
        '{"text": "a"}\n' * 20 + '{"text": "a", "sentence": "b"}\n',
        r"'text' and 'sentence' both mean text",
    ),
    "not text": ("a.jsonl", '{"text": "a"}\n' * 20 + '{"text": [1]}\n', r"a.jsonl:21: text is"),
    "no utf-8": ("a.txt", "é\n" * 30_000 + "\udcff", r"a.txt:30001: byte 0xff is not UTF-8"),
    "no rows": ("a.csv", "text\n", r"a.csv: holds no rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_far_below_is_named(case, tmp_path):
    name, content, said = REFUSED[case]
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=said):
        list(TextStream(tmp_path / name).blocks())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.txt", "none.txt: no such file"),
        ("none-*.txt", "no file matches this pattern"),
        ("memory://none.txt", "memory://none.txt: no such file; check the URL"),
        ("noway://a.txt", "'noway' is no protocol"),
        ("s3://user:secret@bucket/a.txt", r"^s3://bucket/a.txt"),
    ],
)
def test_inputs_that_are_not_there(name, said, tmp_path):
    with pytest.raises(InputError, match=said) as error:
        list(TextStream(name if "://" in name else tmp_path / name).blocks())
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("cut", [3, 200])
def test_packed_files_that_are_damaged(cut, tmp_path):
    content = packed("\n".join(map(str, range(100_000))), ".zst")
    path = tmp_path / "a.txt.zst"
    path.write_bytes(content[:-cut])
    with pytest.raises(InputError, match=r"a.txt.zst: the zstd data ends too early"):
        list(TextStream(path).blocks())
    path.write_bytes(b"no zstd")
    with pytest.raises(InputError, match=r"is named .zst but holds no zstd data"):
        list(TextStream(path).blocks())


@pytest.mark.parametrize("content", [parquet()[:-9], gzip.compress(parquet()), b""])
def test_the_rows_of_a_damaged_parquet_are_not_counted(content, tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert TextStream(path).count() is None
    path.write_bytes(parquet())
    assert TextStream(path).count() == len(TEXTS)


@pytest.mark.parametrize("write", ["txt", "csv", "jsonl", "parquet"])
def test_memory_is_that_of_some_blocks(write, tmp_path, monkeypatch):
    """Twelve times the rows in (nearly) the same memory."""
    monkeypatch.setattr(stream, "_BLOCK", 1000)

    def peak(count: int) -> int:
        texts = [f"text {number} " + "word " * 40 for number in range(count)]
        path = tmp_path / f"{count}.{write}"
        if write == "parquet":
            pq.write_table(pa.table({"text": texts}), path)
        else:
            form: Callable[[str], str] = (
                (lambda text: json.dumps({"text": text})) if write == "jsonl" else str
            )
            path.write_text("text\n" * (write == "csv") + "\n".join(map(form, texts)))
        del texts
        tracemalloc.start()
        for _ in TextStream(path).blocks():
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    monkeypatch.setattr("simcse_kit.data.lines._PIECE", 1 << 16)
    assert peak(36_000) < 1.5 * peak(3000) + 200_000


def test_rows_are_numbered_by_what_stands_above(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(TEXTS))
    numbers = np.concatenate([block.numbers for block in TextStream(path, blank="skip").blocks()])
    assert numbers.tolist() == [n for n, text in enumerate(TEXTS) if text]


def test_an_id_goes_along_where_only_the_text_is_mapped(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("docno,_id,body\nx,1,one\ny,2,two\n")
    found = flat(list(TextStream(path, columns={"text": "body"}).blocks()))
    assert [row[1:3] for row in found] == [("one", "1"), ("two", "2")]
    found = flat(list(TextStream(path, columns={"text": "body", "id": "docno"}).blocks()))
    assert [row[1:3] for row in found] == [("one", "x"), ("two", "y")]


def test_a_batch_that_comes_in_pieces(tmp_path, monkeypatch):
    """Arrow cuts a batch of more than 2 GiB of text; no row may be lost, nor move."""
    texts = [f"text {n}" for n in range(50)]
    table = pa.table({"text": texts, "id": [str(n) for n in range(50)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=30)
    whole = pq.ParquetFile.iter_batches

    def in_pieces(self, *given, columns=None, **how):
        for batch in whole(self, *given, columns=columns, **how):
            size = 3 if columns == ["text"] else 5
            yield from (batch.slice(start, size) for start in range(0, len(batch), size))

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", in_pieces)
    pieces = TextStream(tmp_path / "a.parquet")
    for start in (None, Place(row=17), Place(row=44)):
        blocks = [*pieces.blocks(start)]
        first = 0 if start is None else start.row
        assert [text for block in blocks for text in block.texts] == texts[first:]
        assert [int(each) for block in blocks for each in block.ids] == [*range(first, 50)]


def test_a_pipe_for_which_there_is_no_room(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simcse_kit.data.lines.shutil.copyfileobj", full)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\n")))
    with pytest.raises(InputError, match=r"-: cannot be copied to .*: the disk is full.* TMPDIR"):
        TextStream("-").states()


@pytest.mark.parametrize("named", [False, True])
def test_a_killed_process_leaves_no_copy_of_a_pipe(named, tmp_path, monkeypatch):
    """Where the system lets open files be without a name; elsewhere the copy goes at the end."""
    if named:
        monkeypatch.setattr("simcse_kit.data.lines._OPEN_FILES", tmp_path / "nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(parquet())))
    piped = TextStream("-", blank="keep", file_format="parquet")
    assert len([*tmp_path.iterdir()]) == 0
    for _ in range(2):  # as a parquet file, which is sought in, twice
        assert [text for block in piped.blocks() for text in block.texts] == TEXTS
    assert len([*tmp_path.iterdir()]) == (1 if named else 0)
    before = piped.states()
    assert before == piped.states() and before[0]["size"] == len(parquet())


def test_lines_of_a_large_file_are_counted_about(tmp_path, monkeypatch):
    lines = "".join(f"text {n:06}\n" for n in range(10_000)).encode()
    plain, packed = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    plain.write_bytes(lines)
    packed.write_bytes(gzip.compress(lines, compresslevel=1))
    assert [TextStream(path).count() for path in (plain, packed)] == [10_000, 10_000]
    read, pieces = [], stream.byte_pieces

    def watched(path):
        for piece in pieces(path):
            read.append(len(piece))
            yield piece

    monkeypatch.setattr(stream, "byte_pieces", watched)
    monkeypatch.setattr(stream, "_COUNTED", 8000)
    monkeypatch.setattr("simcse_kit.data.lines._PIECE", 1 << 10)
    assert TextStream(plain).count() == pytest.approx(10_000, rel=0.01)
    assert sum(read) <= 2 << 10
    assert TextStream(packed).count() is None and TextStream([plain, packed]).count() is None
