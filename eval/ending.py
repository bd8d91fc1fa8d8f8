"""How a script of this folder ends: a mistake, or Ctrl-C, is one sentence and no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from simcse_kit.errors import InputError


def ending(work: Callable[[], object]) -> int:
    """Do the work and return its exit code: 0; 2 for a user's mistake; 130 after Ctrl-C."""
    try:
        work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print(f"{stopped or 'interrupted'}; the same command goes on", file=sys.stderr)
        return 130
    return 0
