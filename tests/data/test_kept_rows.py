"""Rows of a large file are those of `read_rows`, on disk, and read once."""

from __future__ import annotations

import gzip
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcse_kit.data import Rows, kept_rows, read_rows, row_parts, text_numbers
from simcse_kit.data.kept_rows import keep_rows
from simcse_kit.data.kept_texts import KeptColumns
from simcse_kit.errors import InputError

WORDS = ["a", "dog", "runs", "naïve", "猫", "😀", "zebra", "old", "song", "kitchen"]


@pytest.fixture(autouse=True)
def all_files_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "_LARGE", 0)
    monkeypatch.setattr(row_parts, "_PART", 7)


def texts(count: int, seed: int = 0) -> list[str]:
    """Some of them equal."""
    drawn = np.random.default_rng(seed).integers(0, len(WORDS), (count, 2))
    return [" ".join(WORDS[word] for word in row) for row in drawn]


def lines(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def json_lines(path: Path, rows: list[Any]) -> Path:
    return lines(path, *map(json.dumps, rows))


def plain(folder: Path) -> Path:
    return lines(folder / "a.txt", *texts(40))


def with_blank_lines(folder: Path) -> Path:
    some = texts(40)
    some[3] = some[4] = some[20] = some[39] = " "
    return lines(folder / "a.txt", "", *some)


def packed(folder: Path) -> Path:
    path = folder / "a.txt.gz"
    path.write_bytes(gzip.compress("\r\n".join(texts(30)).encode()))
    return path


def two_columns(folder: Path) -> Path:
    pairs = zip(texts(40, 1), texts(40, 2), strict=True)
    return lines(folder / "a.tsv", "anchor\tpositive", *map("\t".join, pairs))


def quoted(folder: Path) -> Path:
    rows = [f'"{one}, ""so""",{two}' for one, two in zip(texts(30), texts(30, 1), strict=True)]
    rows[11] = '"two\nlines",b'
    return lines(folder / "a.csv", "sent0,sent1", *rows)


def labelled(folder: Path) -> Path:
    rows = [{"text": t, "label": n % 3, "extra": n} for n, t in enumerate(texts(40))]
    return json_lines(folder / "a.jsonl", rows)


def scored(folder: Path) -> Path:
    rows = zip(texts(40, 1), texts(40, 1)[::-1], strict=True)
    scores = (f"{a}\t{b}\t{n % 5}.5" for n, (a, b) in enumerate(rows))
    return lines(folder / "a.tsv", "sentence1\tsentence2\tscore", *scores)


def with_documents(folder: Path) -> Path:
    ids = ["x", "", "x", "y", None, 7, 7.5]
    rows = [{"text": t, "document": ids[n % 7]} for n, t in enumerate(texts(40))]
    return json_lines(folder / "a.jsonl", rows)


def listed(folder: Path) -> Path:
    rows: list[dict[str, Any]] = []
    for n, text in enumerate(texts(40)):
        wrong = [f"no {n} {k}" for k in range((n * 7) % 4)]
        rows.append({"query": text, "pos": [f"yes {n}", "also"][: 1 + n % 2], "neg": wrong})
    return json_lines(folder / "a.jsonl", rows)


def listed_below(folder: Path) -> Path:
    """The first part has one negative each, and no list; the second lacks some."""
    rows: list[dict[str, Any]] = [
        {"anchor": f"{text} {n}", "positive": text, "negative": "no"}
        for n, text in enumerate(texts(40))
    ]
    rows[20]["negative"] = ["no", "nor", "neither"]
    rows[21]["negative"] = None
    return json_lines(folder / "a.jsonl", rows)


def lacking_above_lists(folder: Path) -> Path:
    path = listed_below(folder)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["negative"] = None
    return json_lines(path, rows)


def another_key_below(folder: Path) -> Path:
    rows: list[dict[str, Any]] = [{"text": text} for text in texts(40)]
    rows[30]["url"] = "x"
    return json_lines(folder / "a.jsonl", rows)


def document_below(folder: Path) -> Path:
    rows: list[dict[str, Any]] = [{"text": text} for text in texts(40)]
    rows[30]["document"] = "x"
    return json_lines(folder / "a.jsonl", rows)


def whole_list(folder: Path) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps([{"text": text} for text in texts(20)]))
    return path


