"""What a run is given, checked before anything is written: dev set, rows, encoder."""

from __future__ import annotations

import numpy as np

from simcse_kit.data import Rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training.config import TrainConfig
from simcse_kit.training.distributed import world_size


def check_dev(dev: PairTask | None, config: TrainConfig) -> None:
    """Raise InputError for a dev set that ranks nothing, or one that is missing but needed."""
    if dev is None:
        if config.early_stopping_patience is not None:
            raise InputError("early_stopping_patience needs a dev set; give one with --eval-data")
    elif len(dev) < 3 or np.ptp(dev.gold) == 0:
        raise InputError(
            f"dev set {dev.source}: {len(dev)} pairs with scores from {dev.gold.min():g} to "
            f"{dev.gold.max():g} rank nothing; give at least three pairs of different scores"
        )


def check_rows(rows: Rows, config: TrainConfig) -> None:
    """Raise InputError for rows that do not train contrastively, or do not fill a batch."""
    if rows.kind not in ("text", "pairs"):
        raise InputError(
            f"{rows.source}: {rows.kind} rows ({', '.join(rows.columns)}) do not train an encoder "
            "contrastively; give a column text, or anchor and positive"
        )
    batch = config.per_device_train_batch_size
    if len(rows) < batch * world_size():
        ranks = f" on each of {world_size()} ranks" if world_size() > 1 else ""
        raise InputError(
            f"{rows.source}: {len(rows)} rows do not fill one batch of {batch}{ranks}; give more "
            "rows or a smaller per_device_train_batch_size"
        )


def check_encoder(encoder: SentenceEncoder, rows: Rows, config: TrainConfig) -> None:
    """Raise InputError for what this encoder, where it is, cannot be trained with."""
    encoder.check_max_length(config.max_length)
    if config.torch_compile and encoder.device.type == "cpu":
        raise InputError(
            "torch_compile is for a GPU; on a CPU this package trains through compiled kernels of "
            "its own, so leave torch_compile out"
        )
    if config.torch_compile and not encoder.packed:
        family = encoder.backbone.config.model_type
        raise InputError(
            f"torch_compile: {family} models run padded, in shapes that change with every batch; "
            "leave torch_compile out"
        )
    if rows.kind == "text" and not any(encoder.dropout_rates()):
        raise InputError(
            f"every dropout rate of {encoder.name!r} is 0, so the two views of a text would be "
            "the same and teach nothing; set dropout, for instance --set dropout=0.1"
        )
