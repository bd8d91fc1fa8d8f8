"""Sides of a comparison: each in a process of its own, working only when it is its turn.

A process a side, so that peak memory, allocator and threads are that side's alone; the one whose
turn it is not waits on a pipe and takes no processor time. With ``alone=False`` a side is a thread
of this process instead: quick to start, for trying things out, and without figures of memory.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from simcse_kit.errors import InputError


@dataclass(frozen=True)
class Setting:
    """What a side works on; the same for both sides but for `precision`."""

    model: str
    data: Path | None = None
    data_dir: Path | None = None
    pooling: str | None = "mean"  # None: as the folder says
    precision: str = "fp32"  # what this side computes in: fp32 or bf16
    device: str = "cpu"
    threads: int | None = None
    batch_size: int = 64
    max_length: int | None = 32
    encode_length: int = 128
    sentences: int = 4000  # to encode
    peer_batch: int = 32  # of the peers' `encode`
    steps: int = 8  # optimizer steps a turn
    warmup_steps: int = 2
    turns: int = 6
    learning_rate: float = 3e-5
    seed: int = 1
    file_order: bool = True  # every turn trains on the same sentences on both sides
    overrides: tuple[str, ...] = ()  # key=value, over all of our training's settings
    sizes: tuple[int, ...] = (1024, 2048, 4096)  # of the matrices that are multiplied
    rates: tuple[str, ...] = ("fp32", "bf16")  # precisions whose matrix rate is measured


@dataclass(frozen=True)
class Turn:
    """What one turn took: `seconds` for so many `sentences`, all costs included."""

    seconds: float
    sentences: int
    notes: dict[str, float] = field(default_factory=dict)


def quiet() -> None:
    """No bars of libraries between the lines of a comparison, here and in processes begun here."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # those of transformers too
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"


class Stopped(Exception):
    """There are no more turns."""


class Gate:
    """What a side sees of the comparison: it waits for its turn and tells what the turn took."""

    def __init__(self, connection: Connection, device: str) -> None:
        self._connection = connection
        self._device = device
        self.turn = -1  # 0 is the one that warms up

    def wait(self) -> None:
        """Block until it is this side's turn; raises `Stopped` when there are no more."""
        if self._connection.recv() != "go":
            raise Stopped
        self.turn += 1

    def clock(self) -> float:
        """Seconds, once the device has finished what was asked of it."""
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def done(self, turn: Turn) -> None:
        """Report a turn."""
        self._connection.send(("turn", turn))


class Side(Protocol):
    """One side: built from a `Setting`, it takes turns until the gate says `Stopped`.

    `evidence` is what shows that the two sides computed the same; it is read after the last turn.
    """

    evidence: dict[str, Any]

    def take_turns(self, gate: Gate) -> None:
        """Wait, work and report, again and again."""


@dataclass(frozen=True)
class Memory:
    """MiB: the highest during the work, and what was in use before it (libraries and model)."""

    peak: float
    before: float


class Worker:
    """The handle on a side that runs elsewhere; a context manager that ends it."""

    def __init__(
        self, make: Callable[[Setting], Side], setting: Setting, *, alone: bool = True
    ) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        arguments = (theirs, make, setting, alone)
        self._runner: Any
        if alone:
            # spawned, not forked: a forked child would inherit this process's memory and threads
            context = multiprocessing.get_context("spawn")
            self._runner = context.Process(target=_serve, args=arguments, daemon=True)
        else:
            self._runner = threading.Thread(target=_serve, args=arguments, daemon=True)
        self._runner.start()
        if alone:
            theirs.close()  # so that a child that dies is noticed here

    def ready(self) -> None:
        """Wait until the side is built; raises `InputError` with what went wrong there."""
        self._expect("ready")

    def turn(self) -> Turn:
        """Let the side take a turn."""
        self._connection.send("go")
        turn: Turn = self._expect("turn")
        return turn

    def finish(self) -> tuple[dict[str, Any], Memory | None]:
        """End the turns; gives the side's evidence and, of its own process, its memory."""
        self._connection.send("stop")
        evidence, memory = self._expect("over")
        self._runner.join(timeout=60)
        return evidence, memory

    def _expect(self, what: str) -> Any:
        try:
            kind, value = self._connection.recv()
        except EOFError:
            raise InputError(
                "a side of the comparison died without a word, perhaps for want of memory; "
                "try a smaller batch"
            ) from None
        if kind == "failed":
            raise InputError(value)
        if kind == "crashed":
            raise RuntimeError(f"a side failed:\n{value}")
        if kind != what:
            raise RuntimeError(f"a side said {kind} where {what} was expected")
        return value

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._connection.send("stop")
        if isinstance(self._runner, threading.Thread):
            self._runner.join(timeout=60)
        elif self._runner.is_alive():
            self._runner.terminate()
        self._connection.close()


def _serve(
    connection: Connection, make: Callable[[Setting], Side], setting: Setting, alone: bool
) -> None:
    """What a side's process does from start to end."""
    try:
        if setting.threads is not None:
            import torch

            torch.set_num_threads(setting.threads)
        side = make(setting)
        before = forget_peak(setting.device)
        connection.send(("ready", None))
        with suppress(Stopped):
            side.take_turns(Gate(connection, setting.device))
        memory = Memory(peak_memory(setting.device), before) if alone else None
        connection.send(("over", (side.evidence, memory)))
    except InputError as error:
        connection.send(("failed", str(error)))
    except (BrokenPipeError, EOFError):
        pass  # the one who asked is gone
    except BaseException:
        connection.send(("crashed", traceback.format_exc()))


def forget_peak(device: str) -> float:
    """Start measuring the peak anew, now that all is loaded; gives the MiB that are in use."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # elsewhere than on Linux the peak is that of the whole process
            Path("/proc/self/clear_refs").write_text("5")
    return peak_memory(device)


def peak_memory(device: str) -> float:
    """MiB held at most since `forget_peak`: of the GPU's memory there, else resident."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated()) / 2**20
    try:
        # not getrusage: a spawned child's ru_maxrss begins with what its parent held
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) / 2**10
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
