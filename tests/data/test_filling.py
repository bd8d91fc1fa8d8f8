"""A folder is filled by one at a time, and who fails takes away what is his alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from simcse_kit.data import filling, is_unfilled, move_into


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write(place: Path, text: str, *files: str) -> Path:
    for name in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def test_what_is_built_is_moved_and_nothing_else_stays(tmp_path: Path) -> None:
    folder = write(tmp_path / "deep" / "a", "of before", "kept", "b")
    write(folder / ".being-written.building", "of one that was killed", "half")
    with filling(folder) as aside:
        assert aside.parent == folder and not list(aside.iterdir())
        move_into(folder, write(aside / "built", "new", "b", "sub/c"))
        write(aside, "left", "rest")
    assert names(folder) == {"kept", "b", "sub/c"}
    assert (folder / "b").read_text() == "new" and (folder / "kept").read_text() == "of before"


@pytest.mark.parametrize("existed", [False, True])
def test_a_failure_leaves_what_there_was(tmp_path: Path, existed: bool) -> None:
    folder = tmp_path / "a"
    if existed:
        folder.mkdir()
    with pytest.raises(ZeroDivisionError), filling(folder) as aside:
        write(aside, "new", "b")
        1 / 0  # noqa: B018
    assert folder.exists() == existed and not (existed and list(folder.iterdir()))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [(), ("mine",)])
def test_files_that_cannot_all_be_moved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    before: tuple[str, ...],
) -> None:
    """Into a new folder none of them goes; what was there before stays in any case."""
    folder, replace = tmp_path / "a", os.replace
    write(folder, "of before", *before)

    def failing(source: Path, target: Path) -> None:
        if target.name == "c":
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(type(error)), filling(folder) as aside:
        move_into(folder, write(aside / "built", "new", "b", "c", "sub/d"))
    assert folder.exists() == bool(before)
    assert not before or names(folder) == {"mine", "b"}


def test_what_another_put_there_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), filling(tmp_path / "a"):
        write(tmp_path / "a", "not ours", "theirs")
        1 / 0  # noqa: B018
    assert names(tmp_path / "a") == {"theirs"}


def test_unfilled_is_a_folder_of_nothing_but_what_stands_aside(tmp_path: Path) -> None:
    with filling(tmp_path / "a") as aside:
        write(aside, "new", "b")
        assert is_unfilled(tmp_path / "a")
        write(tmp_path / "a", "new", ".hidden")
        assert not is_unfilled(tmp_path / "a")


def test_many_fill_one_new_folder_in_turn_though_every_other_fails(tmp_path: Path) -> None:
    """Each finds the folder with what all before it have put there, which none takes away."""
    folder = tmp_path / "a"
    found: list[set[str]] = []

    def fill(number: int) -> None:
        with filling(folder) as aside:
            found.append(names(folder) - {".being-written.lock"})
            if number % 2:
                raise ValueError(number)
            move_into(folder, write(aside / "built", "new", str(number)))

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fill, number) for number in range(40)]
        failed = [number for number, job in enumerate(jobs) if job.exception()]
    assert failed == [*range(1, 40, 2)]
    assert names(folder) == {str(number) for number in range(0, 40, 2)}
    assert all(a <= b for a, b in pairwise(found))


def test_all_that_fail_leave_nothing(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        with filling(tmp_path / "a"):
            raise ValueError(number)

    with ThreadPoolExecutor(8) as pool:
        jobs: list[Callable[[], object]] = [pool.submit(fail, each).exception for each in range(40)]
        assert all(isinstance(job(), ValueError) for job in jobs)
    assert not (tmp_path / "a").exists() or not list((tmp_path / "a").iterdir())
