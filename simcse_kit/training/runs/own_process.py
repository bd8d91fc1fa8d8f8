"""Work in a process of its own: its memory is its own, and what happens to it is told.

A terminal's Ctrl-C and a cluster's SIGTERM reach every process of a job, and a run that gets a
second signal ends without saving. So the child hears of none but SIGINT, out of the terminal's
reach, and this process hands it as SIGINT whatever comes.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, TypeVar

from simcse_kit.compute.threads import use_threads
from simcse_kit.errors import InputError, explain

T = TypeVar("T")


class _InChild(Exception):
    """The traceback of an error in another process, as the cause of the same error in this one."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def in_own_process(work: Callable[..., T], *given: Any, called: str) -> T:
    """``work(*given)`` in a new process; what it returns, or raises, comes back.

    SIGINT, SIGTERM and SIGHUP are handed on to it: a training run saves a checkpoint and ends. It
    does the same where this process is killed. Its progress and notes go to stderr, notes where
    this process shows some.

    Args:
        work, given: what can be pickled; `work` a function of a module.
        called: what the work is, for messages.

    Raises:
        InputError: what `work` raises for a user's mistake; and where the process was killed.
        KeyboardInterrupt: the work was interrupted.
    """
    import torch

    from simcse_kit.training.runs.interrupting import Interrupted, heeding

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    how = torch.get_num_threads(), _shows_notes()
    process = context.Process(target=_work, args=(theirs, how, work, given), name=called)
    passing = _Passing()
    with heeding(passing), ours:
        with theirs, _held_back():
            process.start()
        kind, value, more = _hear(ours, passing, process)
        process.join()
    if kind == "done" and not passing.number:
        return value
    if kind == "interrupted" or passing.number:
        said = value if isinstance(value, str) and value else f"{called} was interrupted"
        raise Interrupted(said, passing.number or signal.SIGINT)
    if kind == "raised":
        raise value from (_InChild(more) if more else None)
    code = process.exitcode or 0
    how_it_ended = (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    )
    perhaps = "; is there memory enough for it?" if code == -signal.SIGKILL else ""
    raise InputError(f"the process of {called} {how_it_ended}{perhaps}")


class _Passing:
    """Hands signals on to a process, once there is one that can take them.

    Attributes:
        number: the first signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._waiting = 0
        self._to: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        if self._to is None:
            self._waiting += 1
        else:
            self._send(self._to)

    def to(self, process: int) -> None:
        """Where signals go from now on, those that came before too."""
        self._to = process
        while self._waiting:
            self._waiting -= 1
            self._send(process)

    def _send(self, process: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGINT)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """SIGINT waits in the block, and in a process that is started in it until `_leave_the_job`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # whose start would let SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hear(ours: Connection, passing: _Passing, process: Any) -> tuple[str, Any, Any]:
    """What the process says in the end: its kind, the value, and more of it."""
    try:
        while True:
            kind, value, more = ours.recv()
            if kind != "ready":
                return kind, value, more
            passing.to(process.pid)
    except (EOFError, ConnectionResetError):
        return "gone", None, None


def _shows_notes() -> bool:
    """Whether notes of this package are shown on stderr here."""
    loggers = [logging.getLogger(), logging.getLogger("simcse_kit")]
    shown = any(isinstance(h, logging.StreamHandler) for each in loggers for h in each.handlers)
    return shown and logging.getLogger("simcse_kit").isEnabledFor(logging.INFO)


# ---- in the child -------------------------------------------------------------------------------


def _work(
    theirs: Connection, how: tuple[int, bool], work: Callable[..., Any], given: tuple[Any, ...]
) -> None:
    """What the process does: the work, and says what came of it."""
    _leave_the_job()
    sys.stdout = sys.stderr  # results are the parent's to print
    threads, speaks = how
    use_threads(threads)
    if speaks:
        logging.getLogger("simcse_kit").addHandler(logging.StreamHandler())
        logging.getLogger("simcse_kit").setLevel(logging.INFO)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it
        theirs.send(("ready", None, None))
        theirs.send(_outcome(work, given))


def _leave_the_job() -> None:
    """Hear of SIGINT alone, and of that from the parent alone."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if not hasattr(signal, "pthread_sigmask"):
        return
    with contextlib.suppress(PermissionError):  # the leader of a session
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # forgets what the terminal sent meanwhile
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_with_parent() -> None:
    """End as by Ctrl-C once the process that started this one is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)


def _outcome(work: Callable[..., Any], given: tuple[Any, ...]) -> tuple[str, Any, Any]:
    try:
        return "done", work(*given), None
    except KeyboardInterrupt as end:
        return "interrupted", str(end), None
    except Exception as error:
        sentence = explain(error)  # here, where the traceback tells whose it is
        if sentence is not None:
            return "raised", error if isinstance(error, InputError) else InputError(sentence), None
        return "raised", _sendable(error), traceback.format_exc()


def _sendable(error: Exception) -> Exception:
    """The error, or one that says the same where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
