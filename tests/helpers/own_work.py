"""What test_own_process has done in another process."""

from __future__ import annotations

import os
import signal
import sys
import time

from simcse_kit.compute.memory import peak_memory
from simcse_kit.errors import InputError


def told(number: int) -> dict[str, object]:
    import torch

    print("what a library prints")
    return {
        "twice": 2 * number,
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "threads": torch.get_num_threads(),
        "argv": sys.argv,
        "peak": peak_memory(),
    }


def mistaken() -> None:
    raise InputError("a mistake", command_line="--a mistake")


def buggy() -> None:
    raise KeyError("where")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted_after(folder: str) -> None:
    """Says when it has begun and whether it heard a signal, as a run does that saves then."""
    for name in ("SIGTERM", "SIGHUP"):
        os.kill(os.getpid(), getattr(signal, name))  # a cluster's, to every process of a job
    with open(f"{folder}/begun", "w") as file:
        file.write(str(os.getpid()))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        with open(f"{folder}/saved", "w"):
            pass
        raise KeyboardInterrupt("saved step 3") from None
