"""Where an encoder may compute: a device that this machine has."""

from __future__ import annotations

import torch

from simcse_kit.errors import InputError


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of this name; without one CUDA where there is some, else the CPU.

    Raises:
        InputError: there is no such device, or this machine or this build of torch has none.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"device {str(name)!r} is not to be had ({reason:.120}); leave it out, or take cpu"
        ) from error
    return device
