"""Recipes: named settings with their source, in YAML; the kit's own and a user's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from simcse_kit.data import at_home
from simcse_kit.errors import InputError
from simcse_kit.training.settings.dotted import overlaid, set_twice


def recipe_names() -> list[str]:
    """Names of the recipes that come with the kit, sorted."""
    folder = resources.files("simcse_kit.training") / "recipes"
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def recipe_text(name_or_path: str) -> str:
    """Return a recipe as it is written: its source in the comments, then the settings.

    Raises InputError when there is no such recipe, or the file cannot be read.
    """
    if name_or_path in recipe_names():
        entry = resources.files("simcse_kit.training") / "recipes" / f"{name_or_path}.yaml"
        return entry.read_text(encoding="utf-8")
    path = at_home(name_or_path)
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InputError(f"recipe {path} is no text file; a recipe is YAML in UTF-8") from None
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise InputError(f"recipe file {path} does not exist")
    near = difflib.get_close_matches(name_or_path, recipe_names(), n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise InputError(
        f"unknown recipe '{name_or_path}'; {hint}the recipes are {', '.join(recipe_names())}; "
        "a path to a YAML file works too"
    )


class SettingsLoader(yaml.SafeLoader):
    """YAML that refuses a name set twice instead of taking the last, and reads as people mean it.

    Of plain words only these are no text, as YAML 1.2 has it: null, true, false, decimal numbers.
    PyYAML's 1.1 reads yes and no as truth values, 010 as 8, 1:30 as 90, and 3e-5 as text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            problem = None
            if not isinstance(key, yaml.ScalarNode):
                problem = "a setting's name is a word"
            elif key.value in seen:
                problem = f"{key.value} is set twice"
            if problem is not None:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


SettingsLoader.yaml_implicit_resolvers = {}
for _kind, _words, _first in (
    ("null", r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9]\d{0,17})$", list("-+0123456789")),  # a setting's are 64 bits wide
    (
        "float",
        r"[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf|INF))$"
        r"|\.(?:nan|NaN|NAN)$",
        list("-+.0123456789"),
    ),
):
    SettingsLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_words), _first)


def load_recipe(name_or_path: str, defaults: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a recipe, by name or from a YAML file.

    ``base: NAME`` takes another recipe's settings (by its name, or a file beside this one) where
    this one has none.

    Args:
        defaults: names of the parts that there are where none is named.

    Raises InputError when the recipe is missing or is no mapping of names to values, or rests on
    itself.
    """
    settings: dict[str, Any] = {}
    read: list[str] = []
    base: object = name_or_path
    while base is not None:
        if not isinstance(base, str):
            raise InputError(f"recipe {read[-1]}: base must be a recipe's name, not {base!r}")
        if base in read:
            raise InputError(f"recipe {read[-1]}: base {base} rests on {read[-1]} itself")
        own = _loaded(base)
        read.append(base)
        below, base = own, own.pop("base", None)
        settings = overlaid(below, settings, defaults)
        if isinstance(base, str) and base not in recipe_names():
            base = str(at_home(read[-1]).parent / base)
    return settings


def _loaded(name_or_path: str) -> dict[str, Any]:
    """The settings as one file has them."""
    text = recipe_text(name_or_path)
    try:
        settings = yaml.load(text, SettingsLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"recipe {name_or_path}{line}: {reason}") from None
    if not isinstance(settings, dict) or not settings:
        raise InputError(f"recipe {name_or_path} holds no settings; write one 'name: value' a line")
    settings = {str(key): value for key, value in settings.items()}
    if (twice := set_twice(settings)) is not None:
        raise InputError(f"recipe {name_or_path}: {twice} is set twice, under two of its names")
    return settings
