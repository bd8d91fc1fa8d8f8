"""One encoder whose weights are the mean of several encoders'."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from simcse_kit.encoder.adapters import has_adapters, merged
from simcse_kit.encoder.identity import architecture_of
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError

#: Matrices of encoders trained from one start keep a cosine near 1; of two starts it is near 0.
ONE_START = 0.5
#: What must be alike besides the network, or the mean would read texts as none of them does.
_ALIKE = (
    *("pooling", "normalize", "truncate_dim", "include_prompt", "max_length", "prompts"),
    *("default_prompt", "similarity_fn_name"),
)


def averaged(encoders: Sequence[SentenceEncoder]) -> SentenceEncoder:
    """An encoder with the mean of these encoders' weights, which embeds at the cost of one.

    Meant for runs of one start, with other seeds or settings. Means are taken in float64.

    Source: Wortsman et al., Model soups (ICML 2022), the uniform soup.

    Args:
        encoders: two or more, left as they are; the first gives the name, device and precision.

    Raises:
        InputError: fewer than two; other networks, tokenizers, poolings, heads, prompts or lengths;
            one that an export runs; a matrix that does not come from one start (`ONE_START`);
            weights that are quantised or not finite.
    """
    if len(encoders) < 2:
        raise InputError("a mean is of two encoders or more; give at least two")
    first = encoders[0]
    for encoder in encoders:
        _check_alike(encoder, first)
    made = copy.deepcopy(first)
    made.backbone = merged(made.backbone)
    weights = [_weights(encoder) for encoder in encoders]
    for encoder, other in zip(encoders[1:], weights[1:], strict=True):
        _check_one_start(encoder.name, first.name, other, weights[0])
    with torch.no_grad():
        for name, weight in _weights(made).items():
            if weight.is_floating_point():  # one that has two names is written twice, and alike
                every = [each[name].to(weight.device).double() for each in weights]
                weight.copy_(torch.stack(every).mean(0))
    return made.eval()


def _weights(encoder: SentenceEncoder) -> dict[str, Tensor]:
    """Its weights by name, what adapters add in them."""
    if not has_adapters(encoder.backbone):
        return encoder.state_dict()
    own = {
        name: weight
        for name, weight in encoder.state_dict().items()
        if not name.startswith("backbone.")
    }
    whole = merged(encoder.backbone).state_dict()
    return own | {f"backbone.{name}": weight for name, weight in whole.items()}


def _check_alike(encoder: SentenceEncoder, first: SentenceEncoder) -> None:
    if encoder.runtime is not None:
        raise InputError(
            f"{encoder.name} is run by an export and has no weights to average; load it without "
            "a backend"
        )
    for key in _ALIKE:
        own, theirs = getattr(encoder, key), getattr(first, key)
        if own != theirs:
            raise InputError(
                f"{encoder.name} has {key} {own!r}, {first.name} has {theirs!r}; encoders are "
                "averaged that read texts alike"
            )
    if repr(encoder.head) != repr(first.head):
        raise InputError(
            f"{encoder.name} and {first.name} have other heads; leave them out with head='none'",
            command_line=f"{encoder.name} and {first.name} have other heads; leave them out with "
            "--head none",
        )
    if has_adapters(encoder.backbone) or has_adapters(first.backbone):
        return  # their shapes are compared where they are merged
    if architecture_of(encoder) != architecture_of(first):
        raise InputError(
            f"{encoder.name} has another network or tokenizer than {first.name}; encoders are "
            "averaged that were trained from one start"
        )


def _check_one_start(
    name: str, first: str, weights: dict[str, Tensor], others: dict[str, Tensor]
) -> None:
    """Refuse weights of another start: the mean of such networks computes nothing."""
    shapes = {key: each.shape for key, each in weights.items()}
    if shapes != {key: each.shape for key, each in others.items()}:
        raise InputError(
            f"{name} has another network than {first}; encoders are averaged that were trained "
            "from one start"
        )
    for key, weight in weights.items():
        other = others[key].to(weight.device)
        if not weight.is_floating_point():
            if not torch.equal(weight, other):
                raise InputError(
                    f"{key} of {name} and {first} is of whole numbers that differ, as in quantised "
                    "models: these have no mean; average the models before that"
                )
            continue
        if not bool(weight.isfinite().all() and other.isfinite().all()):
            raise InputError(f"{key} of {name} or {first} has numbers that are not finite")
        if weight.dim() < 2 or not weight.any() or not other.any():
            continue
        a, b = weight.double().flatten(), other.double().flatten()
        cosine = float(a @ b / (a.norm() * b.norm()))
        if cosine < ONE_START:
            raise InputError(
                f"{key} of {name} and {first} have a cosine of {cosine:.2f}: they were not trained "
                "from one start, and the mean of such networks embeds nothing"
            )
