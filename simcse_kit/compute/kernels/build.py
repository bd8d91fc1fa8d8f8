"""Compiled CPU kernels of training: built once on the machine that runs them, never required.

Packed attention with dropout, and what an encoder layer does between its matrix products, have
no fused CPU form in torch. The C++ beside this file has; torch's own extension loader compiles
it at the first training on a CPU (a quarter of a minute) and keeps the result in its cache.
Without a C++ compiler, or with ``SIMCSE_KIT_KERNELS=0``, the same results come from torch's
operators, more slowly.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

#: What the kernels take; anything else goes through torch's operators.
COMPILED_TYPES = (torch.float32, torch.bfloat16)

_COMPLETE = "complete"  # beside the library once it is whole: a killed build leaves none
_HERE = Path(__file__).parent
_SOURCES = ("attention.cpp", "gradients.cpp", "layer.cpp")
_FLAGS = (
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
)


@lru_cache(maxsize=1)
def kernels() -> Any:
    """The namespace ``torch.ops.simcse_kit`` with the kernels in it, or None without them.

    Its operators, on dense fp32 or bf16 CPU tensors, computing in fp32:

    - ``attention(query, key, value, lengths, seed, rate, scale, window, keep_weights)``: states
      ``(tokens, heads, dim)`` of sequences of these `lengths`, in ascending order; gives the
      attended states and the softmax weights, a row a key, negative where dropped. Without
      `keep_weights` (inference) nothing is dropped and none are given.
    - ``attention_backward(grad, query, key, value, weights, lengths, rate, scale)``: gradients of
      the three beside each other, ``(tokens, 3, heads, dim)``, and their sums over the tokens.
    - ``dropout_add_norm_(x, residual, seed, rate, weight, bias, eps)``: layer norm of
      ``dropout(x) + residual``, both ``(tokens, width)``, and that sum's moments; the sum takes
      x's place.
    - ``dropout_add_norm_backward(grad, second, total, stats, seed, rate, weight)``: gradients of x,
      residual, weight, bias, and of a bias within x; `second` is added to `grad`, or None.
    - ``add_norm(x, residual, weight, bias, eps, twin)``: for inference; the result is of the
      residual's type, and ``x`` may be bf16 beside an fp32 residual. With `twin` it comes in bf16
      besides (else None).
    - ``embed_norm(ids, positions, words, type, places, weight, bias, eps, twin)``: for inference,
      layer norm of ``words[ids] + type + places[positions]``, fp32 tables; raises IndexError.
    - ``gelu(x)`` of a matrix ``(tokens, width)``; ``gelu_backward_(grad, x)``: through it in grad's
      place; gives ``gelu(x)`` again and the float sums of grad's columns.
    - ``dropout(x, seed, rate)``, of a tensor of any shape; of a gradient, the way back.
    - ``sum_of_squares(tensors)`` of dense float ones.
    - ``transposed(x, to_float)`` of a bf16 matrix, ``column_sums(x)`` of any.

    A `seed` of None drops nothing; the same seed drops the same elements.
    """
    if os.environ.get("SIMCSE_KIT_KERNELS", "1") == "0":
        logger.info("compiled kernels are switched off")
        return None
    if not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "AMD64"):
        return None
    _offer_ninja()
    if not (shutil.which(os.environ.get("CXX", "c++")) and shutil.which("ninja")):
        logger.warning(
            "no C++ compiler with ninja found: training on the CPU runs without compiled kernels, "
            "more slowly"
        )
        return None
    try:
        return _loaded()
    except OSError as error:
        logger.warning(
            "the CPU kernels cannot be kept (%s): training is slower; TORCH_EXTENSIONS_DIR=DIR "
            "names a place for them",
            error,
        )
    except RuntimeError as error:
        logger.warning("the CPU kernels do not compile here (%s): training is slower", _said(error))
    return None


def built_kernels() -> Any:
    """`kernels`, unless that would mean waiting for the compiler now."""
    return kernels() if _is_built() else None


def _is_built() -> bool:
    global _built
    _built = _built or (_folder() / _COMPLETE).is_file()
    return _built


def _folder() -> Path:
    """Where the library lies, or will: looking for it makes no folder."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or _default_root()
    return Path(root) / f"simcse_kit_{_fingerprint()}"


def _default_root() -> str:
    """`torch.utils.cpp_extension.get_default_build_root`, which imports setuptools to say it."""
    try:
        from torch._appdirs import user_cache_dir

        return os.path.realpath(user_cache_dir(appname="torch_extensions"))
    except ImportError:  # another torch
        from torch.utils.cpp_extension import get_default_build_root

        return get_default_build_root()


_built = False


def _offer_ninja() -> None:
    """Put the ninja of this environment on the path, last, so that torch finds one."""
    folder = str(Path(sys.executable).parent)
    if folder not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join(filter(None, (os.environ.get("PATH"), folder)))


def _loaded() -> Any:
    folder = _folder()
    if _is_built():
        torch.ops.load_library(str(folder / f"{folder.name}.so"))
        return torch.ops.simcse_kit
    from torch.utils.cpp_extension import load

    logger.warning("compiling the CPU kernels, once on this machine (about 15 s)")
    with _alone_in(folder), _quoted_for_the_linker():
        # torch's own lock is a file that a killed build leaves behind, for all others to wait on
        (folder / "lock").unlink(missing_ok=True)
        load(
            folder.name,
            [str(_HERE / source) for source in _SOURCES],
            extra_cflags=list(_FLAGS),
            extra_ldflags=["-fopenmp"],
            build_directory=str(folder),
            is_python_module=False,
        )
        (folder / _COMPLETE).touch()
    return torch.ops.simcse_kit


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time; the system frees the place of one that dies."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "building").open("w") as place:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield


@contextmanager
def _quoted_for_the_linker() -> Iterator[None]:
    """torch hands the linker its own folder as it is: a space in the path would cut it in two."""
    from torch.utils import cpp_extension

    path = cpp_extension.TORCH_LIB_PATH
    cpp_extension.TORCH_LIB_PATH = shlex.quote(path)
    try:
        yield
    finally:
        cpp_extension.TORCH_LIB_PATH = path


def _said(error: Exception) -> str:
    """What the compiler complained of, in a line: torch and ninja put their commands before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    failed = [place for place, line in enumerate(lines) if line.startswith("FAILED: ")]
    after = lines[failed[0] + 2 :] if failed else []  # the command stands between
    return (after or lines or [type(error).__name__])[0]


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    """Changes with sources, flags, Python, torch and the processor (``-march=native``)."""
    made_for = _FLAGS, torch.__version__, sys.implementation.cache_tag
    digest = hashlib.sha256(repr(made_for).encode())
    for path in sorted(_HERE.iterdir()):
        if path.suffix in (".cpp", ".h"):
            digest.update(path.read_bytes())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    processor = [line for line in lines if line.startswith(("model name", "flags"))][:2]
    digest.update("\n".join(processor).encode())
    return digest.hexdigest()[:16]
