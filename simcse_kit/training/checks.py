"""What a run is given, checked before anything is written: places, dev set, rows, encoder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from huggingface_hub import constants

from simcse_kit.data import Rows, Source, at_home
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training.distributed import is_main, world_size
from simcse_kit.training.settings.config import TrainConfig

logger = logging.getLogger(__name__)


def tokens_folder(config: TrainConfig) -> Path | None:
    """Where a run keeps its tokenised texts; None is in memory, where there is no such place."""
    folder = tokens_place(config)
    if folder is None:
        logger.warning(
            "the tokens stay in memory and will be made again: ~/.cache cannot be written; "
            "cache_dir=DIR keeps them"
        )
    return folder


def tokens_place(config: TrainConfig) -> Path | None:
    """Where tokens and the rows of large files are kept: the place that was named in any case, else
    the user's cache, where there is one.
    """
    if config.cache_dir is not None:
        return config.cache_dir
    try:
        folder = Path.home() / ".cache" / "simcse_kit" / "tokens"
    except RuntimeError:  # a user whom the system does not know, as in many a container
        return None
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    return folder if os.access(there, os.W_OK | os.X_OK) else None


def check_apart(
    folder: Path,
    model: str | Path | SentenceEncoder,
    data: Source | Rows,
    dev: PairTask | None,
    config: TrainConfig,
    *,
    overwrite: bool,
) -> None:
    """Raise InputError where the output folder holds what the run is given, by any name of it.

    The model must lie elsewhere in any case, for the folder is going to be a model itself; the
    rest where the folder is to be emptied.
    """
    start = str(model.name if isinstance(model, SentenceEncoder) else model)
    if _inside(start, folder):
        if Path(start).resolve() == folder.resolve():
            raise InputError(
                f"output folder {str(folder)!r} is the model that training starts from, which "
                "would be replaced; give another output folder"
            )
        raise InputError(
            f"model {start!r} lies in output folder {str(folder)!r}, which training writes into; "
            "give another output folder"
        )
    if not overwrite:
        return
    origins = {config.origin(key) or "" for key in config.model_fields_set}
    places = [
        ("data", _name(data)),
        *(("data", each.data) for each in config.datasets),
        ("dev set", "" if dev is None else dev.source),
        ("cache of tokens", str(tokens_place(config) or "")),
        *(("Hugging Face cache", each) for each in (constants.HF_HUB_CACHE, constants.HF_HOME)),
        *(("recipe", each.removeprefix("recipe ")) for each in origins if "recipe " in each),
    ]
    for what, place in places:
        if _inside(place, folder, there=what != "cache of tokens"):
            raise InputError(
                f"{what} {place!r} lies in output folder {str(folder)!r}, which --overwrite "
                "empties; move it, or give another output folder"
            )


def _name(data: Source | Rows) -> str:
    """Where data come from; nowhere where a program holds them."""
    if isinstance(data, Rows):
        return data.source
    return os.fspath(data) if isinstance(data, str | os.PathLike) else ""


def _inside(place: str, folder: Path, *, there: bool = True) -> bool:
    """Whether a name is that of a file or folder in this one, or of the folder itself.

    Args:
        there: what is not there is not inside; else it is made before the folder is emptied.
    """
    path = at_home(place)
    if not place or (there and not path.exists()):
        return False
    on_the_way = path.absolute()
    links = [each.parent.resolve() / each.name for each in (on_the_way, *on_the_way.parents)]
    return any(each.is_relative_to(folder.resolve()) for each in (path.resolve(), *links))


def check_dev(dev: PairTask | None, config: TrainConfig) -> None:
    """Raise InputError for a dev set that ranks nothing, one too many, or one that is missing."""
    if config.eval_split is not None:
        if dev is not None:
            raise InputError(
                "--eval-data and --eval-split (eval_split) both make a dev set; give one of them"
            )
    elif dev is None:
        if config.early_stopping_patience is not None:
            raise InputError(
                "early_stopping_patience needs a dev set; give one with --eval-data or --eval-split"
            )
    elif len(dev) < 3 or np.ptp(dev.gold) == 0:
        raise InputError(
            f"dev set {dev.source}: {len(dev)} pairs with scores from {dev.gold.min():g} to "
            f"{dev.gold.max():g} rank nothing; give at least three pairs of different scores"
        )


def check_batch(rows: Rows, config: TrainConfig, count: int) -> None:
    """Raise InputError for rows, `count` of which are trained on, that do not fill a batch."""
    batch = config.per_device_train_batch_size
    if count < batch * world_size():
        ranks = f" on each of {world_size()} ranks" if world_size() > 1 else ""
        raise InputError(
            f"{rows.source}: {count} rows do not fill one batch of {batch}{ranks}; give more "
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
    differing = ("anchor_view", "positive_view", "pairing", "positive_dropout", "positive_template")
    alike = all(getattr(config, name) is None for name in differing)
    if alike and not any(encoder.dropout_rates()):
        _check_views_differ(encoder, rows)


def _check_views_differ(encoder: SentenceEncoder, rows: Rows) -> None:
    """What is asked without dropout: that a row's texts differ."""
    if rows.kind == "scored":
        return
    if len(rows.columns) == 1:
        raise InputError(
            f"every dropout rate of {encoder.name!r} is 0, so the two views of a text would be "
            "the same and teach nothing; set dropout, for instance --set dropout=0.1"
        )
    anchors, positives, *_ = rows.columns.values()
    same = [row for row, (a, b) in enumerate(zip(anchors, positives, strict=True)) if a == b]
    if same and len(same) == len(rows):
        raise InputError(
            f"{rows.where(0)}: the anchor is its own positive, here and in every other row, and "
            f"every dropout rate of {encoder.name!r} is 0, so there is nothing to bring together; "
            "give other positives, or set dropout, for instance --set dropout=0.1"
        )
    if same and is_main():
        logger.warning(
            "%s: the anchor is its own positive, which teaches nothing without dropout; so it is "
            "in %d of %d rows",
            *(rows.where(same[0]), len(same), len(rows)),
        )


def joint_batch(config: TrainConfig) -> int:
    """Rows that are each other's negatives."""
    return config.per_device_train_batch_size * (world_size() if config.gather_negatives else 1)
