"""Contrastive training of a sentence encoder: SimCSE, unsupervised and supervised."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from simcse_kit.compute import Precision, keep_buffers, resolve_precision
from simcse_kit.data import Rows, TokenStore, check_can_make, read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation import provenance, short
from simcse_kit.evaluation.sts import PairTask, STSResult, evaluate
from simcse_kit.training.checks import check_dev, check_encoder, check_rows
from simcse_kit.training.collapse import CollapseAlarm
from simcse_kit.training.compiled_update import CompiledUpdate
from simcse_kit.training.config import TrainConfig
from simcse_kit.training.contrastive import ContrastiveModel, build_model, build_views
from simcse_kit.training.distributed import (
    is_main,
    launched_together,
    one_a_machine_first,
    wait_for_all,
)
from simcse_kit.training.sampling import WindowedByLength
from simcse_kit.training.trainer import (
    ContrastiveTrainer,
    GracefulInterrupt,
    OwnDropout,
    RowNumbers,
    ViewCollator,
)

logger = logging.getLogger(__name__)

CONFIG_FILE = "train_config.yaml"
HISTORY_FILE = "history.jsonl"
RUN_FILE = "run.json"
_DRAWS = 2_000  # for the interval on a card, which is written with every new best step


@dataclass
class TrainResult:
    """What a run left.

    Attributes:
        output_dir: loads as the chosen model; ``last/`` holds the last step.
        encoder: the chosen model: best on dev, or the last step without a dev set.
        steps: optimizer steps made in all.
        best_step, best_score: of the dev set (Spearman ×100), or None.
        history: the log, one dict an entry, each with its ``step``.
        stopped: why training ended before its last step, or None.
    """

    output_dir: Path
    encoder: SentenceEncoder
    steps: int
    best_step: int | None = None
    best_score: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: str | None = None


def train(
    model: str | Path | SentenceEncoder,
    data: str | Path | Rows,
    config: TrainConfig,
    output_dir: str | Path,
    *,
    eval_data: PairTask | None = None,
    resume: bool = False,
    overwrite: bool = False,
    ready: Callable[[], None] | None = None,
) -> TrainResult:
    """Fine-tune an encoder on texts (dropout twins) or on pairs with hard negatives.

    Under torchrun every rank calls this; they train as one process on the joined batch, rank 0
    alone scores, chooses and writes, and all return the same once it has. The connection between
    them stays open: `distributed.leave` closes it before a script of your own ends.

    Args:
        model: what `SentenceEncoder.from_pretrained` takes, or an encoder, trained in place.
        data: what `read_rows` takes, or rows. Columns decide: ``text`` trains on dropout twins,
            ``anchor, positive[, negative…]`` on the given views.
        config: every setting.
        output_dir: new or empty folder; ends up loading as the chosen model.
        eval_data: dev pairs: scored at step 0 and every `eval_steps`; the best step is chosen.
        resume: continue the run in `output_dir` from its last checkpoint, exactly.
        overwrite: replace an earlier run in `output_dir`.
        ready: called once everything given is checked, before anything is written.

    Raises:
        InputError: anything given cannot be trained on; nothing was written then.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is saved.
    """
    keep_buffers()
    folder = Path(output_dir)
    if launched_together():  # building the arguments joins this process to the others
        given = model.device.type if isinstance(model, SentenceEncoder) else None
        config.to_training_arguments(folder, use_cpu=config.use_cpu or given == "cpu")
    checkpoint = _check_folder(folder, resume, overwrite)
    check_dev(eval_data, config)
    rows = data if isinstance(data, Rows) else read_rows(data)
    check_rows(rows, config)
    set_seed(config.seed)  # before the head is initialised
    encoder = _load(model, config)
    check_encoder(encoder, rows, config)
    contrastive = build_model(encoder, config)
    views, text_ids = build_views(rows, config)
    with one_a_machine_first():
        store = TokenStore.build(
            rows.texts(),
            encoder.tokenizer,
            config.max_length,
            cache_dir=config.cache_dir or Path.home() / ".cache" / "simcse_kit" / "tokens",
            show_progress=is_main(),
        )
    # a GPU wants batches of few shapes
    pad_id = encoder.pad_id if encoder.device.type == "cuda" else None
    collator = ViewCollator(store, views, text_ids, pad_id)
    run = _Run(folder, encoder, config, eval_data, rows.source)
    if ready is not None:
        ready()
    with _prepared(folder, config, resume, overwrite):
        trainer = run.trainer(contrastive, collator, len(rows), checkpoint)
        interrupt = GracefulInterrupt()
        trainer.add_callback(interrupt)
        trainer.add_callback(OwnDropout)
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        finally:
            interrupt.restore()
        if interrupt.interrupted:
            raise KeyboardInterrupt(f"saved step {trainer.state.global_step} in {folder}")
        return run.finish(trainer)


@dataclass
class _Run:
    """One run's folder: what is written into it, and when."""

    folder: Path
    encoder: SentenceEncoder
    config: TrainConfig
    dev: PairTask | None
    source: str
    judged: STSResult | None = None

    def trainer(
        self,
        model: ContrastiveModel,
        collator: ViewCollator,
        rows: int,
        checkpoint: str | None,
    ) -> ContrastiveTrainer:
        config = self.config
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(self.folder / "tensorboard")
        has_dev = self.dev is not None
        update = None
        if config.torch_compile:
            backend = config.torch_compile_backend
            mode = {"mode": config.torch_compile_mode} if backend == "inductor" else {}
            model.compile_step(backend=backend, **mode)
            if not (config.fp16 or launched_together()):  # a scaler and DDP have ways of their own
                update = CompiledUpdate(backend=backend, **mode)
        arguments = config.to_training_arguments(
            self.folder,
            bf16=resolve_precision("auto", self.encoder.device) == "bf16",
            eval_strategy="steps" if has_dev else "no",
            eval_on_start=has_dev and checkpoint is None,
            save_strategy="steps",
            push_to_hub=False,  # the finished folder is pushed, not the Trainer's state
            use_cpu=config.use_cpu or self.encoder.device.type == "cpu",
        )
        # DataParallel would gather losses of halved batches: one process, one device; torchrun
        # for more.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        if self.encoder.device.type == "cuda":
            arguments.accelerator_config.non_blocking = True  # a copy does not hold the step up
        return ContrastiveTrainer(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=RowNumbers(rows),
            eval_dataset=RowNumbers(len(self.dev)) if self.dev is not None else None,
            evaluate_dev=self.score if has_dev else None,
            save_best=self.save_best,
            alarm=None if config.collapse == "off" else CollapseAlarm(),
            stop_on_alarm=config.collapse == "stop",
            patience=config.early_stopping_patience,
            order=self._order(collator, rows),
            update=update,
        )

    def _order(self, collator: ViewCollator, rows: int) -> Callable[[int, int], Any] | None:
        window = self.config.group_window
        if window == 1:
            return None
        lengths = collator.lengths(rows)
        return lambda batch, seed: WindowedByLength(lengths, batch, window, seed)

    def score(self) -> dict[str, float]:
        """Dev Spearman ×100, alignment and uniformity of the encoder as it is."""
        assert self.dev is not None
        result = self.judged = evaluate(self.encoder, [self.dev], name=self.folder.name)
        figures = {"eval_spearman": result.tasks[self.dev.name].spearman}
        if result.geometry is not None:  # None where no pair scores above alignment's threshold
            figures["eval_alignment"] = result.geometry.alignment
            figures["eval_uniformity"] = result.geometry.uniformity
        return figures

    def save_best(self, step: int, metrics: dict[str, float]) -> None:
        """The folder itself loads as the best model so far, at any moment of the run."""
        self.save(self.folder, step, metrics)

    def save(self, folder: Path, step: int, metrics: dict[str, float] | None) -> None:
        measured = None if metrics is None else self.measured()
        settings = self.config.model_dump(mode="json", exclude_unset=True)
        settings |= {"data": Path(self.source).name, "step": step}
        card = self.encoder.model_card(title=self.folder.name, measured=measured, training=settings)
        self.encoder.save_pretrained(folder, layout=self.config.layout, card=card)

    def measured(self) -> str | None:
        """The card's table: the last scores on the dev set, with their interval."""
        from simcse_kit.evaluation.sts import intervals, markdown_table

        if self.dev is None or self.judged is None:
            return None
        sure = intervals(self.judged, [self.dev], draws=_DRAWS)
        table = markdown_table({self.judged.model: self.judged}, {self.judged.model: sure})
        return f"On the dev set that the step was chosen on, which flatters it.\n\n{table.strip()}"

    def draw(self, chosen: SentenceEncoder, history: list[dict[str, Any]]) -> None:
        """The curve of the run; with a dev set also its cosines and the way through the plane."""
        from simcse_kit.evaluation import plots

        plots.training_curve(history, self.folder / "training_curve.png")
        if self.dev is None:
            return
        cosines = evaluate(chosen, [self.dev]).cosines[self.dev.name]
        plots.cosine_densities(
            cosines, self.dev.gold, self.folder / f"cosines_{self.dev.name}.png", self.dev.name
        )
        scored = [entry for entry in history if "eval_alignment" in entry]
        best = max(scored, key=lambda entry: entry["eval_spearman"], default=None)
        points = {  # a run may have a hundred evaluations: its start, its best and its end
            f"step {entry['step']}": (
                entry["eval_alignment"],
                entry["eval_uniformity"],
                entry["eval_spearman"],
            )
            for entry in (*scored[:1], best, *scored[-1:])
            if entry is not None
        }
        if points:
            plots.alignment_uniformity_plane(points, self.folder / "alignment_uniformity.png")

    def finish(self, trainer: ContrastiveTrainer) -> TrainResult:
        """Keep the last step apart, draw the curve, hand back the chosen model."""
        state, history = trainer.state, trainer.state.log_history
        if not all(parameter.isfinite().all() for parameter in self.encoder.parameters()):
            raise InputError(
                f"{trainer.stopped or 'training ended'}; the weights are not finite, so the last "
                f"step is not saved; what was saved before is in {str(self.folder)!r}"
            )
        chosen, best = self.encoder, state.best_global_step
        if trainer.is_world_process_zero():
            self.save(self.folder / "last", state.global_step, None)
            if best is None:
                self.save(self.folder, state.global_step, None)
            lines = "".join(json.dumps(entry) + "\n" for entry in history)
            (self.folder / HISTORY_FILE).write_text(lines)
            # What the settings do not hold: a report reads it, and finds the model it began as.
            began = {"model": self.encoder.name, "data": short(self.source)}
            made = {"made": provenance(Path(sys.argv[0]).name)}
            (self.folder / RUN_FILE).write_text(json.dumps(began | made, indent=2) + "\n")
        if best is not None and best != state.global_step:
            chosen = SentenceEncoder.from_pretrained(
                self.folder, device=self.encoder.device, precision=self.encoder.precision
            )
        if trainer.is_world_process_zero():
            self.draw(chosen, history)
            if self.config.push_to_hub:
                chosen.push_to_hub(
                    self.config.hub_model_id or self.folder.name,
                    card=(self.folder / "README.md").read_text(),
                )
        wait_for_all()  # the folder is whole when any rank returns
        return TrainResult(
            self.folder,
            chosen.eval(),
            state.global_step,
            best,
            state.best_metric,
            history,
            trainer.stopped,
        )