def columnar(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wrong = [[f"no {n}"] * (n % 3) for n in range(40)]
    table = pa.table({"anchor": texts(40), "positive": texts(40, 1), "negative": wrong})
    pq.write_table(table, folder / "a.parquet", row_group_size=16)
    return folder / "a.parquet"


KINDS: list[Callable[[Path], Path]] = [
    *(plain, with_blank_lines, packed, two_columns, quoted, labelled, scored, with_documents),
    *(listed, listed_below, lacking_above_lists, another_key_below, document_below, whole_list),
    columnar,
]


def assert_same(kept: Rows, read: Rows) -> None:
    assert isinstance(kept.columns, KeptColumns) and len(kept) == len(read)
    assert [*kept.columns] == [*read.columns]
    for name, column in read.columns.items():
        assert [*kept.columns[name]] == column
        assert [kept.columns[name][place] for place in range(len(read))] == column
        assert kept.columns[name][3:9] == column[3:9] and kept.columns[name][-1] == column[-1]
        assert ("" in kept.columns[name]) == ("" in column)
    assert [*kept.texts()] == read.texts() and kept.texts()[2:50] == read.texts()[2:50]
    for name in ("kind", "source", "duplicates", "blank", "names"):
        assert getattr(kept, name) == getattr(read, name), name
    assert (kept.labels is None) == (read.labels is None)
    assert read.labels is None or [*(kept.labels or [])] == read.labels
    for name in ("scores", "numbers", "lines", "documents"):
        one, other = getattr(kept, name), getattr(read, name)
        assert (one is None) == (other is None), name
        if other is not None:
            np.testing.assert_array_equal(one, other, err_msg=name)
            assert one.dtype == other.dtype
    assert kept.content() == read.content()
    np.testing.assert_array_equal(kept.text_numbers(), text_numbers(read.texts()))
    assert [kept.where(row) for row in (0, 5)] == [read.where(row) for row in (0, 5)]


@pytest.mark.parametrize("part", [7, 1000])
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_rows_are_those_of_read_rows(
    make: Callable[[Path], Path], part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_parts, "_PART", part)
    path = make(tmp_path)
    read = read_rows(path)
    assert_same(keep_rows(path, tmp_path / "cache"), read)
    assert_same(keep_rows(path, tmp_path / "cache"), read)  # as they were kept
    assert [each.name[:5] for each in (tmp_path / "cache").iterdir()] == ["rows-"]


def test_sorting_in_parts_changes_no_number(tmp_path, monkeypatch):
    from simcse_kit.data import equal_texts

    monkeypatch.setattr(equal_texts, "_AT_ONCE", 3)
    for make in (plain, listed, with_documents):
        (tmp_path / make.__name__).mkdir()
        path = make(tmp_path / make.__name__)
        assert_same(keep_rows(path, tmp_path / "cache"), read_rows(path))


def test_hashes_are_read_a_bounded_number_of_times(tmp_path, monkeypatch):
    from simcse_kit.data import equal_texts

    reads, blocks = [], equal_texts._blocks
    monkeypatch.setattr(equal_texts, "_AT_ONCE", 2)
    monkeypatch.setattr(equal_texts, "_PARTS", 4)
    monkeypatch.setattr(equal_texts, "_blocks", lambda each: (reads.append(each), blocks(each))[1])
    given = [f"text {number % 37}" for number in range(100)]
    (tmp_path / "hashes").write_bytes(b"".join(equal_texts.hash_of(t.encode()) for t in given))
    count = equal_texts.number_equal([tmp_path / "hashes"], tmp_path / "numbers")
    numbers = np.fromfile(tmp_path / "numbers", np.int64).tolist()
    assert (count, numbers) == (37, [number % 37 for number in range(100)])
    assert len(reads) == 4 + 1  # each part, and once for the numbers


@pytest.mark.parametrize(
    "how",
    [
        {"columns": {"text": "body"}},
        {"columns": {"anchor": "title", "positive": "body"}},
        {"columns": {"text": "body"}, "skip_bad_rows": 2},
        {"columns": {"text": "2"}, "header": False},
    ],
)
def test_read_as_it_is_said(how, tmp_path):
    rows = [f"{one}\t{two}" for one, two in zip(texts(30), texts(30, 1), strict=True)]
    rows[12:12] = ["one cell alone"] if "skip_bad_rows" in how else []
    path = lines(tmp_path / "a.tsv", "title\tbody", *rows)
    kept = keep_rows(path, tmp_path / "cache", **how)
    assert_same(kept, read_rows(path, **how))
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [*texts(20), ""],
        ["text\tlabel", *(f"{text}\tx" for text in texts(20)), "a cell alone"],
        ["anchor\tpositive", *(f"{text}\tx" for text in texts(20)), "an anchor\t"],
        ["text\tlabel", *(f"{text}\tx" for text in texts(20)), "text\tnot a label"],
        [],
        ["text\tlabel"],
        ["title\tbody", "a\tb"],
    ],
)
def test_what_read_rows_refuses_is_refused_alike(rows, tmp_path):
    path = lines(tmp_path / ("a.txt" if rows[-1:] == [""] else "a.tsv"), *rows)
    try:
        read = read_rows(path)
    except InputError as error:
        with pytest.raises(InputError) as found:
            keep_rows(path, tmp_path / "cache")
        assert str(found.value) == str(error)
        assert not [*(tmp_path / "cache").iterdir()]
    else:
        assert_same(keep_rows(path, tmp_path / "cache"), read)


