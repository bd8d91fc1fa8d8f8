"""Contrastive training of a sentence encoder: SimCSE, unsupervised and supervised."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor, nn
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from simcse_kit.card import model_card
from simcse_kit.collapse import CollapseAlarm, batch_geometry
from simcse_kit.config import TrainConfig
from simcse_kit.data import Rows, read_rows
from simcse_kit.dropout import use_fast_dropout
from simcse_kit.encoder import SentenceEncoder, resolve_precision
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import PairTask, evaluate
from simcse_kit.masked_lm import MaskedLanguageModel
from simcse_kit.memory import keep_buffers
from simcse_kit.objectives.info_nce import InfoNCE, equal_text_mask
from simcse_kit.packing import PackedBatch
from simcse_kit.persistence import Head
from simcse_kit.tokens import TokenStore
from simcse_kit.trainer import ContrastiveTrainer, GracefulInterrupt, RowNumbers, ViewCollator
from simcse_kit.views import dropout_twins, given_columns

logger = logging.getLogger(__name__)

CONFIG_FILE = "train_config.yaml"


class ContrastiveModel(nn.Module):
    """What is trained: encoder, train-only projection and objective.

    The objective's own parameters and the projection live here, so that the Trainer's
    checkpoints carry them; only the encoder is saved as the model.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        objective: InfoNCE,
        *,
        projection: nn.Module | None = None,
        masked_lm: MaskedLanguageModel | None = None,
        masked_lm_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.projection = projection
        self.masked_lm = masked_lm
        self.masked_lm_weight = masked_lm_weight

    def forward(self, batch: PackedBatch, text_ids: Tensor | None = None) -> dict[str, Any]:
        """One step's loss.

        Args:
            batch: ``B·V`` sequences, the ``V`` views of a row side by side: anchor, positive,
                hard negatives.
            text_ids: int ``(B, V)``, equal for equal texts, to mask false negatives; or None.

        Returns:
            ``loss`` scalar, ``figures`` as in `batch_geometry`, ``rows`` B.
        """
        h = self.encoder(batch)  # (B·V, D): one forward, each copy with its own dropout mask
        z = h if self.projection is None else self.projection(h)
        views = 2 if text_ids is None else text_ids.shape[1]
        z = z.unflatten(0, (-1, views))  # (B, V, D)
        anchors, positives = z[:, 0], z[:, 1]
        negatives = z[:, 2:] if views > 2 else None
        mask = None if text_ids is None else equal_text_mask(text_ids)
        loss = self.objective(anchors, positives, negatives, mask)
        if self.masked_lm is not None:
            loss = loss + self.masked_lm_weight * self.masked_lm(self.encoder.backbone, batch)
        return {"loss": loss, "figures": batch_geometry(anchors, positives), "rows": len(z)}


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
) -> TrainResult:
    """Fine-tune an encoder on texts (dropout twins) or on pairs with hard negatives.

    Args:
        model: what `SentenceEncoder.from_pretrained` takes, or an encoder, trained in place.
        data: what `read_rows` takes, or rows. Columns decide: ``text`` trains on dropout twins,
            ``anchor, positive[, negative…]`` on the given views.
        config: every setting.
        output_dir: new or empty folder; ends up loading as the chosen model.
        eval_data: dev pairs: scored at step 0 and every `eval_steps`; the best step is chosen.
        resume: continue the run in `output_dir` from its last checkpoint, exactly.
        overwrite: replace an earlier run in `output_dir`.

    Raises:
        InputError: anything given cannot be trained on; nothing was written then.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is saved.
    """
    keep_buffers()
    folder = Path(output_dir)
    checkpoint = _check_folder(folder, resume, overwrite)
    rows = data if isinstance(data, Rows) else read_rows(data)
    _check_rows(rows, config)
    set_seed(config.seed)  # before the head is initialised
    encoder = _load(model, config)
    _check_encoder(encoder, rows, config)
    contrastive = _build(encoder, config)
    views, text_ids = _views(rows, config)
    store = TokenStore.build(
        rows.texts(),
        encoder.tokenizer,
        config.max_length,
        cache_dir=config.cache_dir or Path.home() / ".cache" / "simcse_kit" / "tokens",
        show_progress=True,
    )
    _prepare_folder(folder, overwrite, config)
    run = _Run(folder, encoder, config, eval_data, rows.source)
    trainer = run.trainer(contrastive, ViewCollator(store, views, text_ids), len(rows), checkpoint)
    interrupt = GracefulInterrupt()
    trainer.add_callback(interrupt)
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
        )

    def score(self) -> dict[str, float]:
        """Dev Spearman ×100, alignment and uniformity of the encoder as it is."""
        assert self.dev is not None
        result = evaluate(self.encoder, [self.dev])
        figures = {"eval_spearman": result.tasks[self.dev.name].spearman}
        if result.geometry is not None:  # None where no pair scores above alignment's threshold
            figures["eval_alignment"] = result.geometry.alignment
            figures["eval_uniformity"] = result.geometry.uniformity
        return figures

    def save_best(self, step: int, metrics: dict[str, float]) -> None:
        """The folder itself loads as the best model so far, at any moment of the run."""
        self.save(self.folder, step, metrics)

    def save(self, folder: Path, step: int, metrics: dict[str, float] | None) -> None:
        measured = None
        if metrics is not None and self.dev is not None:
            scores = ", ".join(
                f"{key.removeprefix('eval_')} {value:.3f}" for key, value in metrics.items()
            )
            measured = (
                f"{self.dev.name}, {len(self.dev)} pairs, used to choose the step: {scores} "
                "(Spearman ×100)."
            )
        settings = self.config.model_dump(mode="json", exclude_unset=True)
        settings |= {"data": Path(self.source).name, "step": step}
        card = model_card(
            self.encoder, title=self.folder.name, measured=measured, training=settings
        )
        self.encoder.save_pretrained(folder, layout=self.config.layout, card=card)

    def finish(self, trainer: ContrastiveTrainer) -> TrainResult:
        """Keep the last step apart, draw the curve, hand back the chosen model."""
        from simcse_kit.evaluation.plots import training_curve

        state, history = trainer.state, trainer.state.log_history
        chosen = self.encoder
        if trainer.is_world_process_zero():
            self.save(self.folder / "last", state.global_step, None)
            if self.dev is None:
                self.save(self.folder, state.global_step, None)
            lines = "".join(json.dumps(entry) + "\n" for entry in history)
            (self.folder / "history.jsonl").write_text(lines)
            training_curve(history, self.folder / "training_curve.png")
        if self.dev is not None and state.best_global_step != state.global_step:
            chosen = SentenceEncoder.from_pretrained(
                self.folder, device=self.encoder.device, precision=self.encoder.precision
            )
        if self.config.push_to_hub:
            chosen.push_to_hub(
                self.config.hub_model_id or self.folder.name,
                card=(self.folder / "README.md").read_text(),
            )
        return TrainResult(
            self.folder,
            chosen.eval(),
            state.global_step,
            state.best_global_step if self.dev is not None else None,
            state.best_metric if self.dev is not None else None,
            history,
            trainer.stopped,
        )


