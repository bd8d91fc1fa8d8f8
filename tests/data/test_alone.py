"""One process builds a folder and the others wait; without locks each has a place of its own."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcse_kit.data import KeptMatrix, alone


def test_what_is_built_is_found_again_and_the_lock_goes(tmp_path: Path) -> None:
    with alone(tmp_path / "deep" / "a") as first:
        assert {path.name for path in first.parent.iterdir()} == {".a.lock"}
    with alone(tmp_path / "deep" / "a") as again:
        assert again == first == tmp_path / "deep" / ".a.building"
    assert not list((tmp_path / "deep").iterdir())


def test_who_does_not_wait_is_told(tmp_path: Path) -> None:
    with alone(tmp_path / "a"):
        with pytest.raises(BlockingIOError), alone(tmp_path / "a", waits=False):
            raise AssertionError("two at once")
        assert (tmp_path / ".a.lock").is_file()
    with alone(tmp_path / "a", waits=False):
        pass
    assert not list(tmp_path.iterdir())


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.mark.usefixtures("no_locks")
def test_processes_of_one_number_on_two_machines_build_apart(tmp_path: Path) -> None:
    with alone(tmp_path / "a") as first, alone(tmp_path / "a") as second:
        assert first != second
        assert {first.parent, second.parent} == {tmp_path}


@pytest.mark.usefixtures("no_locks")
def test_a_matrix_is_kept_there_too(tmp_path: Path) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(6, 2)
    kept = KeptMatrix(tmp_path / "m", matrix.shape, np.float32, block=4)
    np.testing.assert_array_equal(kept.get(lambda start, end: matrix[start:end]), matrix)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
