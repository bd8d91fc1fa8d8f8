"""The formats of an export: where its files lie in a model's folder, and which packages they need.

The folders and names are those that sentence-transformers looks for.
"""

from __future__ import annotations

import importlib.util
from typing import Literal, get_args

from simcse_kit.errors import InputError

Format = Literal["onnx", "openvino"]
Backend = Literal["torch", "onnx", "openvino"]
FORMATS: tuple[str, ...] = get_args(Format)
BACKENDS: tuple[str, ...] = get_args(Backend)

#: What an export's folder, of the format's name, holds beside the model's own files.
NOTE = "export.json"
MODEL_FILE = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}

_RUN_BY = {"onnx": ("onnxruntime",), "openvino": ("openvino",)}
_WRITTEN_BY = ("onnx", "onnxscript", "onnxruntime")
_INT8_BY = {"onnx": ("onnxruntime",), "openvino": ("nncf",)}


def missing_packages(format: str, *, to_write: bool = False, int8: bool = False) -> list[str]:
    """Packages that are wanting to run an export of this format, or to write one."""
    needed = [*_RUN_BY[format]]
    needed += _WRITTEN_BY if to_write else ()
    needed += _INT8_BY[format] if int8 else ()
    return [name for name in dict.fromkeys(needed) if importlib.util.find_spec(name) is None]


def check_packages(format: str, *, to_write: bool = False, int8: bool = False) -> None:
    """Raise InputError where one is wanting."""
    missing = missing_packages(format, to_write=to_write, int8=int8)
    if missing:
        raise InputError(
            f"{format} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            f"not installed: pip install 'simcse-kit[{format}]'"
        )


def check_format(format: str) -> None:
    """Raise InputError for a format that is none."""
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}; choose {' or '.join(FORMATS)}")


def check_backend(backend: str, *, dropout: float | None = None, device: object = None) -> None:
    """Raise InputError for a backend that is none, or is not installed.

    Args:
        dropout, device: None where they are left to it; it trains nothing, and runs on the CPU.
    """
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}; choose {' or '.join(BACKENDS)}")
    if backend == "torch":
        return
    if dropout is not None:
        raise InputError(f"dropout is for training, which {backend} cannot; take backend torch")
    if device is not None and str(device).partition(":")[0] != "cpu":
        raise InputError(f"backend {backend} runs on the CPU, not on {device}; leave device out")
    check_packages(backend)