def _check_folder(folder: Path, resume: bool, overwrite: bool) -> str | None:
    """The checkpoint to resume from; `InputError` where the folder cannot be used."""
    check_can_make(folder)
    filled = folder.is_dir() and any(folder.iterdir())
    if resume:
        checkpoint = get_last_checkpoint(str(folder)) if filled else None
        if checkpoint is None:
            raise InputError(f"nothing to resume: {str(folder)!r} holds no checkpoint")
        return checkpoint
    if filled and not overwrite:
        raise InputError(
            f"output folder {str(folder)!r} is not empty; give a new one, or --resume or "
            "--overwrite the run in it"
        )
    if filled and not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"output folder {str(folder)!r} holds no earlier run ({CONFIG_FILE} is missing), so it "
            "is not overwritten; give a new folder"
        )
    return None


@contextlib.contextmanager
def _prepared(folder: Path, config: TrainConfig, resume: bool, overwrite: bool) -> Iterator[None]:
    """The run's folder with its settings; gone again where the run fails before it has a model."""
    wait_for_all()  # until every rank has checked the folder as it was
    if not is_main():
        wait_for_all()
        yield
        return
    try:
        if overwrite and folder.is_dir():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = config.model_dump(mode="json")
        (folder / CONFIG_FILE).write_text(yaml.safe_dump(settings, sort_keys=False))
    except OSError as error:
        raise InputError(f"cannot write to output folder {str(folder)!r}: {error}") from error
    wait_for_all()
    try:
        yield
    except Exception:
        kept = [*folder.glob("checkpoint-*"), *folder.glob("modules.json")]
        if not resume and not kept:
            shutil.rmtree(folder)
        raise


def _load(model: str | Path | SentenceEncoder, config: TrainConfig) -> SentenceEncoder:
    device = "cpu" if config.use_cpu else None
    precisions: dict[bool | None, Precision] = {None: "auto", True: "bf16", False: "fp32"}
    precision = precisions[config.bf16]
    if isinstance(model, SentenceEncoder):
        if config.pooling is not None:
            model.pooling = config.pooling
        encoder = model.to(device or model.device)
        encoder.precision = resolve_precision(precision, encoder.device)
    else:
        encoder = SentenceEncoder.from_pretrained(
            model,
            pooling=config.pooling,
            device=device,
            precision=precision,
        )
    if config.dropout is not None:
        encoder.set_dropout(config.dropout)
    return encoder
