"""What a run leaves, and what one that has finished left."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training.distributed import is_main
from simcse_kit.training.loading import load_trained
from simcse_kit.training.runs.folder import Ended, read_ended, read_history
from simcse_kit.training.runs.resuming import Begun
from simcse_kit.training.settings.config import TrainConfig

logger = logging.getLogger(__name__)

#: Said of a run whose best step is step 0.
DID_NOT_HELP = (
    "training did not help on the dev set; the folder holds the model as it was, the trained "
    "weights are in last/"
)


@dataclass
class TrainResult:
    """What a run left.

    Attributes:
        output_dir: loads as the chosen model; ``last/`` holds the last step.
        encoder: the chosen model: best on dev, or the last step without a dev set.
        steps: optimizer steps made in all.
        best_step, best_score: of the dev set (×100), or None.
        history: the log, one dict an entry, each with its ``step``.
        stopped: why training ended before its last step, or None.
        dev: what `best_score` is, for instance "STSB-dev Spearman", or None.
    """

    output_dir: Path
    encoder: SentenceEncoder
    steps: int
    best_step: int | None = None
    best_score: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: str | None = None
    dev: str | None = None


def already_finished(begun: Begun, config: TrainConfig, steps: int) -> Ended | None:
    """How a run ended, where there is nothing left to train with these settings."""
    ended = read_ended(begun.folder)
    if ended is None:
        return None
    early = ended.stopped is not None and not begun.goes_further(config, steps)
    return ended if ended.step >= steps or early else None


def finished_result(
    folder: Path, ended: Ended, model: str | Path | SentenceEncoder, config: TrainConfig
) -> TrainResult:
    """The result of a run that has finished, from its folder."""
    if is_main():
        logger.info(
            "the run in %s has finished (step %d of %d%s): nothing is trained; raise max_steps or "
            "num_train_epochs to go on",
            *(folder, ended.step, ended.of, f", {ended.stopped}" if ended.stopped else ""),
        )
        if ended.best_step == 0:
            logger.warning(DID_NOT_HELP)
    encoder = load_trained(
        folder, config, model.device if isinstance(model, SentenceEncoder) else None
    )
    return TrainResult(
        folder,
        encoder,
        ended.step,
        ended.best_step,
        ended.best_score,
        read_history(folder),
        ended.stopped,
        ended.dev,
    )
