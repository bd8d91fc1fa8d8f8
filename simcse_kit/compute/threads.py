"""How many threads of the CPU a command takes."""

from __future__ import annotations

import os
import sys

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
    from joblib import cpu_count

    allowed: int = cpu_count()
    return allowed if allowed < (os.cpu_count() or 1) else None
