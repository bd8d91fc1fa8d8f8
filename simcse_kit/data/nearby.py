"""What a mistyped path probably meant."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from simcse_kit.data.home import at_home


def nearby(path: str | Path, wanted: Callable[[Path], bool], *, most: int = 3) -> list[str]:
    """Up to `most` entries like the last part of `path`, in the folder it names, nearest first.

    They are spelled as `path` is; one that differs in upper and lower case alone comes first.
    """
    folder, name = os.path.split(os.path.normpath(path))
    here = at_home(folder)
    try:
        names = [entry.name for entry in os.scandir(here)]
    except OSError:
        return []
    near = [other for other in names if other.casefold() == name.casefold()]
    near += difflib.get_close_matches(name, names, n=10 * most, cutoff=0.6)
    kept = [other for other in dict.fromkeys(near) if other != name and wanted(here / other)]
    return [os.path.join(folder, other) for other in kept[:most]]
