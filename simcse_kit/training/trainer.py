"""transformers.Trainer, thinly: our batches, dev evaluation, the best model, exact resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_
from torch.utils.data import Dataset
from transformers import (
    IntervalStrategy,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from simcse_kit.errors import InputError
from simcse_kit.training.compiled_update import CompiledUpdate
from simcse_kit.training.distributed import from_main, mean_over_ranks
from simcse_kit.training.finite import all_finite, leave_out_unless_finite, norm_on_cpu
from simcse_kit.training.model.collapse import BATCH_FIGURES, CollapseAlarm
from simcse_kit.training.progress import QuietProgress, evaluation_line
from simcse_kit.training.rows.sampling import ByEpoch, TellEpoch
from simcse_kit.training.runs.checkpoints import checkpoint_aside
from simcse_kit.training.runs.interrupting import begin_worker

logger = logging.getLogger(__name__)

#: Steps whose figures the alarm reads at a time: to read them is to wait for an accelerator.
_READ_AT_ONCE = {"cpu": 1}
_READ_AT_ONCE_ELSEWHERE = 10


class RowNumbers(Dataset[int]):
    """The numbers of the rows: a batch is gathered at once by the collator."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> int:
        return row


class ContrastiveTrainer(Trainer):
    """Adds to the Trainer what contrastive training needs, and nothing else.

    Args:
        evaluate_dev: gives the dev figures of the model as it is, keys beginning ``eval_``; None
            without a dev set.
        dev_figure: the one among them that chooses, higher being better.
        save_best: called with the step and that figure whenever it is the best so far.
        best: step and figure of the best model that there is already, from which it goes on; or
            None. Later than the checkpoint's own where the run was killed after it.
        alarm: collapse alarm, or None.
        stop_on_alarm: stop, or only warn.
        patience: evaluations without a new best after which training stops.
        order: makes the sampler of the training rows from (rows a batch, seed); it, or what it
            gives, is None: shuffled.
        update: clips and updates through torch.compile; None: as the Trainer does.
    """

    control: TrainerControl

    def __init__(
        self,
        *args: Any,
        evaluate_dev: Callable[[], dict[str, float]] | None,
        dev_figure: str,
        save_best: Callable[[int, float], None],
        alarm: CollapseAlarm | None,
        stop_on_alarm: bool,
        patience: int | None,
        order: Callable[[int, int], ByEpoch | None] | None = None,
        update: CompiledUpdate | None = None,
        best: tuple[int, float] | None = None,
        **kwargs: Any,
    ) -> None:
        self.order = order
        self.by_epoch = TellEpoch()
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)  # stdout is for results
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(QuietProgress)
        self.add_callback(self.by_epoch)
        self.evaluate_dev = evaluate_dev
        self.dev_figure = dev_figure
        self.save_best = save_best
        self.alarm = alarm
        self.stop_on_alarm = stop_on_alarm
        self.patience = patience
        self.best = best
        self.stopped: str | None = None
        self.update = update
        if update is not None:
            self.add_callback(update)
        if alarm is not None:
            self.add_callback(alarm)
        self._batches: list[Tensor] = []  # (1 + figures,) each since the last step: loss, figures
        self._told: list[Tensor] = []  # (batches, 1 + figures) a step since the last log
        self._read = 0  # how many of them the alarm has seen
        self._since = time.perf_counter()
        self._rows_since = 0
        self._aside: Path | None = None  # where a checkpoint is being written
        self._left_out: Tensor | int = 0  # steps since the last log

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        sampler = None if self.order is None else self.order(self.args.train_batch_size, seed)
        if sampler is None:
            return super()._get_train_sampler(train_dataset)
        self.by_epoch.told.append(sampler)
        return sampler

    def get_train_dataloader(self) -> Any:
        loader: Any = super().get_train_dataloader()
        within = getattr(loader, "base_dataloader", loader)  # what accelerate wraps
        within.worker_init_fn = partial(begin_worker, within.worker_init_fn)
        return loader

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        outputs = model(**inputs)
        told = torch.cat([outputs["loss"].detach().float().view(1), outputs["figures"]])
        self._batches.append(mean_over_ranks(told))  # the same on each rank: all stop or none
        self._rows_since += outputs["rows"] * self.args.world_size
        if self.accelerator.sync_gradients:  # the last batch of a step
            self._told.append(torch.stack(self._batches))
            self._batches = []
        at_once = _READ_AT_ONCE.get(self.args.device.type, _READ_AT_ONCE_ELSEWHERE)
        if len(self._told) - self._read >= at_once:
            self._heed_alarm(self.state.global_step + 1)
            if self.args.logging_strategy == IntervalStrategy.NO:
                self._told, self._read = [], 0  # no log is going to ask for them
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def _heed_alarm(self, step: int) -> None:
        """Show the alarm the figures that it has not seen, the last of them those of `step`."""
        if self.alarm is None or self._read == len(self._told):
            return
        unread, self._read = self._told[self._read :], len(self._told)
        reason = self.alarm.heed(unread)
        if reason is not None and not self.alarm.has_warned:
            self.alarm.has_warned = not self.stop_on_alarm  # said once
            self._sound(step, reason)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """As the Trainer's, but a learned temperature does not decay (CLIP, section 2.4)."""
        names: list[str] = super().get_decay_parameter_names(model)
        return [name for name in names if not name.endswith("log_scale")]

    def _get_learning_rate(self) -> Any:
        """As the Trainer's, who asks at every step; but a tensor is read when it is logged."""
        rate = self.lr_scheduler.get_last_lr()[0] if self.update is not None else None
        return rate if isinstance(rate, Tensor) else super()._get_learning_rate()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As the Trainer's, but whole or not at all, and never of weights that are no numbers."""
        step, folder = self.state.global_step, Path(self.args.output_dir)
        self._heed_alarm(step)  # whose state it holds
        if not all_finite(model):
            raise InputError(
                f"{self.stopped or f'step {step}'}: the weights are not finite and are not saved; "
                f"lower learning_rate, or train with bf16=false; what was saved before is in "
                f"{str(folder)!r}"
            )
        with checkpoint_aside(folder, step, self.args.save_total_limit) as self._aside:
            super()._save_checkpoint(model, trial)
            # the best model is kept by itself, and no checkpoint for its sake
            self.state.best_model_checkpoint = None
            if self.args.should_save:
                written = self._aside / f"checkpoint-{step}" / TRAINER_STATE_NAME
                self.state.save_to_json(str(written))
        self._aside = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._aside or super()._get_output_dir(trial))

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """As the Trainer's; on a CPU gradients that are short enough are not multiplied by 1."""
        if self.update is not None:
            return self._clip_to(model, self.args.max_grad_norm)
        if self.args.device.type != "cpu" or self.args.world_size > 1 or self.args.fp16:
            clipped: Tensor = super()._clip_grad_norm(model)
            return clipped
        learning = [p for p in model.parameters() if p.grad is not None]
        norm = norm_on_cpu([p.grad for p in learning if p.grad is not None])
        if not norm <= self.args.max_grad_norm:  # a NaN too takes the Trainer's way
            clip_grads_with_norm_(learning, self.args.max_grad_norm, norm)
        return norm

    def _clip_to(self, model: nn.Module, length: float) -> Tensor:
        assert self.update is not None
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        return self.update.clip(gradients, length)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """As the Trainer's; a step that it shows to be no step is left out."""
        if grad_norm is None and self.update is not None:  # not cut to any length
            grad_norm = self._clip_to(model, float("inf"))
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if not self.args.fp16:  # where the scaler sees to it
            self._left_out = self._left_out + leave_out_unless_finite(self.optimizer, norm)
        return norm

    def _say_left_out(self) -> None:
        count, self._left_out = int(self._left_out), 0
        if count and self.is_world_process_zero():
            logger.warning(
                "step %d: since the last log %d steps were left out, for their gradient was not "
                "finite",
                *(self.state.global_step, count),
            )

    def _sound(self, step: int, reason: str | None) -> None:
        if reason is None:
            return
        if self.stop_on_alarm:
            self.stopped = f"stopped at step {step}: {reason}"
            self.control.should_training_stop = True
        else:
            if self.is_world_process_zero():
                logger.warning("step %d: %s", step, reason)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the batches' figures since the last log, and the speed."""
        self._heed_alarm(self.state.global_step)
        self._say_left_out()
        if "learning_rate" in logs:
            logs["learning_rate"] = float(logs["learning_rate"])
        told = getattr(self.accelerator.unwrap_model(self.model), "told", None)
        if "loss" in logs and told is not None:
            logs |= told()
        if "loss" in logs and self._told:
            _, *means = torch.cat(self._told).mean(0).tolist()
            logs |= dict(zip(BATCH_FIGURES, means, strict=True))
            elapsed = time.perf_counter() - self._since
            logs["sentences_per_second"] = self._rows_since / elapsed
            self._restart_clock()
        super().log(logs, start_time)

    def _restart_clock(self) -> None:
        self._told, self._read, self._rows_since = [], 0, 0
        self._since = time.perf_counter()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score on the dev set, on rank 0 for all; keep the model where it is the best so far."""
        paused = time.perf_counter()
        self._know_the_best()
        metrics = from_main(self._score)
        if "unscored" in metrics:  # no Spearman to be had: never the best, never a zero
            reason = f"the dev set cannot be scored: {metrics['unscored']}"
            self._sound(self.state.global_step, reason)
            return {}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        score, step = metrics[self.dev_figure], self.state.global_step
        if self.state.best_metric is None or score > self.state.best_metric:
            self.state.best_metric, self.state.best_global_step = score, step
            if self.is_world_process_zero():
                self.save_best(step, score)
        elif self.patience is not None:
            best = self.state.best_global_step or 0
            waited = sum(
                self.dev_figure in entry and entry["step"] > best
                for entry in self.state.log_history
            )
            if waited >= self.patience:
                self.stopped = f"stopped at step {step}: no new best in {waited} evaluations"
                self.control.should_training_stop = True
        if self.is_world_process_zero():
            logger.info(evaluation_line(self.state, metrics, self.dev_figure))
        self._since += time.perf_counter() - paused  # speed is of training alone
        return metrics

    def _know_the_best(self) -> None:
        """Take the best model so far for what it is, once the state is the checkpoint's."""
        if self.best is not None:
            self.state.best_global_step, self.state.best_metric = self.best
            self.best = None

    def _score(self) -> dict[str, Any]:
        assert self.evaluate_dev is not None
        try:
            return self.evaluate_dev()
        except InputError as error:
            return {"unscored": str(error)}

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """As the Trainer's; a run made longer has its new rate from the first step on."""
        super()._load_optimizer_and_scheduler(checkpoint)
        schedule = self.lr_scheduler
        factors = getattr(schedule, "lr_lambdas", None)
        if checkpoint is None or factors is None:
            return
        rates = [
            base * f(schedule.last_epoch)
            for base, f in zip(schedule.base_lrs, factors, strict=True)
        ]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        schedule._last_lr = rates

    def take_up(self, checkpoint: str) -> None:
        """State and weights of a checkpoint, as if training had just made its last step."""
        self.state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
        self._load_from_checkpoint(checkpoint)
        self._know_the_best()

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Weights alone: no pickled arguments; tied tensors once."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        safetensors.torch.save_model(model, str(folder / SAFE_WEIGHTS_NAME))

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        model = self.accelerator.unwrap_model(model or self.model, keep_torch_compile=False)
        safetensors.torch.load_model(model, str(Path(resume_from_checkpoint) / SAFE_WEIGHTS_NAME))


class OwnDropout(TrainerCallback):
    """Gives every rank random numbers of its own, once the weights and the data's order are made.

    Those must come from one seed on all ranks; dropout must not, or the ranks' masks are copies.
    Rank 0 draws what a single process would.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if args.process_index > 0:
            mixed = np.random.SeedSequence([args.seed, args.process_index])
            set_seed(int(mixed.generate_state(1)[0]))
