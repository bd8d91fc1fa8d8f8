"""One encoder whose weights are the mean of several encoders'."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

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
        _check_settings(encoder, first)
    wholes = [_whole(encoder) for encoder in encoders]
    for whole in wholes[1:]:
        _check_weights(whole, wholes[0])
    made = copy.deepcopy(wholes[0])
    states = [whole.state_dict() for whole in wholes]
    with torch.no_grad():
        for name, weight in made.state_dict().items():
            if weight.is_floating_point():  # one that has two names is written twice, and alike
                every = [state[name].to(weight.device).double() for state in states]
                weight.copy_(torch.stack(every).mean(0))
    return made.eval()


def _whole(encoder: SentenceEncoder) -> SentenceEncoder:
    """The encoder, or a copy whose weights hold what its adapters add."""
    if not has_adapters(encoder.backbone):
        return encoder
    whole = copy.deepcopy(encoder)
    whole.backbone = merged(whole.backbone)
    return whole


def _check_settings(encoder: SentenceEncoder, first: SentenceEncoder) -> None:
    """Refuse encoders that do not read texts alike, or whose weights are gone."""
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


def _check_weights(encoder: SentenceEncoder, first: SentenceEncoder) -> None:
    """Refuse weights of another network or start: the mean of such networks computes nothing."""
    if architecture_of(encoder) != architecture_of(first):
        raise InputError(
            f"{encoder.name} has another network or tokenizer than {first.name}; encoders are "
            "averaged that were trained from one start"
        )
    both, others = f"{encoder.name} and {first.name}", first.state_dict()
    for key, weight in encoder.state_dict().items():
        other = others[key].to(weight.device)
        if not weight.is_floating_point():
            if not torch.equal(weight, other):
                raise InputError(
                    f"{key} of {both} is of whole numbers that differ, as in quantised "
                    "models: these have no mean; average the models before that"
                )
            continue
        if not bool(weight.isfinite().all() and other.isfinite().all()):
            raise InputError(f"{key} of {both} has numbers that are not finite")
        if weight.dim() < 2 or not weight.any() or not other.any():
            continue
        a, b = weight.double().flatten(), other.double().flatten()
        cosine = float(a @ b / (a.norm() * b.norm()))
        if cosine < ONE_START:
            raise InputError(
                f"{key} of {both} has a cosine of {cosine:.2f}: they were not trained "
                "from one start, and the mean of such networks embeds nothing"
            )
