"""A profile of some steps of a run: torch.profiler's trace, and its ten costliest operators."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function, schedule
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from simcse_kit.training.settings.fields import Profile

logger = logging.getLogger(__name__)

#: The range of a step in the trace; its own time is Python's, between the operators.
STEP = "training step"
#: The range of an evaluation or a checkpoint between two steps.
ASIDE = "evaluation or checkpoint"
_OUTSIDE = "(outside operators)"
_FRAMES = "ProfilerStep"  # torch's own ranges, which hold evaluations as well


@dataclass(frozen=True)
class Cost:
    """One operator's share of the recorded time.

    Attributes:
        name: as torch calls it.
        share: of the time of all operators on the device, 0 to 1; what it calls not counted.
        milliseconds, calls: a step.
    """

    name: str
    share: float
    milliseconds: float
    calls: float


class ProfileSteps(TrainerCallback):
    """Records the steps that a `Profile` asks for; evaluations and checkpoints are left out.

    Args:
        asked: how many steps to skip, to warm up and to record; a shorter run has fewer.
        folder: where the trace is written, ``steps-8-12.pt.trace.json``, which TensorBoard's
            profiler plug-in and https://ui.perfetto.dev read.
    """

    def __init__(self, asked: Profile, folder: Path) -> None:
        self.asked, self.folder = asked, folder
        self._profiler: profile | None = None
        self._range: record_function | None = None
        self._step = 0  # the last one that ended

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        steps = _fitting(self.asked, state.max_steps - state.global_step)
        if steps is None:
            return
        first = state.global_step + steps.skip + steps.warm + 1
        self._step = state.global_step
        activities = [ProfilerActivity.CPU]
        if args.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        with warnings.catch_warnings(action="ignore"):  # that nothing is warmed up was asked for
            when = schedule(wait=steps.skip, warmup=steps.warm, active=steps.record, repeat=1)
        self._profiler = profile(
            activities=activities,
            schedule=when,
            on_trace_ready=lambda made: self._write(made, first),
        )
        self._profiler.start()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._enter(STEP)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._leave()
        self._step = state.global_step
        if self._profiler is not None:
            self._profiler.step()
        if control.should_evaluate or control.should_save:
            self._enter(ASIDE)  # up to the next step

    def _enter(self, name: str) -> None:
        self._leave()
        if self._profiler is not None:
            self._range = record_function(name)
            self._range.__enter__()

    def _leave(self) -> None:
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self._leave()
        if self._profiler is not None:  # it ended before its last step
            self._profiler.stop()
            self._profiler = None

    def _write(self, made: profile, first: int) -> None:
        self._profiler = None  # it has stopped
        last = self._step  # earlier than asked for where the run was stopped
        if last < first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"steps-{first}-{last}.pt.trace.json"
        made.export_chrome_trace(str(path))
        costs = costliest(made.events() or (), last - first + 1)
        for line in table(costs):
            logger.info("%s", line)
        logger.info("profile of steps %d to %d: %s", first, last, path)


def _fitting(asked: Profile, left: int) -> Profile | None:
    """What is asked for, or as much of it as the steps that are left allow; None without any."""
    wanted = asked.skip + asked.warm + asked.record
    if left >= wanted:
        return asked
    if left < 1:
        return None
    record = min(asked.record, left)
    warm = min(asked.warm, left - record)
    fewer = Profile(skip=left - record - warm, warm=warm, record=record)
    logger.warning(
        "profile asks for %d steps and the run has %d: %d skipped, %d to warm up, %d recorded",
        *(wanted, left, fewer.skip, fewer.warm, fewer.record),
    )
    return fewer


def costliest(events: Iterable[Any], steps: int) -> list[Cost]:
    """Every operator, the costliest first; the shares sum to 1.

    Args:
        events: what ``profile.events()`` gives.
        steps: how many steps they are of.

    On a GPU it is the GPU's time that counts, of the operators that started its kernels.
    """
    on_cpu, on_gpu, calls = Counter[str](), Counter[str](), Counter[str]()
    for event in events:
        if event.device_type != DeviceType.CPU or event.name.startswith(_FRAMES) or _aside(event):
            continue
        name = _OUTSIDE if event.name == STEP else event.name
        on_cpu[name] += event.self_cpu_time_total
        on_gpu[name] += event.self_device_time_total
        calls[name] += event.count
    spent = on_gpu if any(on_gpu.values()) else on_cpu
    total = sum(spent.values()) or 1.0
    return [
        Cost(name, microseconds / total, microseconds / 1000 / steps, calls[name] / steps)
        for name, microseconds in spent.most_common()
    ]


def _aside(event: Any) -> bool:
    while event is not None and event.name != ASIDE:
        event = event.cpu_parent
    return event is not None


def table(costs: Sequence[Cost], most: int = 10) -> list[str]:
    """Lines of the costliest operators, and one of all the rest."""
    shown, rest = costs[:most], costs[most:]
    rows = [*shown]
    if rest:
        share, milliseconds = sum(cost.share for cost in rest), sum(c.milliseconds for c in rest)
        calls = sum(cost.calls for cost in rest)
        rows.append(Cost(f"({len(rest)} others)", share, milliseconds, calls))
    width = max((len(cost.name) for cost in rows), default=8)
    head = f"{'operator':{width}}  share  ms a step  calls a step"
    lines = [
        f"{cost.name:{width}}  {cost.share:5.1%}  {cost.milliseconds:9.2f}  {cost.calls:12.1f}"
        for cost in rows
    ]
    return [head, *lines]
