"""Models as the command line names them: with settings of their own, and several by labels.

``run1@pooling=cls,max_length=64`` is the model run1, loaded so; a setting of its own goes before
the command's option. A prompt or a template stands last, and is all that follows:
``run1@prompt=query: ``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from simcse_kit.data import at_home
from simcse_kit.errors import InputError, one_of

#: Whose value is all that follows.
_LAST = ("prompt", "template")
SETTINGS = (
    "pooling",
    "head",
    "max_length",
    "precision",
    "backend",
    "trust_remote_code",
    "prompt_name",
    *_LAST,
)
_BEHIND = re.compile(rf"@(?=({'|'.join(SETTINGS).replace('_', '[_-]')})\s*=)")


def split_model(model: str) -> tuple[str, dict[str, str]]:
    """The name of a model, and the settings that were written behind it.

    Raises InputError for an unknown setting and for one twice.
    """
    known = _BEHIND.search(model)  # a prompt may hold another @
    at = known.start() if known else model.rfind("@")
    name, written = model[:at], model[at + 1 :]
    if at < 0 or "=" not in written or at_home(model).exists():
        return model, {}
    found: dict[str, str] = {}
    more = True
    while more:
        key, _, value = written.partition("=")
        key = key.strip().replace("-", "_")
        if key in _LAST:
            more = False
        else:
            value, comma, written = value.partition(",")
            value, more = value.strip(), bool(comma)
        if key not in SETTINGS:
            raise InputError(f"{model}: a setting behind @ {one_of(SETTINGS, key)}")
        if not value or key in found:
            raise InputError(f"{model}: give {key} once and a value, as in {name}@pooling=mean")
        found[key] = value
    return name, found


def runs_of_model(model: str) -> list[str]:
    """The runs that a name stands for, each with the settings that were written behind it."""
    from simcse_kit.training import runs_of

    name, _ = split_model(model)
    return [run + model[len(name) :] for run in runs_of(name)]


def by_label(
    models: Sequence[str], labels: Sequence[str] | None, unlabelled: Sequence[str] | None = None
) -> dict[str, str]:
    """What to call each of several models, and the model.

    Args:
        labels: in the models' order; none: the names are `unlabelled`, by default the models' own.

    Raises:
        InputError: a model (also by two paths) or a label twice, or another number of labels than
            of models.
    """
    named: dict[tuple[str, ...], str] = {}
    for model in models:
        first = named.setdefault(_identity(model), model)
        if first == model and models.count(model) > 1:
            raise InputError(f"the model {model} is named twice; name each once")
        if first != model:
            raise InputError(f"{first} and {model} are one model, named twice; name each once")
    if labels and len(labels) != len(models):
        raise InputError(f"{len(labels)} labels for {len(models)} models; give each model one")
    names = list(labels or unlabelled or models)
    if len(set(names)) < len(names):
        raise InputError("two models have one label; give each its own")
    return dict(zip(names, models, strict=True))


def _identity(model: str) -> tuple[str, ...]:
    """The same for every way to name one folder with the same settings."""
    name, settings = split_model(model)
    path = at_home(name)
    place = os.path.abspath(path) if path.exists() else name  # a link may stand for another run
    return (place, *(f"{key}={value}" for key, value in sorted(settings.items())))
