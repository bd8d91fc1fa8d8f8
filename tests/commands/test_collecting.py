"""The collector of garbage while a command starts, runs and ends."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from simcse_kit.commands.collecting import collect_as_usual, collector_at_rest


@pytest.fixture(autouse=True)
def unfrozen():
    yield
    gc.unfreeze()


def test_it_rests_until_a_command_has_imported():
    usual = gc.get_threshold()
    with collector_at_rest():
        assert gc.get_threshold()[0] > 100 * usual[0]
        circle: list[object] = []
        circle.append(circle)
        collect_as_usual()
        assert gc.get_threshold() == usual
        assert not any(each is circle for each in gc.get_objects())  # frozen
        gc.set_threshold(77, 7, 7)  # by the command itself: that stands
        collect_as_usual()
        assert gc.get_threshold() == (77, 7, 7)
    assert gc.get_threshold() == (77, 7, 7)
    gc.set_threshold(*usual)


def test_a_command_that_never_started_leaves_it_as_it_was():
    usual = gc.get_threshold()
    with pytest.raises(SystemExit), collector_at_rest():
        raise SystemExit(2)
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() > 0


def test_it_comes_as_usual_once_it_has_come():
    """In a command that never says that it has imported."""
    usual = gc.get_threshold()
    with collector_at_rest():
        gc.collect()
        assert gc.get_threshold() == usual
    assert not [each for each in gc.callbacks if each.__module__ == collect_as_usual.__module__]


def test_elsewhere_it_is_left_alone():
    """In a program that runs the command line's functions by itself."""
    before = gc.get_threshold()
    collect_as_usual()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_what_ends_with_the_process_still_ends(tmp_path: Path):
    """Folders of tempfile, `atexit`, what was printed: though nothing is collected any more."""
    code = (
        "import atexit, sys, tempfile\n"
        "from simcse_kit.commands.collecting import collector_at_rest\n"
        "atexit.register(print, 'at the end')\n"
        "with collector_at_rest():\n"
        f"    kept = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})\n"
        "    circle = [kept]; circle.append(circle); del kept\n"
        "    print('in a command')\n"
        "    sys.exit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert done.stdout.split("\n") == ["in a command", "at the end", ""]
    assert not list(tmp_path.iterdir())
