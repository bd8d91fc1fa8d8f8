"""Work in a process of its own: what it returns, raises and hears; its memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import own_work
from simcse_kit.compute import peak_memory
from simcse_kit.errors import InputError
from simcse_kit.training.runs.interrupting import Interrupted
from simcse_kit.training.runs.own_process import in_own_process


def wait_for(found: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_comes_back_and_what_is_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    much = np.ones(1 << 26)  # half a gigabyte that the child is not to be charged with
    told = in_own_process(own_work.told, 21, called="the work")
    assert told["twice"] == 42 and told["pid"] == told["group"] != os.getpid()
    assert told["threads"] == torch.get_num_threads() and told["argv"] == sys.argv
    assert 0 < int(told["peak"]) < much.nbytes <= peak_memory()
    found = capfd.readouterr()
    assert "what a library prints" in found.err and not found.out


def test_what_it_raises_is_raised_here() -> None:
    with pytest.raises(InputError) as mistake:
        in_own_process(own_work.mistaken, called="the work")
    assert str(mistake.value) == "a mistake" and mistake.value.command_line == "--a mistake"
    with pytest.raises(KeyError, match="where") as bug:
        in_own_process(own_work.buggy, called="the work")
    assert "own_work.py" in str(bug.value.__cause__), "the traceback of the other process"
    with pytest.raises(InputError, match="the process of the work was killed by SIGKILL; is"):
        in_own_process(own_work.killed, called="the work")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_once(tmp_path: Path, number: signal.Signals) -> None:
    def interrupt() -> None:
        wait_for((tmp_path / "begun").is_file)
        time.sleep(0.1)
        os.kill(os.getpid(), number)

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="saved step 3") as end:
        in_own_process(own_work.interrupted_after, str(tmp_path), called="the work")
    assert end.value.number == number and (tmp_path / "saved").is_file()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
def test_it_ends_when_the_process_that_began_it_is_killed(tmp_path: Path) -> None:
    script = (
        "from simcse_kit.training.runs.own_process import in_own_process\nimport own_work\n"
        f"in_own_process(own_work.interrupted_after, {str(tmp_path)!r}, called='the work')\n"
    )
    places = [str(Path(own_work.__file__).parent), str(Path(__file__).parents[2])]
    paths = {"PYTHONPATH": os.pathsep.join(places)}
    with subprocess.Popen([sys.executable, "-c", script], env=os.environ | paths) as parent:
        wait_for((tmp_path / "begun").is_file)
        parent.kill()
    wait_for((tmp_path / "saved").is_file)
