"""Keep large CPU buffers instead of giving them back to the kernel after every use."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

# glibc's mallopt parameters (malloc.h)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@cache  # the process's setting: once is enough
def keep_buffers() -> bool:
    """Tell glibc's allocator to reuse freed buffers of any size; tells whether it did.

    By default every tensor over 32 MB at most is mapped afresh, and the kernel zeroes its pages
    one fault at a time: a tenth of a training step on the CPU. Peak memory stays the same; what
    was the peak once is not returned to the system until the process ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    )


def release_buffers() -> None:
    """Give the pages that no buffer lies on back to the system (glibc's ``malloc_trim``).

    Buffers that were kept and have since been divided up fit nothing large any more; the memory
    that they hold would count twice while larger ones are made elsewhere.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory() -> int:
    """The most bytes of memory that this process has had in use so far.

    On Linux of the process as it is: what the one that started it had, which `getrusage` counts in,
    is left out. 0 where the system does not tell.
    """
    try:
        told = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * next(int(line.split()[1]) for line in told.splitlines() if "VmHWM" in line)
    except (OSError, StopIteration, ValueError):  # another system, or one that hides it
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
