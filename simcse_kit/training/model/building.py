"""From settings to the model that is trained: what stands beside the encoder, freshly made."""

from __future__ import annotations

import logging
from typing import TypeVar

import torch
from torch import nn

from simcse_kit.compute import use_fast_dropout
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.parts import Context
from simcse_kit.training.distributed import is_main
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.model.goal import Goal
from simcse_kit.training.model.masked_lm import MaskedLanguageModel
from simcse_kit.training.moving_average import MovingAverage
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.settings.methods import is_named

logger = logging.getLogger(__name__)

_Head = TypeVar("_Head", bound=nn.Module)


def build_model(
    encoder: SentenceEncoder, config: TrainConfig, *contexts: Context
) -> ContrastiveModel:
    """Add what is trained beside the backbone, freshly initialised as Hugging Face does.

    All of it is fp32, whatever it was stored or given in: in half precision most of an optimizer's
    small steps would be rounded away. What computes in half precision casts as it goes.

    Args:
        contexts: of each data set, as far as they are known; widths are filled in here.

    Raises InputError where the parts do not fit the encoder.
    """
    for dtype in {each.dtype for each in encoder.parameters()} - {torch.float32}:
        given = str(dtype).removeprefix("torch.")
        logger.info("%s is given in %s; it is trained in fp32", encoder.name, given)
    use_fast_dropout(encoder.backbone)
    sets = config.of_each_dataset()
    contexts = contexts or (Context(seed=config.seed),) * len(sets)
    projection = _projection(encoder, config, contexts[0])
    encoder.float()
    width = _width_out(projection, encoder)
    contexts = tuple(each.but(width=width) for each in contexts)
    masked_lm = None
    if config.mlm_weight > 0:
        masked_lm = MaskedLanguageModel(encoder, config.mlm_probability).to(encoder.device)
    if config.matryoshka_dims and max(config.matryoshka_dims) > width:
        raise InputError(
            f"matryoshka_dims {max(config.matryoshka_dims)} is more than the {width} numbers of "
            f"an embedding of {encoder.name!r}"
        )
    if config.matryoshka_dims and width not in config.matryoshka_dims and is_main():
        logger.warning(
            "matryoshka_dims %s leave out the whole embedding: of its %d numbers the objective "
            "sees the first %d alone; add %d to train all of them",
            *(config.matryoshka_dims, width, max(config.matryoshka_dims), width),
        )
    keys = None
    if config.keys is not None:
        keys = config.keys.build(contexts[0]).to(encoder.device)
        keys.start(encoder, projection)
    average = None
    if config.ema_decay is not None:
        average = MovingAverage(encoder, config.ema_decay, warm=True)
    goals = [
        _goal(own, context, weight, encoder.device)
        for own, context, weight in zip(sets, contexts, config.weights(), strict=True)
    ]
    model = ContrastiveModel(
        encoder,
        goals[0],
        further=goals[1:],
        projection=projection,
        keys=keys,
        average=average,
        masked_lm=masked_lm,
        masked_lm_weight=config.mlm_weight,
        mini_batch_size=config.mini_batch_size,
        gather_negatives=config.gather_negatives,
        positive_dropout=_positive_dropout(encoder, config),
    )
    return model.float().to(encoder.device)


def _goal(config: TrainConfig, context: Context, weight: float, device: torch.device) -> Goal:
    """What a data set's rows are trained for, by its own settings."""
    dims = config.matryoshka_dims
    return Goal(
        config.objective.build(context),
        auxiliaries=[(spec.build(context), spec.weight) for spec in config.auxiliaries],
        negatives=None if config.negatives is None else config.negatives.build(context),
        matryoshka=[*zip(dims, config.matryoshka_weights or [1.0] * len(dims), strict=True)],
        weight=weight,
        device=device,
    )


def _projection(
    encoder: SentenceEncoder, config: TrainConfig, context: Context
) -> nn.Module | None:
    """The head: given to the encoder where it is kept, else handed back."""
    if config.head == "none":
        return None
    if config.head == "keep" and encoder.head is not None:
        if is_named(config, "projection"):
            raise InputError(
                f"projection {config.projection.name}: {encoder.name!r} has a head already, which "
                "head 'keep' keeps; leave projection out, or set model_head to none"
            )
        return None
    # `truncate_dim` cuts what comes out of a head that is kept
    width = encoder.width if config.head == "keep" else encoder.dimension
    part = config.projection.build(context.but(width=width))
    spread = getattr(encoder.backbone.config, "initializer_range", 0.02)
    if config.head == "keep":
        encoder.head = _initialised(part.kept(), spread).to(encoder.device)
        return None
    head: nn.Module = _initialised(part.trained(), spread).to(encoder.device)
    return head


def _initialised(head: _Head, spread: float) -> _Head:
    """As Hugging Face does a new layer."""
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=spread)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return head


def _width_out(projection: nn.Module | None, encoder: SentenceEncoder) -> int:
    """Numbers that the objective sees."""
    if projection is None:
        return encoder.dimension
    linear = [each for each in projection.modules() if isinstance(each, nn.Linear)]
    return linear[-1].out_features


def _positive_dropout(encoder: SentenceEncoder, config: TrainConfig) -> float | None:
    """The positives' rate, where it is another than the anchors'."""
    rates = encoder.dropout_rates()
    if config.positive_dropout is None or rates == {config.positive_dropout}:
        return None
    if len(rates) != 1:
        raise InputError(
            f"positive_dropout: {encoder.name!r} has several dropout rates "
            f"({', '.join(f'{rate:g}' for rate in sorted(rates)) or 'none'}); set dropout too"
        )
    return config.positive_dropout
