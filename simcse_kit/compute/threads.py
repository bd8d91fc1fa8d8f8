"""How many threads of the CPU a command takes."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

#: Where libraries look when they are loaded: OpenMP (torch), the BLAS of torch and of numpy, and
#: the tokenizers.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def use_threads(count: int | None) -> None:
    """Compute and tokenise with so many threads, from before libraries are loaded.

    Args:
        count: None leaves the choice to the libraries, which is a thread a core; but where a
            container may use fewer cores than it sees, which they do not ask, as many as it may.
            ``OMP_NUM_THREADS``, where set, stands.
    """
    if count is None:
        count = None if os.environ.get("OMP_NUM_THREADS") else _quota()
    if count is None:
        return
    for name in _VARIABLES:
        os.environ[name] = str(count)
    if "torch" in sys.modules:  # it has read them already
        import torch

        torch.set_num_threads(count)


def _quota() -> int | None:
    """Cores this process may use, where these are fewer than there are."""
    seen = os.cpu_count() or 1
    allowed = min(seen, len(_affinity() or range(seen)), _share_of_time() or seen)
    return allowed if allowed < seen else None


def _affinity() -> set[int] | None:
    """The cores that the system runs this process on, where it can tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _share_of_time(groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Cores' worth of time that a container's limit grants, rounded up; None without a limit.

    Linux has it in one file or, in its first version of control groups, in two.
    """
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((groups / file).read_text() for file in files).split()
            if int(quota) > 0:
                return math.ceil(int(quota) / int(period))
        except (OSError, ValueError):  # no such file; or "max", which is no limit
            continue
    return None
