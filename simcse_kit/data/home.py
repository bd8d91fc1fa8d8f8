"""``~`` in a path, which only a shell expands, and not behind ``=`` or in quotes."""

from __future__ import annotations

import os
from pathlib import Path


def at_home(path: str | Path) -> Path:
    """The path with a ``~`` at its start expanded.

    As it stands where there is no such home: `Path.expanduser` raises there, which an account
    without a name and a HOME (a container's) meets.
    """
    return Path(os.path.expanduser(path))
