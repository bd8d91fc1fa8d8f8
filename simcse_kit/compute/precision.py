"""Which precision a device computes in."""

from __future__ import annotations

from typing import Literal

import torch

from simcse_kit.errors import InputError

Precision = Literal["auto", "fp32", "bf16"]


def resolve_precision(precision: str, device: torch.device | str) -> Literal["fp32", "bf16"]:
    """``fp32`` or ``bf16``; ``auto`` is bf16 where the hardware multiplies it natively.

    That is CUDA of compute capability 8.0 and CPUs with AVX512-BF16 or AMX.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise InputError(f"unknown precision {precision!r}; choose auto, fp32 or bf16")
    if precision == "fp32":
        return "fp32"
    if precision == "bf16":
        return "bf16"
    device = torch.device(device)
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        native = device.type == "cpu" and any(
            getattr(torch.cpu, check, lambda: False)() for check in checks
        )
    return "bf16" if native else "fp32"
