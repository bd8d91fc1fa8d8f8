"""Weights as products in inference want them: made once, and kept while they stand still.

A product in bf16 needs its weights in bf16, and oneDNN lays a matrix out anew for its tiles before
it multiplies. For a batch of many tokens both cost little; for one short text they are most of the
time. So what is made of an encoder's weights stays beside it from call to call: as much memory
again as its linear layers in that precision.

It stays only while every parameter is what it was. That is asked at the start of a call: torch
counts the changes it makes in place (``_version``), a parameter that was given other data lies
elsewhere, and a few of its numbers are looked at besides, for changes that torch does not count
(through ``.data``, or numpy). What a module was found to be is kept with that (`kept_of`), while
nothing in it is another module, parameter or class, and no hook was added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import chain, repeat
from operator import attrgetter, contains, is_, itemgetter
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from simcse_kit.compute.unaltered import HOOKS, hooks_everywhere, inside

#: Numbers of a parameter that are looked at, evenly spread over it.
_LOOKED_AT = 16

#: Rows of the product that the layout is asked for. It serves any number, and hardly depends on it.
_ROWS = 256

_HOOKS_OF = itemgetter(*HOOKS)
_PARTS = itemgetter("_modules", "_parameters")
_VERSION = attrgetter("_version")

_Key = tuple[object, ...]  # type, layout and ids of the parameters
T = TypeVar("T")


class _Numbers:
    """Tells whether parameters hold the numbers they did."""

    def __init__(self) -> None:
        self._parameters: dict[int, Tensor] = {}  # referred to, so that no other gets their ids
        self._versions: list[int] = []
        self._places: list[int] = []
        self._some: list[np.ndarray] = []
        self._looked_at = b""
        self.all_watched = True

    def watch(self, parameters: Iterable[Tensor]) -> None:
        for each in parameters:
            if not _can_be_watched(each):
                self.all_watched = False
            elif id(each) not in self._parameters:
                self._parameters[id(each)] = each
                self._versions.append(each._version)
                self._places.append(each.data_ptr())
                flat = each.detach().numpy().reshape(-1)
                # a view: while it is there, no other data can be given the same place
                some = flat[:: max(1, flat.size // _LOOKED_AT)]
                self._some.append(some)
                self._looked_at += some.tobytes()

    def _numbers(self) -> bytes:
        return b"".join(map(np.ndarray.tobytes, self._some))

    def stand(self) -> bool:
        now = self._parameters.values()
        return (
            list(map(_VERSION, now)) == self._versions
            and list(map(Tensor.data_ptr, now)) == self._places
            and self._numbers() == self._looked_at
        )


class _Modules:
    """Tells whether modules consist of what they did, and compute as their classes do."""

    def __init__(self) -> None:
        self._modules: list[nn.Module] = []
        self._kinds: list[type[nn.Module]] = []
        self._states: list[dict[str, Any]] = []
        self._parts: list[Any] = []

    def watch(self, module: nn.Module) -> list[Tensor]:
        """Gives the parameters in it; none where a hook is there already."""
        added = [module, *inside(module)]
        states = [vars(each) for each in added]
        if _are_changed(states):
            return []
        self._modules += added
        self._kinds += map(type, added)
        self._states += states
        parts = _parts_of(states)
        self._parts += parts
        return [part for part in parts if isinstance(part, Tensor)]

    def stand(self) -> bool:
        now = _parts_of(self._states)
        return (
            list(map(type, self._modules)) == self._kinds
            and len(now) == len(self._parts)
            and all(map(is_, now, self._parts))
            and not _are_changed(self._states)
            and not hooks_everywhere()
        )


def _parts_of(states: list[dict[str, Any]]) -> list[Any]:
    """Modules and parameters right in modules, given what these consist of."""
    return list(chain.from_iterable(map(dict.values, chain.from_iterable(map(_PARTS, states)))))


def _are_changed(states: list[dict[str, Any]]) -> bool:
    """Whether one has a hook, or a forward that is not its class's."""
    hooks = chain.from_iterable(map(_HOOKS_OF, states))
    return any(hooks) or any(map(contains, states, repeat("forward")))


class _Held:
    """What was made of an encoder's parameters and found of its modules."""

    def __init__(self) -> None:
        self.made: dict[_Key, Tensor] = {}
        self.found: dict[tuple[nn.Module, object], Any] = {}
        self._numbers, self._modules = _Numbers(), _Modules()

    def keep(self, key: _Key, parameters: Sequence[Tensor], made: Tensor) -> None:
        """Keep what was made of these."""
        self._numbers.watch(parameters)
        self.made[key] = made

    def watch(self, module: nn.Module, what: object, found: object) -> None:
        """Keep what a module, which has parameters, was found to be."""
        parameters = self._modules.watch(module)
        if parameters:
            self._numbers.watch(parameters)
            self.found[module, what] = found

    def lasts(self) -> bool:
        """Whether it may be kept beyond this call."""
        return self._numbers.all_watched

    def stands(self) -> bool:
        """Whether no parameter and no module has changed since."""
        return self._modules.stand() and self._numbers.stand()


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
    """Drop what is kept with an encoder: its weights are about to change."""
    _kept.pop(owner, None)


def kept_of(module: nn.Module, what: object, find: Callable[[], T | None]) -> T | None:
    """What `find` gives of a module; within `held_weights` it is not asked again, unless None.

    Args:
        what: tells apart what is found of one module.
    """
    held = _current.get()
    if held is None:
        return find()
    kept: T | None = held.found.get((module, what))
    if kept is None:
        kept = find()
        if kept is not None:
            held.watch(module, what, kept)
    return kept


def operand(parameters: Sequence[Tensor], dtype: torch.dtype, *, packed: bool = False) -> Tensor:
    """Weights or biases stacked, in this type; those held, within `held_weights`.

    Only parameters are held: any other tensor may be a temporary, whose place another takes, or of
    a class (quantised, sharded) that lays itself out.

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
    if held is None or not all(type(each) is nn.Parameter for each in parameters):
        return made
    if packed and _has_layout(dtype):
        made = torch.ops.mkldnn._reorder_linear_weight(made.detach(), _ROWS)
    held.keep(key, parameters, made)
    return made


def narrowed(parameters: Sequence[Tensor]) -> Tensor:
    """`operand` in bf16, as any product takes it."""
    return operand(parameters, torch.bfloat16)


def _can_be_watched(parameter: Tensor) -> bool:
    return (
        type(parameter) is nn.Parameter
        and parameter.dtype == torch.float32  # numpy has no bf16
        and parameter.device.type == "cpu"
        and parameter.is_contiguous()  # of others `watch` would look at a copy
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
