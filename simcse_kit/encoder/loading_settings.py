"""How an encoder is to be loaded: what cannot be is said before its weights are read."""

from __future__ import annotations

import torch

from simcse_kit.compute import resolve_precision
from simcse_kit.encoder.devices import usable_device
from simcse_kit.errors import InputError


def place_to_compute(
    backend: str, device: str | torch.device | None, precision: str, dropout: float | None
) -> torch.device:
    """Where an encoder is going to compute.

    Raises:
        InputError: no such device, precision or backend, a rate that is none, or a backend that
            does not go with the others.
    """
    if backend == "torch":
        if dropout is not None:
            check_dropout(dropout)
        place = usable_device(device)
    else:
        from simcse_kit.encoder.runtimes import check_backend

        check_backend(backend, dropout=dropout, device=device)
        place = torch.device("cpu")
    resolve_precision(precision, place)
    return place


def check_dropout(rate: float) -> None:
    """Raise InputError for a rate that is none."""
    if not 0 <= rate < 1:
        raise InputError(f"dropout {rate} is no rate; use 0 or more and less than 1")
