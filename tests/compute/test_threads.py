"""How many threads of the CPU a command takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

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
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    use_threads(None)
    assert torch.get_num_threads() == 3
    use_threads(2)  # the user's word goes before
    assert torch.get_num_threads() == 2
    use_threads(None)  # and now the environment has one
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("as_before")
def test_without_a_quota_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 64)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    torch.set_num_threads(5)
    use_threads(None)
    assert torch.get_num_threads() == 5
    assert not any(os.environ.get(name) for name in threads._VARIABLES)


@pytest.mark.usefixtures("as_before")
def test_on_the_command_line() -> None:
    assert run("--threads", 4, "recipes").exit_code == 0
    assert torch.get_num_threads() == 4
    wrong = run("--threads", 0, "recipes")
    assert wrong.exit_code == 2
    assert "--threads" in wrong.stderr and "equal to 1" in wrong.stderr
    assert torch.get_num_threads() == 4
