"""Files are whole or not there, and a full disk is said in one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from simcse_kit.data.atomic import disk_errors, leftovers, replacing, take_room
from simcse_kit.errors import InputError, explain, no_room
from small_disk import files_of_at_most, mounted

MANY = 200_000


def _plain(path: Path) -> None:
    path.write_bytes(b"x" * MANY)


def _torch(path: Path) -> None:
    torch.save(torch.zeros(MANY), path)


def _safetensors(path: Path) -> None:
    save_file({"x": torch.zeros(MANY)}, path)


def _parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": np.random.default_rng(0).random(MANY)}), path)


def _picture(path: Path) -> None:
    import matplotlib.figure

    noise = np.random.default_rng(0).random((300, 300, 3))
    figure = matplotlib.figure.Figure()
    figure.add_subplot().imshow(noise, interpolation="none")
    figure.savefig(path, format="png", dpi=300)


def test_two_that_write_one_file_do_not_meet(tmp_path):
    """With equal process ids, as containers that share a disk have them."""
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second" and leftovers(tmp_path) == [first]
    assert path.read_text() == "first" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("write", [_plain, _torch, _safetensors, _parquet, _picture])
@pytest.mark.parametrize("disk", ["small", "limited"])
def test_whoever_writes_a_full_disk_is_one_sentence(tmp_path, write, disk):
    """What was there stays, and nothing half-written is left."""
    place = tmp_path / "disk"
    if disk == "small":
        context = mounted(place, 100_000)
    else:
        place.mkdir()
        context = files_of_at_most(100_000)
    with context:
        path = place / "file"
        path.write_text("before")
        says = f"cannot write {path}: the disk is full"
        with pytest.raises(InputError, match=says), replacing(path) as aside:
            write(aside)
        assert path.read_text() == "before" and list(place.iterdir()) == [path]


def test_links_and_devices_stay_what_they_are(tmp_path):
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    target.parent.mkdir()
    target.write_text("before")
    link.symlink_to(target)
    with replacing(link) as aside:
        aside.write_text("after")
    assert link.is_symlink() and target.read_text() == "after"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as aside:
        aside.write_text("said")
    assert os.read(reader, 9) == b"said" and pipe.is_fifo()
    os.close(reader)
    full = Path("/dev/full")
    says = "cannot write /dev/full: the disk is full"
    with pytest.raises(InputError, match=says), replacing(full) as aside:
        aside.write_text("lost")
    assert full.is_char_device()


def test_other_errors_are_what_they_were(tmp_path):
    for error in (OSError(errno.EACCES, "denied"), RuntimeError("a bug"), InputError("wrong")):
        with pytest.raises(type(error)) as found, disk_errors(tmp_path):
            raise error
        assert found.value is error
        assert not no_room(error)


def test_a_command_says_so_too():
    full = OSError(errno.ENOSPC, "No space left on device")
    assert explain(full).startswith("nothing more can be written: the disk is full")
    full.filename = "/data/x"
    assert explain(full).startswith("/data/x: the disk is full")


def test_room_is_taken_beforehand(tmp_path, monkeypatch):
    path = tmp_path / "file"
    take_room(path, 50_000)
    assert path.stat().st_size == 50_000 and path.stat().st_blocks * 512 >= 50_000
    with files_of_at_most(100_000), pytest.raises(OSError, match="too large"):
        take_room(path, 100_001)
    with mounted(tmp_path / "disk", 100_000) as disk, pytest.raises(OSError, match="No space"):
        take_room(disk / "file", 200_000)

    def cannot(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr("os.posix_fallocate", cannot)
    take_room(path, 10**15)  # a file system that promises nothing


def test_leftovers_are_those_of_files_being_written(tmp_path):
    for name in (".run.json.77.part", "run.json", "mine.part", ".hidden"):
        (tmp_path / name).touch()
    assert [path.name for path in leftovers(tmp_path)] == [".run.json.77.part"]
