"""`make` sets itself up whatever the user's own settings, folders and Python 3.11 are."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """make in the checkout, with these variables of the environment besides."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_pin_is_for_the_oldest_python_that_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = re.fullmatch(r">=(\d+\.\d+)", project["requires-python"])
    assert oldest
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and line[0] != "#")
    pinned = {canonicalize_name(name): Version(version) for name, version in pins.items()}
    checked = 0
    for one in importlib.metadata.distributions():
        version = pinned.get(canonicalize_name(one.metadata["Name"]))
        if version is None or Version(one.version).public != version.public:
            continue  # another environment than the pinned one
        needed = SpecifierSet(one.metadata.get("Requires-Python") or "")
        assert needed.contains(f"{oldest[1]}.0"), f"{one.metadata['Name']} needs Python {needed}"
        checked += 1
    assert checked > 50


@needs_make
def test_settings_of_the_user_do_not_reach_the_environment() -> None:
    shown = make(
        "--eval",
        "shown: ; @echo [$$PIP_USER] [$$PYTHONPATH]",
        "shown",
        PIP_USER="1",
        PYTHONPATH="/x",
    )
    assert shown.stdout == "[0] []\n", shown.stderr


@needs_make
def test_a_folder_with_a_space_is_followed_or_refused() -> None:
    shown = make("-n", "-B", "docs", "SITE=/a site", "PYTHON=python3").stdout
    (build,) = [line for line in shown.splitlines() if "mkdocs build" in line]
    assert shlex.split(build)[-2:] == ["--site-dir", "/a site"]
    refused = make("-n", "test", "VENV=/an env")
    assert refused.returncode == 2
    assert "VENV='/an env' has a space in it" in refused.stderr