def _check_folder(folder: Path, resume: bool, overwrite: bool) -> str | None:
    """The checkpoint to resume from; `InputError` where the folder cannot be used."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output folder {str(folder)!r} is a file; give a folder")
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


def _prepare_folder(folder: Path, overwrite: bool, config: TrainConfig) -> None:
    try:
        if overwrite and folder.is_dir():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = config.model_dump(mode="json")
        (folder / CONFIG_FILE).write_text(yaml.safe_dump(settings, sort_keys=False))
    except OSError as error:
        raise InputError(f"cannot write to output folder {str(folder)!r}: {error}") from error


def _check_rows(rows: Rows, config: TrainConfig) -> None:
    if rows.kind not in ("text", "pairs"):
        raise InputError(
            f"{rows.source}: {rows.kind} rows ({', '.join(rows.columns)}) do not train an encoder "
            "contrastively; give a column text, or anchor and positive"
        )
    batch = config.per_device_train_batch_size
    if len(rows) < batch:
        raise InputError(
            f"{rows.source}: {len(rows)} rows do not fill one batch of {batch}; give more rows or "
            "a smaller per_device_train_batch_size"
        )


def _load(model: str | Path | SentenceEncoder, config: TrainConfig) -> SentenceEncoder:
    device = "cpu" if config.use_cpu else None
    precision = {None: "auto", True: "bf16", False: "fp32"}[config.bf16]
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
            precision=precision,  # type: ignore[arg-type]
        )
    if config.dropout is not None:
        encoder.set_dropout(config.dropout)
    return encoder


def _check_encoder(encoder: SentenceEncoder, rows: Rows, config: TrainConfig) -> None:
    encoder.check_max_length(config.max_length)
    if rows.kind == "text" and not any(encoder.dropout_rates()):
        raise InputError(
            f"every dropout rate of {encoder.name!r} is 0, so the two views of a text would be "
            "the same and teach nothing; set dropout, for instance --set dropout=0.1"
        )


def _build(encoder: SentenceEncoder, config: TrainConfig) -> ContrastiveModel:
    """Add what is trained beside the backbone, freshly initialised as Hugging Face does."""
    use_fast_dropout(encoder.backbone)
    width = encoder.dimension
    projection = None
    if config.head == "train_only" or (config.head == "keep" and encoder.head is None):
        head = Head(width, width)
        spread = getattr(encoder.backbone.config, "initializer_range", 0.02)
        nn.init.normal_(head.linear.weight, std=spread)
        nn.init.zeros_(head.linear.bias)
        head.to(encoder.device)
        if config.head == "keep":
            encoder.head = head
        else:
            projection = head
    masked_lm = None
    if config.mlm_weight > 0:
        masked_lm = MaskedLanguageModel(encoder, config.mlm_probability).to(encoder.device)
    return ContrastiveModel(
        encoder,
        InfoNCE(config.temperature, config.hard_negative_weight),
        projection=projection,
        masked_lm=masked_lm,
        masked_lm_weight=config.mlm_weight,
    )


def _views(rows: Rows, config: TrainConfig) -> tuple[Any, np.ndarray | None]:
    """The view function of these rows, and the numbers of their texts (equal for equal texts)."""
    columns = 2 if rows.kind == "text" else len(rows.columns)
    if rows.kind == "text":
        views = dropout_twins
    else:
        views = partial(given_columns, columns=columns, total=len(rows))
    if not config.mask_equal_texts and columns == 2:
        return views, None
    numbers: dict[str, int] = {}
    texts = rows.texts()
    if not config.mask_equal_texts:
        return views, np.arange(len(texts), dtype=np.int64)
    text_ids = np.fromiter(
        (numbers.setdefault(text, len(numbers)) for text in texts), np.int64, len(texts)
    )
    if columns == 2 and len(numbers) == len(texts):
        return views, None
    return views, text_ids
