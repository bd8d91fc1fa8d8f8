"""Settings of parts by dotted keys: ``objective.temperature``, and the short forms of some.

Flat, a part is its name under its own key and each of its settings under a dotted one; nested, it
is the mapping that a recipe holds. Values pass through unchecked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Settings that hold one part, and the part's kind (`simcse_kit.parts.KINDS`).
PARTS = {
    "objective": "objective",
    "anchor_view": "view",
    "positive_view": "view",
    "pairing": "pairing",
    "projection": "projection",
    "keys": "keys",
    "negatives": "negatives",
}

#: Short forms, where the name alone says which part is meant.
SHORT = {
    "temperature": "objective.temperature",
    "hard_negative_weight": "objective.hard_negative_weight",
}


def full_name(key: str) -> str:
    """A setting's dotted name; of most it is the name."""
    return SHORT.get(key, key)


def short_name(key: str) -> str:
    """A setting's short form, where it has one."""
    return next((short for short, full in SHORT.items() if full == key), key)


def root(key: str) -> str:
    """The part that a setting belongs to; the setting itself where it is of none."""
    outer, dot, _ = full_name(key).partition(".")
    return outer if dot and outer in PARTS else key


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting under its full name, those of parts by dotted keys."""
    return {name: value for key, given in settings.items() for name, value in _flat(key, given)}


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if key not in PARTS or not isinstance(value, Mapping):
        yield full_name(key), value
        return
    for name, each in value.items():
        yield (key if name == "name" else f"{key}.{name}"), each


def set_twice(settings: Mapping[str, Any]) -> str | None:
    """A setting that stands there under two of its names, if any does."""
    names = [name for key, given in settings.items() for name, _ in _flat(key, given)]
    return next((name for name in names if names.count(name) > 1), None)


def overlaid(
    below: Mapping[str, Any], above: Mapping[str, Any], defaults: Mapping[str, str]
) -> dict[str, Any]:
    """Settings, flat, with others in their place where both have them.

    Another part takes the settings of the one in its place with it: a margin of InfoNCE says
    nothing of CoSENT.

    Args:
        defaults: as of `nested`.
    """
    made, over = flat(below), flat(above)
    for key in PARTS:
        if key in over and over[key] != made.get(key, defaults.get(key)):
            made = {name: each for name, each in made.items() if not name.startswith(f"{key}.")}
    return made | over


def nested(settings: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, Any]:
    """The reverse of `flat`: each part a mapping with its name.

    Args:
        defaults: names of the parts that there are where none is named.
    """
    made: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for key, value in flat(settings).items():
        outer, dot, name = key.partition(".")
        if dot and outer in PARTS:
            inner.setdefault(outer, {})[name] = value
        else:
            made[key] = value
    for outer, own in inner.items():
        named = made.get(outer, defaults.get(outer))
        if isinstance(named, str):
            made[outer] = {"name": named, **own}
        else:  # a part that is not named: said by who checks it
            made[outer] = {"name": None, **own}
    return made
