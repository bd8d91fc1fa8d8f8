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

    The command runs again as it stands in the folder it ran in, but for what lies elsewhere: see
    `shareable`.
    """
    return {
        "command": f"{_typed(program)} {shlex.join(map(shareable, sys.argv[1:]))}".strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware(),
        "versions": {name: version(name) for name in PACKAGES}
        | {"simcse-kit": __version__, "python": sys.version.split()[0]},
    }


def _typed(program: str) -> str:
    """The program's name in a command; ours has one, started as a module too."""
    started = Path(sys.argv[0]).as_posix()
    ours = started.endswith(("simcse_kit/__main__.py", "simcse_kit/commands/cli.py"))
    return "simcse-kit" if ours else program


#: What stands in a command in place of folders that are nobody else's business.
ELSEWHERE = "/path/to"


def shareable(argument: str) -> str:
    """An argument as others may see it: the folders of this machine are not for them.

    A relative path stays as it was given. An absolute one, or that of KEY=PATH, becomes relative
    where it lies in the current folder, and elsewhere /path/to and its last part.
    """
    key, equals, value = argument.rpartition("=")
    path = Path(value)
    if not path.is_absolute():
        return argument
    here = Path.cwd()
    if here != Path(here.anchor) and path.is_relative_to(here):
        return f"{key}{equals}{path.relative_to(here)}"
    return f"{key}{equals}{ELSEWHERE}/{path.name}"


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
