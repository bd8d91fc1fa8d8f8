"""A matrix is computed once, whatever happens between: kills, damage, another process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from simcse_kit.data import KeptMatrix
from simcse_kit.errors import InputError

MATRIX = np.random.default_rng(0).standard_normal((23, 3)).astype(np.float16)


class Counting:
    """Gives rows of the matrix, and remembers which blocks it was asked for."""

    def __init__(self, stop: int | None = None) -> None:
        self.asked: list[int] = []
        self.stop = stop

    def __call__(self, start: int, end: int) -> np.ndarray:
        if start == self.stop:
            os.kill(os.getpid(), signal.SIGKILL)
        self.asked.append(start)
        return MATRIX[start:end]


def kept(folder: Path) -> KeptMatrix:
    return KeptMatrix(folder / "sub" / "a", MATRIX.shape, np.float16, block=5)


def killed_at(folder: Path, start: int) -> None:
    child = os.fork()
    if not child:
        kept(folder).get(Counting(stop=start))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_it_is_computed_once_and_mapped(tmp_path):
    first, again = Counting(), Counting()
    np.testing.assert_array_equal(kept(tmp_path).get(first), MATRIX)
    found = kept(tmp_path).get(again)
    np.testing.assert_array_equal(found, MATRIX)
    assert first.asked == [0, 5, 10, 15, 20] and not again.asked
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


def test_a_killed_process_leaves_its_blocks(tmp_path):
    killed_at(tmp_path, 15)
    assert kept(tmp_path).found() is None
    killed_at(tmp_path, 20)  # the second goes on, and dies later
    rows = Counting()
    np.testing.assert_array_equal(kept(tmp_path).get(rows), MATRIX)
    assert rows.asked == [20]
    assert {each.name for each in (tmp_path / "sub").iterdir()} == {"a"}


@pytest.mark.parametrize(
    ("damage", "asked"),
    [
        (lambda place: (place / "done").write_text("no number\n"), [0, 5, 10, 15, 20]),
        (lambda place: (place / "done").open("a").write("12"), [15, 20]),  # half of a line
        (lambda place: os.truncate(place / "numbers", 9), [0, 5, 10, 15, 20]),
        (lambda place: flip(place / "numbers", 5 * 6 + 1), [5, 10, 15, 20]),
    ],
)
def test_blocks_that_do_not_read_back_are_computed_again(tmp_path, damage, asked):
    killed_at(tmp_path, 15)
    damage(tmp_path / "sub" / ".a.building")
    rows = Counting()
    np.testing.assert_array_equal(kept(tmp_path).get(rows), MATRIX)
    assert rows.asked == asked


def flip(path: Path, place: int) -> None:
    held = bytearray(path.read_bytes())
    held[place] ^= 1
    path.write_bytes(held)


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: flip(place / "numbers", 40),
        lambda place: os.truncate(place / "numbers", 40),
        lambda place: (place / "numbers").unlink(),
        lambda place: (place / "meta.json").write_text("{"),
        lambda place: (place / "meta.json").write_text('{"crc32": [1]}'),
    ],
)
def test_what_is_damaged_is_computed_again(tmp_path, damage, caplog):
    kept(tmp_path).get(Counting())
    damage(tmp_path / "sub" / "a")
    rows = Counting()
    np.testing.assert_array_equal(kept(tmp_path).get(rows), MATRIX)
    assert rows.asked == [0, 5, 10, 15, 20]


def test_one_computes_and_the_others_wait(tmp_path):
    asked, found = [], []
    first = threading.Event()

    def rows(start: int, end: int) -> np.ndarray:
        asked.append(start)
        first.set()
        waiting.wait(0.05)
        return MATRIX[start:end]

    waiting = threading.Event()
    threads = [
        threading.Thread(target=lambda: found.append(kept(tmp_path).get(rows))) for _ in range(3)
    ]
    threads[0].start()
    first.wait()
    for each in threads[1:]:
        each.start()
    for each in threads:
        each.join()
    assert asked == [0, 5, 10, 15, 20]  # by one of them
    for each in found:
        np.testing.assert_array_equal(each, MATRIX)


@pytest.mark.parametrize("rows", [0, 1, 5, 10])
def test_any_number_of_rows(tmp_path, rows):
    matrix = KeptMatrix(tmp_path / "a", (rows, 3), np.float16, block=5)
    np.testing.assert_array_equal(matrix.get(lambda start, end: MATRIX[start:end]), MATRIX[:rows])
    np.testing.assert_array_equal(matrix.found(), MATRIX[:rows])


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "sub").write_text("a file")
    with pytest.raises(InputError, match=r"nothing can be kept in .*choose another cache_dir"):
        kept(tmp_path).get(Counting())
