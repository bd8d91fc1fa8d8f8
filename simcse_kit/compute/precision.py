"""Which precision a device computes in."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import torch

from simcse_kit.compute.packing import runs_packed
from simcse_kit.compute.shared_setting import SharedSetting
from simcse_kit.compute.unpacked import bf16_fails
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]

_PRODUCTS: Any = torch.backends.cuda.matmul
_NAME, _WHOLE = (
    ("fp32_precision", "ieee")
    if hasattr(_PRODUCTS, "fp32_precision")
    else ("allow_tf32", False)  # before torch 2.9
)
_products: SharedSetting[Any] = SharedSetting(
    lambda: getattr(_PRODUCTS, _NAME), lambda value: setattr(_PRODUCTS, _NAME, value)
)


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


def whole_products() -> AbstractContextManager[None]:
    """Products of fp32 in fp32 on a GPU, though the program lets it round them to TF32.

    In any number of threads; what the program chose stands again when the last one is done.
    """
    return _products.held(_WHOLE)


def model_precision(
    precision: str, backbone: PreTrainedModel, name: str
) -> Literal["fp32", "bf16"]:
    """As `resolve_precision` on the backbone's device, and what this backbone can compute in.

    A few (DeBERTa, X-MOD) cannot run in bf16 under autocast: ``auto`` is then fp32, which is said.

    Args:
        name: the model's, for the message.

    Raises:
        InputError: bf16 was asked for and the backbone cannot.
    """
    chosen = resolve_precision(precision, backbone.device)
    if chosen == "fp32" or runs_packed(backbone):
        return chosen
    reason = bf16_fails(backbone)
    if reason is None:
        return chosen
    if precision == "bf16":
        raise InputError(f"{name!r} does not run in bf16 ({reason}); use fp32 or auto")
    logger.warning("%s does not run in bf16 (%s); fp32 is taken", name, reason)
    return "fp32"
