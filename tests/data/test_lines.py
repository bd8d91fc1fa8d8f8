"""Bytes to numbered lines: every break, mark and damage a real file brings."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import simcse_kit.data.lines
from simcse_kit.data.lines import text_blocks
from simcse_kit.errors import InputError


@pytest.fixture(params=[4, 7, 1 << 22], ids=lambda size: f"{size}-byte-pieces")
def any_piece_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simcse_kit.data.lines, "_PIECE", request.param)


def lines(path: Path) -> list[tuple[int, str]]:
    """Every line with its number, from blocks of whatever size."""
    return [
        (first + offset, line)
        for first, block in text_blocks(path)
        for offset, line in enumerate(block.removesuffix("\n").split("\n"))
    ]


@pytest.mark.usefixtures("any_piece_size")
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        "one\n\ntwo naïve 猫\nthree".encode(),
        "one\n\ntwo naïve 猫\nthree\n".encode(),
        "\ufeffone\n\ntwo naïve 猫\nthree\n".encode(),
        "one\n\ntwo naïve 猫\nthree\n".encode("utf-16"),
        b"\xfe\xff" + "one\n\ntwo naïve 猫\nthree\n".encode("utf-16-be"),
        "one\r\rtwo naïve 猫\rthree\r".encode(),
    ],
    ids=["plain", "final-newline", "bom", "utf-16-le", "utf-16-be", "old-mac"],
)
def test_lines_keep_their_numbers(tmp_path: Path, content: bytes, zipped: bool) -> None:
    # gzip is known by its content: a zipped file without .gz reads too
    path = tmp_path / "file.txt"
    path.write_bytes(gzip.compress(content) if zipped else content)
    assert lines(path) == [(1, "one"), (2, ""), (3, "two naïve 猫"), (4, "three")]


def test_unusual_characters_do_not_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("a\u2028b\x0bc\x1cd\u0085e\nf\n", encoding="utf-8", newline="")
    assert lines(path) == [(1, "a\u2028b\x0bc\x1cd\u0085e"), (2, "f")]


def test_empty_file_has_no_lines(tmp_path: Path) -> None:
    for name, content in [("a.txt", b""), ("b.txt.gz", b""), ("c.txt.gz", gzip.compress(b""))]:
        (tmp_path / name).write_bytes(content)
        assert lines(tmp_path / name) == []


@pytest.mark.usefixtures("any_piece_size")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\nfine\ncaf\xe9\n", "a.txt:3: byte 0xe9 is not UTF-8"),
        ("a.txt", b"fine\n\x00\x01\x02\n", "a.txt:2: holds a NUL byte, so it is a binary file"),
        ("a.txt", b"PK\x03\x04\x14\x00\x00", "a.txt:1: holds a NUL byte, so it is a binary file"),
        ("a.txt", b"\xff\xfea\x00\x00\xd8", "a.txt: begins as UTF-16 but does not go on so"),
        ("a.txt.gz", b"just text\n", "a.txt.gz: is named .gz but holds no gzip data"),
        ("a.txt.gz", gzip.compress(b"word " * 99)[:-12], "a.txt.gz: the gzip data ends too early"),
        ("a.txt.gz", gzip.compress(b"word")[:-8] + b"\1" * 8, "a.txt.gz: damaged or unreadable"),
        (
            "a.txt.gz",
            b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 40,
            "a.txt.gz: damaged or unreadable",
        ),
    ],
    ids=["latin-1", "nul", "zip", "utf-16", "not-gzip", "truncated", "bad-crc", "bad-stream"],
)
def test_damage_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        lines(path)
    assert str(error.value).startswith(str(tmp_path / message))


def test_a_binary_file_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights.txt"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte of NUL bytes
    with pytest.raises(InputError, match="NUL byte"):
        lines(path)
