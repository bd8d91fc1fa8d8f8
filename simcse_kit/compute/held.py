"""Weights as products in inference want them: made once, and kept while they stand still.

A product in bf16 needs its weights in bf16, and oneDNN lays a matrix out anew for its tiles before
it multiplies. For a batch of many tokens both cost little; for one short text they are most of the
time. So what is made of an encoder's weights stays beside it from call to call: as much memory
again as its linear layers in that precision.

It stays only while every parameter is what it was. That is asked at the start of a call: torch
counts the changes it makes in place (``_version``), a parameter that was given other data lies
elsewhere, and a few of its numbers are looked at besides, for changes that torch does not count
(through ``.data``, or numpy).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

#: Numbers of a parameter that are looked at, evenly spread over it.
_LOOKED_AT = 16

#: Rows of the product that the layout is asked for. It serves any number, and hardly depends on it.
_ROWS = 256

_Key = tuple[torch.dtype | bool | int, ...]


class _Guard:
    """Tells whether a parameter is still what it was."""

    __slots__ = ("_numbers", "_place", "_some", "_version", "parameter")

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter  # referred to, so that no other gets its id
        flat = parameter.detach().numpy().reshape(-1)
        # a view: while it is there, no other data can be given the same place
        self._some = flat[:: max(1, flat.size // _LOOKED_AT)]
        self._numbers = self._some.tobytes()
        self._version, self._place = parameter._version, parameter.data_ptr()

    def stands(self) -> bool:
        now = self.parameter
        return (
            now._version == self._version
            and now.data_ptr() == self._place
            and self._some.tobytes() == self._numbers
        )


class _Held:
    """What was made of an encoder's parameters."""

    def __init__(self) -> None:
        self.made: dict[_Key, Tensor] = {}
        self._guards: dict[int, _Guard] = {}
        self._unguarded: list[Tensor] = []

    def keep(self, key: _Key, parameters: Sequence[Tensor], made: Tensor) -> None:
        """Keep what was made of these."""
        for each in parameters:
            if not _can_be_guarded(each):
                self._unguarded.append(each)
            elif id(each) not in self._guards:
                self._guards[id(each)] = _Guard(each)
        self.made[key] = made

    def lasts(self) -> bool:
        """Whether it may be kept beyond this call."""
        return not self._unguarded

    def stands(self) -> bool:
        """Whether no parameter has changed since."""
        return all(guard.stands() for guard in self._guards.values())


_current: ContextVar[_Held | None] = ContextVar("held", default=None)
_kept: WeakKeyDictionary[nn.Module, _Held] = WeakKeyDictionary()


@contextmanager
def held_weights(owner: nn.Module | None = None) -> Iterator[None]:
    """Keep what is made of weights within, for inference, where weights stand still.

    Args:
        owner: the encoder that it is kept with, for the next call; None: it is dropped.
    """
    held = None if owner is None else _kept.get(owner)
    if held is None or not held.stands():
        held = _Held()
    token = _current.set(held)
    try:
        yield
    finally:
        _current.reset(token)
        if owner is not None:
            if held.lasts():
                _kept[owner] = held
            else:
                forget_weights(owner)


def forget_weights(owner: nn.Module) -> None:
    """Drop what is kept with an encoder: its weights are about to change, or to move."""
    _kept.pop(owner, None)


def operand(parameters: Sequence[Tensor], dtype: torch.dtype, *, packed: bool = False) -> Tensor:
    """Weights or biases stacked, in this type; those held, within `held_weights`.

    Only parameters are held: any other tensor may be a temporary, whose place another takes.

    Args:
        packed: in oneDNN's layout, where it has one and the result is held.
    """
    held = _current.get()
    key = dtype, packed, *map(id, parameters)
    if held is not None:
        found = held.made.get(key)
        if found is not None:
            return found
    parts = [each.to(dtype) for each in parameters]
    made = torch.cat(parts) if len(parts) > 1 else parts[0]
    if held is None or not all(isinstance(each, nn.Parameter) for each in parameters):
        return made
    if packed and _has_layout(dtype):
        made = torch.ops.mkldnn._reorder_linear_weight(made.detach(), _ROWS)
    held.keep(key, parameters, made)
    return made


def narrowed(parameters: Sequence[Tensor]) -> Tensor:
    """`operand` in bf16, as any product takes it."""
    return operand(parameters, torch.bfloat16)


def _can_be_guarded(parameter: Tensor) -> bool:
    return (
        isinstance(parameter, nn.Parameter)
        and parameter.dtype == torch.float32  # numpy has no bf16
        and parameter.device.type == "cpu"
        and not parameter.is_inference()  # of those torch does not count the changes
    )


@cache
def _has_layout(dtype: torch.dtype) -> bool:
    """Whether oneDNN has a layout of its own for weights of this type, and multiplies by it."""
    if not torch.backends.mkldnn.is_available() or dtype not in (torch.float32, torch.bfloat16):
        return False
    if dtype == torch.bfloat16 and not products_in_bf16():
        return False
    weight = torch.from_numpy(np.eye(32, dtype=np.float32)).to(dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        product = torch.ops.mkldnn._linear_pointwise(weight, packed, None, "none", [], "none")
    except (AttributeError, RuntimeError, NotImplementedError):  # another torch or processor
        return False
    return bool(torch.equal(product, weight))


@cache
def products_in_bf16() -> bool:
    """Whether oneDNN multiplies bf16 on this processor: not before AVX-512."""
    available = torch.backends.mkldnn.is_available()
    return available and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
