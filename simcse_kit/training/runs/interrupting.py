"""Ctrl-C, SIGTERM and SIGHUP: a run finishes its step, saves it and ends.

Clusters and spot machines send SIGTERM before they take a machine away, a closed terminal sends
SIGHUP.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from simcse_kit.training.distributed import is_main, max_over_ranks, world_size

logger = logging.getLogger(__name__)

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupted(KeyboardInterrupt):
    """A signal ended the work.

    Attributes:
        number: the signal's; a process that ends for it exits with 128 + `number`.
    """

    def __init__(self, said: str, number: int) -> None:
        super().__init__(said)
        self.number = number


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Interrupted` in the block, as Ctrl-C raises KeyboardInterrupt."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted(f"ended by {signal.Signals(number).name}", number)

    with heeding(end, [each for each in _SIGNALS if each != signal.SIGINT]):
        yield


@contextlib.contextmanager
def heeding(
    handler: Callable[[int, FrameType | None], Any], numbers: list[int] = _SIGNALS
) -> Iterator[None]:
    """These signals, all three by default, go to a handler in the block; ignored ones stay so."""
    before = _handle(handler, numbers)
    try:
        yield
    finally:
        _restore(before)


def _handle(handler: Any, numbers: list[int]) -> dict[int, Any]:
    """Have these signals handled so; what they did before, of those that were not ignored."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # nohup ignores SIGHUP, and means it
    heeded = [
        each
        for each in numbers
        if each == signal.SIGINT or signal.getsignal(each) != signal.SIG_IGN
    ]
    return {each: signal.signal(each, handler) for each in heeded}


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def begin_worker(begin: Callable[[int], None] | None, number: int) -> None:
    """Begin a loader's worker that leaves it to the run to end: it is needed for the step.

    A terminal, a cluster and a service manager send a signal to every process of a job. SIGTERM is
    also what a worker is sent that does not end by itself, twice; the second ends it.

    Args:
        begin: what else a worker begins with, called with its `number`.
    """

    def next_time(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    for each in _SIGNALS:
        signal.signal(each, next_time if each == signal.SIGTERM else signal.SIG_IGN)
    if begin is not None:
        begin(number)


class GracefulInterrupt(TrainerCallback):
    """The first signal finishes the step, saves a checkpoint and stops; a second stops at once.

    On several ranks all stop after the same step, whichever was interrupted. There a second
    signal is no second wish: launchers pass on what a terminal may have sent to all, and kill
    (torchrun after 30 seconds) what does not end.

    Attributes:
        number: the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._before = _handle(self._heed, _SIGNALS)

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if not self.number and is_main():
            name = signal.Signals(number).name
            logger.warning("interrupted (%s): finishing this step and saving a checkpoint", name)
        self.number = self.number or number
        if world_size() == 1:
            self.restore()

    def restore(self) -> None:
        """Give the signals back their former meaning."""
        _restore(self._before)
        self._before = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.number = max_over_ranks(self.number)
        if self.number:
            control.should_save = True
            control.should_training_stop = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """What came during an evaluation, which may be long, needs no further step."""
        if state.global_step > 0:
            self.on_step_end(args, state, control)
