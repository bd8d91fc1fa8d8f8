"""Evaluation mode while somebody embeds, from however many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_lock = threading.Lock()
#: Of each module that is being evaluated: by how many, and whether it was training before.
_busy: WeakKeyDictionary[nn.Module, tuple[int, bool]] = WeakKeyDictionary()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; the last one out puts the training flag back."""
    with _lock:
        count, training = _busy.get(module, (0, module.training))
        _busy[module] = count + 1, training
        if count == 0 and _any_trains(module):
            module.eval()
    try:
        yield
    finally:
        with _lock:
            count, training = _busy.pop(module)
            if count > 1:
                _busy[module] = count - 1, training
            elif training:
                module.train()


def _any_trains(module: nn.Module) -> bool:
    """Whether a module or one in it is in training mode: to look is quicker than to set them."""
    waiting: list[nn.Module | None] = [module]
    while waiting:
        each = waiting.pop()
        if each is not None:
            if each.training:
                return True
            waiting.extend(each._modules.values())
    return False
