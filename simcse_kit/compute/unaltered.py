"""Whether modules still are what a faster way of computing them takes them for.

Layers are known by their class, and classes by where they are defined: one of the same name from a
model's own code, a subclass, a replaced `forward`, a hook, a weight that is computed anew at each
use (pruning, weight norm, parametrisations) may compute something else, which must not be passed
over. Such modules go their original way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from simcse_kit.compute.taught import original_class

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Where the classes come from whose computations are known here.
_HOMES = ("torch.nn.modules.", "transformers.models.", "transformers.activations", "simcse_kit.")
#: Where a module keeps the hooks that see or change data.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_RECORDER = "transformers.utils.output_capturing"


def is_of(module: nn.Module, names: Iterable[str]) -> bool:
    """Whether a module is of one of transformers' own classes with these names."""
    kind = type(module)
    return kind.__name__ in names and kind.__module__.startswith("transformers.models.")


def attends_as_known(backbone: nn.Module) -> bool:
    """Whether a backbone, and whatever in it is named an attention, is of a known class."""
    named = (each for each in backbone.modules() if "attention" in type(each).__name__.lower())
    return all(type(each).__module__.startswith(_HOMES) for each in (backbone, *named))


def is_unaltered(module: nn.Module) -> bool:
    """Whether a module computes what its class, a known one, computes; its children apart."""
    own = vars(module)
    return (
        type(module).__module__.startswith(_HOMES)
        and "forward" not in own
        and "parametrizations" not in own["_modules"]
        and not has_hooks(module)
    )


def are_unaltered(modules: Iterable[nn.Module]) -> bool:
    """`is_unaltered` of all of them, and no hook on every module there is."""
    return not hooks_everywhere() and all(map(is_unaltered, modules))


def hooks_everywhere() -> bool:
    """Whether there is a hook on every module there is."""
    return any(getattr(torch_module, f"_global{kind}", None) for kind in HOOKS)


def inside(module: nn.Module) -> Iterator[nn.Module]:
    """Every module in this one, as `modules` gives them but for those twice: it is asked often."""
    for child in module._modules.values():
        if child is not None:
            yield child
            yield from inside(child)


def has_hooks(module: nn.Module, *kinds: str) -> bool:
    """Whether there are any, but for those by which transformers records outputs.

    These stay for good once all layers' states were asked for; they change nothing, and the
    attention weights that some of them would record no packed batch is asked for.

    Args:
        kinds: attributes of `nn.Module` that hold hooks; default: all that see or change data.
    """
    own = vars(module)
    for kind in kinds or HOOKS:
        for hook in own[kind].values():
            if getattr(hook, "__module__", None) != _RECORDER:
                return True
    return False


def forget_recorders(model: nn.Module) -> None:
    """Take transformers' recording hooks away, which cannot be pickled; it sets them again."""
    for module in model.modules():
        hooks = module._forward_hooks
        for key in [key for key, hook in hooks.items() if hook.__module__ == _RECORDER]:
            del hooks[key]
        vars(module).pop("_output_capturing_hooks_installed", None)


def make_recordable(backbone: PreTrainedModel) -> None:
    """Let an unpickled backbone give all layers' states.

    transformers learns what a class can record when one is built, which in the process that
    unpickles may be never: it would then give none. So one is built, without memory.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        original_class(backbone)(backbone.config)
