"""The encoder a run starts from, and the ones that runs leave, loaded as the settings want them."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from simcse_kit.compute import Precision, model_precision
from simcse_kit.encoder import SentenceEncoder, add_lora, keep_layers
from simcse_kit.errors import InputError
from simcse_kit.training.rows.prompts import use_prompts
from simcse_kit.training.settings.config import TrainConfig

logger = logging.getLogger(__name__)


def load_to_train(model: str | Path | SentenceEncoder, config: TrainConfig) -> SentenceEncoder:
    """The encoder that is to be trained, as the settings want it; a given one is changed in place.

    Raises InputError where the model cannot be read, or has no pooling and none is set.
    """
    if isinstance(model, SentenceEncoder):
        if config.pooling is not None and config.pooling != model.pooling:
            logger.warning(
                "%s pools by %s, and is given %s instead",
                *(model.name, model.pooling, config.pooling),
            )
            model.pooling = config.pooling
        encoder = model.to(_device(config) or model.device)
        encoder.precision = model_precision(_precision(config), encoder.backbone, encoder.name)
    else:
        encoder = SentenceEncoder.from_pretrained(
            model,
            pooling=config.pooling,
            head=config.model_head,
            device=_device(config),
            precision=_precision(config),
            trust_remote_code=config.trust_remote_code,
        )
    if config.student_layers:
        if config.lora is not None and not config.merge_adapters:
            raise InputError(
                f"student_layers and lora: adapters are saved beside the name of {encoder.name!r}, "
                "which has all its layers; set merge_adapters to true, or leave one out"
            )
        encoder = keep_layers(encoder, config.student_layers)
    if config.lora is not None:
        add_lora(encoder.backbone, config.lora)
    use_prompts(encoder, config)
    if config.template is not None:
        encoder.use_template(config.template)
    if encoder.similarity_fn_name != "cosine":
        logger.warning(
            "%s compares by %s; training compares by cosine, and so does the model it leaves",
            *(encoder.name, encoder.similarity_fn_name),
        )
        encoder.similarity_fn_name = "cosine"
    if config.dropout is not None:
        encoder.set_dropout(config.dropout)
    encoder.normalize = config.normalize
    return encoder


def load_trained(
    folder: Path, config: TrainConfig, device: str | torch.device | None = None
) -> SentenceEncoder:
    """A model that a run left, as its training computed it."""
    return SentenceEncoder.from_pretrained(
        folder,
        device=device or _device(config),
        precision=_precision(config),
        trust_remote_code=config.trust_remote_code,
    )


def _device(config: TrainConfig) -> str | None:
    return "cpu" if config.use_cpu else None


def _precision(config: TrainConfig) -> Precision:
    precisions: dict[bool | None, Precision] = {None: "auto", True: "bf16", False: "fp32"}
    return precisions[config.bf16]