def test_the_second_time_the_file_is_not_read(tmp_path, monkeypatch, caplog):
    path = lines(tmp_path / "a.tsv", "anchor\tpositive\tscores", *(f"{t}\tx\t1" for t in texts(9)))
    with pytest.raises(InputError, match="scores"):  # in doubt
        keep_rows(path, tmp_path / "cache")
    path = lines(tmp_path / "a.jsonl", *(json.dumps({"text": f'["{t}"]'}) for t in texts(9)))
    first = keep_rows(path, tmp_path / "cache")
    assert "is a list as it is written" in caplog.text
    caplog.clear()

    def unread(*_: Any) -> Any:
        raise AssertionError("the file is read")

    monkeypatch.setattr(row_parts, "read_tables", unread)
    monkeypatch.setattr(kept_rows, "read_rows", unread)
    with caplog.at_level(logging.INFO, "simcse_kit.data"):
        again = keep_rows(path, tmp_path / "cache")
    assert [*again.texts()] == [*first.texts()] and again.content() == first.content()
    assert "is a list as it is written" in caplog.text and "read before and reused" in caplog.text
    monkeypatch.chdir(tmp_path)
    assert [*keep_rows("a.jsonl", Path("cache")).texts()] == [*first.texts()]


@pytest.mark.parametrize("how", ["size", "date"])
def test_a_file_that_changed_is_read_again(how, tmp_path):
    path = plain(tmp_path)
    before = path.stat()
    keep_rows(path, tmp_path / "cache")
    changed = path.read_text().replace("dog", "cat" if how == "date" else "horse")
    path.write_text(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (how == "date")))
    assert_same(keep_rows(path, tmp_path / "cache"), read_rows(path))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = plain(tmp_path)
    parts = kept_rows.parts_of

    def written_to(*given: Any) -> Any:
        yield from parts(*given)
        path.write_text("another\n")

    monkeypatch.setattr(kept_rows, "parts_of", written_to)
    with pytest.raises(InputError, match=r"a\.txt: changed while it was read"):
        keep_rows(path, tmp_path / "cache")
    assert not [*(tmp_path / "cache").iterdir()]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: os.truncate(folder / "text.texts", 9),
        lambda folder: (folder / "text.offsets").unlink(),
        lambda folder: (folder / "rows.json").write_text("{"),
        lambda folder: (folder / "rows.json").write_text("[1, 2]"),
        lambda folder: (folder / "rows.json").unlink(),
        lambda folder: (folder / "text_numbers.numbers").write_bytes(bytes(40 * 8)),
    ],
)
def test_what_is_damaged_is_read_again(damage, tmp_path, caplog):
    path = plain(tmp_path)
    keep_rows(path, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    damage(folder)
    assert_same(keep_rows(path, tmp_path / "cache"), read_rows(path))
    assert "is damaged" in caplog.text and [*(tmp_path / "cache").iterdir()] == [folder]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interruption_and_a_full_disk_leave_nothing(error, tmp_path, monkeypatch):
    path, written = plain(tmp_path), []
    add = kept_rows.WrittenRows.add

    def fails(self: Any, part: Any) -> None:
        if written:
            raise error
        written.append(part)
        add(self, part)

    monkeypatch.setattr(kept_rows.WrittenRows, "add", fails)
    expected = KeyboardInterrupt if error is KeyboardInterrupt else InputError
    with pytest.raises(expected) as found:
        keep_rows(path, tmp_path / "cache")
    assert error is KeyboardInterrupt or "the disk is full" in str(found.value)
    assert not [*(tmp_path / "cache").iterdir()]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match=r"cannot be kept in .*; choose another cache_dir"):
        keep_rows(plain(tmp_path), tmp_path / "cache")


