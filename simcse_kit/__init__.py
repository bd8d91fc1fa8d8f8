"""Turn any Hugging Face text encoder into a better sentence encoder, and prove it.

The public names, loaded when first asked for: importing this package costs next to nothing.
"""

from importlib import import_module
from sys import modules
from typing import TYPE_CHECKING, Any

from simcse_kit.version import __version__

if TYPE_CHECKING:
    from simcse_kit.corpus import SimCSE as SimCSE
    from simcse_kit.data import read_rows as read_rows
    from simcse_kit.encoder import SentenceEncoder as SentenceEncoder
    from simcse_kit.errors import InputError as InputError
    from simcse_kit.evaluation.sts import evaluate as evaluate
    from simcse_kit.evaluation.sts import load_tasks as load_tasks
    from simcse_kit.geometry import alignment as alignment
    from simcse_kit.geometry import uniformity as uniformity
    from simcse_kit.objectives import InfoNCE as InfoNCE
    from simcse_kit.objectives import info_nce as info_nce
    from simcse_kit.training import TrainConfig as TrainConfig
    from simcse_kit.training import train as train

_HOME = {
    "InfoNCE": "simcse_kit.objectives",
    "InputError": "simcse_kit.errors",
    "SentenceEncoder": "simcse_kit.encoder",
    "SimCSE": "simcse_kit.corpus",
    "TrainConfig": "simcse_kit.training",
    "alignment": "simcse_kit.geometry",
    "evaluate": "simcse_kit.evaluation.sts",
    "info_nce": "simcse_kit.objectives",
    "load_tasks": "simcse_kit.evaluation.sts",
    "read_rows": "simcse_kit.data",
    "train": "simcse_kit.training",
    "uniformity": "simcse_kit.geometry",
}

__all__ = [
    "InfoNCE",
    "InputError",
    "SentenceEncoder",
    "SimCSE",
    "TrainConfig",
    "__version__",
    "alignment",
    "evaluate",
    "info_nce",
    "load_tasks",
    "read_rows",
    "train",
    "uniformity",
]


if not TYPE_CHECKING:  # seen by a type checker, it would stand for any name, slips included

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            said = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(said, name=name, obj=modules[__name__])
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__]
