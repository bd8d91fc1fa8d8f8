"""How many threads of the CPU a command takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from invoking import run
from simcse_kit.compute import threads
from simcse_kit.compute.threads import use_threads


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clean environment; afterwards it and torch are as they were."""
    before = torch.get_num_threads()
    for name in threads._VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is known, and put back
        monkeypatch.delenv(name)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("as_before")
def test_before_torch_is_loaded_and_after() -> None:
    program = (
        "from simcse_kit.compute.threads import use_threads; import sys\n"
        "use_threads(1); assert 'torch' not in sys.modules\n"
        "import torch; print(torch.get_num_threads())\n"
        "use_threads(3); print(torch.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "3"]


@pytest.mark.usefixtures("as_before")
def test_a_container_takes_what_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_share_of_time", lambda: 3)
    monkeypatch.setattr(threads, "_affinity", lambda: set(range(8)))
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    use_threads(None)
    assert torch.get_num_threads() == 3
    use_threads(2)  # the user's word goes before
    assert torch.get_num_threads() == 2
    use_threads(None)  # and now the environment has one
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("as_before")
def test_without_a_quota_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_share_of_time", lambda: None)
    monkeypatch.setattr(threads, "_affinity", lambda: None)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    torch.set_num_threads(5)
    use_threads(None)
    assert torch.get_num_threads() == 5
    assert not any(os.environ.get(name) for name in threads._VARIABLES)


def test_the_cores_a_process_may_use_are_fewest_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for cores, time, found in ((8, None, 8), (8, 3, 3), (2, 3, 2), (64, 64, None), (64, 99, None)):
        monkeypatch.setattr(threads, "_affinity", lambda cores=cores: set(range(cores)))
        monkeypatch.setattr(threads, "_share_of_time", lambda time=time: time)
        assert threads._quota() == found


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nothing known"}, None),
        ({}, None),
    ],
)
def test_a_containers_limit(tmp_path: Path, files: dict[str, str], cores: int | None) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert threads._share_of_time(tmp_path) == cores


@pytest.mark.usefixtures("as_before")
def test_on_the_command_line() -> None:
    assert run("--threads", 4, "recipes").exit_code == 0
    assert torch.get_num_threads() == 4
    wrong = run("--threads", 0, "recipes")
    assert wrong.exit_code == 2
    assert "--threads" in wrong.stderr and "equal to 1" in wrong.stderr
    assert torch.get_num_threads() == 4