def test_what_a_kill_left_is_replaced(tmp_path):
    path = plain(tmp_path)
    keep_rows(path, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    left = folder.rename(folder.with_name(f".{folder.name}.building"))
    (left / "rows.json").unlink()
    (left / "other.texts").write_text("x")
    assert_same(keep_rows(path, tmp_path / "cache"), read_rows(path))
    assert [*(tmp_path / "cache").iterdir()] == [folder]


def test_one_reads_and_the_others_wait(tmp_path, monkeypatch):
    path, read = plain(tmp_path), []
    begun = threading.Event()
    parts = kept_rows.parts_of

    def slow(*given: Any) -> Any:
        read.append(1)
        begun.set()
        threading.Event().wait(0.05)
        yield from parts(*given)

    monkeypatch.setattr(kept_rows, "parts_of", slow)
    found: list[Rows] = []
    ways = [
        threading.Thread(target=lambda: found.append(keep_rows(path, tmp_path / "cache")))
        for _ in range(3)
    ]
    ways[0].start()
    begun.wait()
    for way in ways[1:]:
        way.start()
    for way in ways:
        way.join()
    assert read == [1] and len(found) == 3
    for each in found:
        assert_same(each, read_rows(path))


def test_rows_go_to_another_process(tmp_path):
    rows = keep_rows(labelled(tmp_path), tmp_path / "cache")
    assert rows.columns["text"][0]  # its files are open
    there = pickle.loads(pickle.dumps(rows))
    assert_same(there, read_rows(tmp_path / "a.jsonl"))


def test_what_is_told_holds_for_these_rows_alone(tmp_path):
    rows = keep_rows(labelled(tmp_path), tmp_path / "cache")
    read = read_rows(tmp_path / "a.jsonl")
    other = ["x"] * len(rows)
    assert replace(rows, labels=other).content() == replace(read, labels=other).content()
    few = {"text": rows.columns["text"][:5]}
    kept, plain_rows = (replace(each, columns=few, labels=other[:5]) for each in (rows, read))
    assert kept.content() == plain_rows.content()
    np.testing.assert_array_equal(kept.text_numbers(), plain_rows.text_numbers())


def test_prompts_stand_before_texts_that_are_there(tmp_path):
    texts_of = keep_rows(listed(tmp_path), tmp_path / "cache").texts()
    assert not isinstance(texts_of, list)
    n = len(texts_of) // 5
    behind = texts_of.behind("q: ", *["d: "] * 4)  # type: ignore[attr-defined]
    plain_texts = [*texts_of]
    expected = [
        ("d: " if place >= n else "q: ") + text if text else ""
        for place, text in enumerate(plain_texts)
    ]
    assert [*behind] == expected and behind[n - 2 : n + 2] == expected[n - 2 : n + 2]
    assert [behind[place] for place in range(len(behind))] == expected
    assert behind.identity not in (texts_of.identity, texts_of.behind("q", "").identity)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(behind.filled(), [bool(text) for text in plain_texts])


@pytest.mark.parametrize("given", ["list", "small", "no cache"])
def test_what_is_not_large_is_in_memory(given, tmp_path, monkeypatch):
    path = plain(tmp_path)
    monkeypatch.setattr(kept_rows, "_LARGE", 1 << 20 if given == "small" else 0)
    source = texts(40) if given == "list" else path
    rows = keep_rows(source, None if given == "no cache" else tmp_path / "cache")
    assert type(rows.columns) is dict and not (tmp_path / "cache").exists()


_GROWTH = """
import sys, threading, time
from pathlib import Path
from simcse_kit.data.kept_rows import keep_rows

def own():
    held = dict(line.split(":") for line in open("/proc/self/status") if line[:3] in ("Rss", "VmR"))
    return int(held["RssAnon"].split()[0])

keep_rows.__globals__["_LARGE"] = 0
before, most, done = own(), 0, threading.Event()

def watch():
    global most
    while not done.wait(0.01):
        most = max(most, own())

watching = threading.Thread(target=watch)
watching.start()
rows = keep_rows(sys.argv[1], Path(sys.argv[2]))
rows.text_numbers()[-1], rows.texts()[-1], rows.content()
done.set(); watching.join()
print(len(rows), (most - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    found = []
    for count in (200_000, 1_600_000):
        path = tmp_path / f"{count}.txt"
        with path.open("w") as file:
            file.writelines(f"{n} {'a sentence of some length ' * 4}\n" for n in range(count))
        told = subprocess.run(
            [sys.executable, "-c", _GROWTH, path, tmp_path / "cache"],
            capture_output=True,
            text=True,
            check=True,
        )
        rows, mib = map(int, told.stdout.split())
        assert rows == count
        found.append(mib)
    assert found[1] < found[0] + 60, found  # of 170 MB of text, which were 300 MB as strings


def test_a_bar_knows_about_how_many_rows_there_are(tmp_path):
    from simcse_kit.data import TextStream

    assert TextStream(plain(tmp_path)).count() == 40
    assert TextStream(labelled(tmp_path)).count() == 40
    assert TextStream(two_columns(tmp_path)).count() == 41  # a header, too
    assert TextStream(whole_list(tmp_path)).count() is None


def test_without_locks_who_is_first_stays(tmp_path, monkeypatch):
    """Two build apart; the second to end finds the other's folder, which is open, and takes it."""
    import fcntl

    def refused(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    path, parts, others = plain(tmp_path), kept_rows.parts_of, list[Rows]()

    def slowly(*given: Any) -> Any:
        if not others:
            others.append(Rows("text", {"text": []}, None, None, "", 0, 0))  # not a second time
            others[0] = keep_rows(path, tmp_path / "kept")
        return parts(*given)

    monkeypatch.setattr(kept_rows, "parts_of", slowly)
    rows = keep_rows(path, tmp_path / "kept")
    assert [*others[0].columns["text"]] == [*rows.columns["text"]] == texts(40)
    assert len([*(tmp_path / "kept").iterdir()]) == 1
