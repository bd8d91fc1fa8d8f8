"""Where a figure comes from: command, machine, versions, date."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from simcse_kit.version import __version__

PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers", "numpy")


def provenance(program: str) -> dict[str, Any]:
    """What belongs beside every figure: `program` with this process's arguments, and the rest.

    Absolute paths are cut to their last part: they say something about the machine and nothing
    about the figure.
    """
    return {
        "command": f"{program} {shlex.join(map(short, sys.argv[1:]))}".strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware(),
        "versions": {name: version(name) for name in PACKAGES}
        | {"simcse-kit": __version__, "python": sys.version.split()[0]},
    }


def short(argument: str) -> str:
    """An absolute path, or KEY=PATH, without the folders of this machine; else as it is."""
    key, equals, value = argument.rpartition("=")
    return f"{key}{equals}{Path(value).name}" if Path(value).is_absolute() else argument


def hardware() -> dict[str, Any]:
    """Processor, what it multiplies natively, threads, and the GPU where there is one."""
    import torch

    from simcse_kit.compute import resolve_precision

    info: dict[str, Any] = {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "native_precision": resolve_precision("auto", "cpu"),
    }
    if torch.cuda.is_available():
        info["gpu"] = torch.cuda.get_device_name()
    return info


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    notable = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags]
    return f"{names[0] if names else platform.machine()} ({', '.join(notable) or 'no AVX'})"
