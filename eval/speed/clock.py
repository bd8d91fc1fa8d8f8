"""The clock in a Trainer's loop, of either side. (A file of its own: it imports transformers.)"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from eval.speed.turns import Gate, Setting, Turn


class StepClock(TrainerCallback):
    """Holds a Trainer at the end of each turn's last step until it is its turn again.

    A turn is `setting.steps` optimizer steps, from the end of one step to the end of another, so
    loading the data between them counts and building the Trainer does not. What comes before
    the first turn happens in it, for its side may do nothing before: call `gate.wait` once ahead.
    """

    def __init__(self, gate: Gate, setting: Setting, tokenising: float) -> None:
        self.gate, self.setting = gate, setting
        self.tokenising = tokenising  # seconds a sentence, spent before the first step
        self._since = 0.0
        self._in_turn = True

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.setting.warmup_steps == 0:
            self._wait()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        made = state.global_step - self.setting.warmup_steps
        if made < 0 or made % self.setting.steps:
            return
        if made:
            steps = self.gate.clock() - self._since
            sentences = self.setting.steps * self.setting.batch_size
            seconds = steps + self.tokenising * sentences
            self._in_turn = False
            self.gate.done(Turn(seconds, sentences, {"seconds_a_step": steps / self.setting.steps}))
        self._wait()

    def _wait(self) -> None:
        if not self._in_turn:
            self.gate.wait()
            self._in_turn = True
        self._since = self.gate.clock()
