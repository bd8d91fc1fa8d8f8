"""From a part's name to its class."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

from simcse_kit.errors import InputError
from simcse_kit.parts.part import Part, PartSettings

#: Kinds of parts, and the package whose files hold them: a file a part, called as the part is.
KINDS = {
    "objective": "simcse_kit.objectives",
    "view": "simcse_kit.views",
    "pairing": "simcse_kit.views.pairings",
    "projection": "simcse_kit.training.projections",
    "keys": "simcse_kit.training.keys",
    "negatives": "simcse_kit.objectives.negatives",
}

#: Where the class stands that parts of a kind derive from.
BASES = {
    "objective": "simcse_kit.objectives:Objective",
    "view": "simcse_kit.views:View",
    "pairing": "simcse_kit.views:Pairing",
    "projection": "simcse_kit.training:Projection",
    "keys": "simcse_kit.training:Keys",
    "negatives": "simcse_kit.objectives:Negatives",
}


def base_of(kind: str) -> type[Part]:
    """The class that parts of a kind derive from."""
    where, _, name = BASES[kind].partition(":")
    found: type[Part] = getattr(importlib.import_module(where), name)
    return found


def part_names(kind: str) -> list[str]:
    """Names of the parts of a kind that come with the kit or with installed packages, sorted."""
    package = importlib.import_module(KINDS[kind])
    own = [
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg and _parts_in(importlib.import_module(f"{KINDS[kind]}.{module.name}"))
    ]
    return sorted({*own, *(entry.name for entry in entry_points(group=KINDS[kind]))})


def find_part(kind: str, name: str) -> type[Part]:
    """The class of a part.

    Args:
        kind: one of `KINDS`.
        name: of a file of that kind's package; of an entry point in the group of that package's
            name; or ``package.module:Name`` for a part of a user's own.

    Raises:
        InputError: there is none, or what is there is no part.
    """
    if ":" in name:
        return _own(kind, name, f"{kind} {name!r}")
    if name.isidentifier() and importlib.util.find_spec(f"{KINDS[kind]}.{name}") is not None:
        parts = _parts_in(importlib.import_module(f"{KINDS[kind]}.{name}"))
        if parts:
            return parts[0]
    for entry in entry_points(group=KINDS[kind], name=name):
        return _own(kind, entry.value, f"{kind} {name!r} ({entry.value})")
    names = part_names(kind)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise InputError(
        f"unknown {kind} {name!r}; {hint}there are {', '.join(names)}; a class of your own is "
        "written package.module:Name"
    )


def _parts_in(module: ModuleType) -> list[type[Part]]:
    """The parts that a module defines itself; abstract ones are no parts."""
    return [
        each
        for each in vars(module).values()
        if inspect.isclass(each)
        and issubclass(each, Part)
        and each.__module__ == module.__name__
        and _is_whole(each)
    ]


def _is_whole(part: type[Part]) -> bool:
    """Whether a class is a part, and not what parts derive from."""
    return not inspect.isabstract(part) and not part.__dict__.get("IS_BASE", False)


def _own(kind: str, name: str, said: str) -> type[Part]:
    """A class of a user's own, by where it is; `said`: what a complaint begins with."""
    where, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name and (where == error.name or where.startswith(f"{error.name}.")):
            raise InputError(
                f"{said}: there is no module {error.name!r} to import; install its "
                "package, or add its folder to PYTHONPATH"
            ) from None
        raise
    except (TypeError, ValueError):  # what Python says to "" and to ".relative"
        raise InputError(f"{said}: {where!r} names no module; write package.module:Name") from None
    found, base = getattr(module, attribute, None), base_of(kind)
    if inspect.isclass(found) and issubclass(found, base) and found is not base:
        if inspect.isabstract(found):
            missing = ", ".join(sorted(found.__abstractmethods__))
            raise InputError(f"{said}: its class has no {missing}; write that")
        if _is_whole(found):
            _check_settings(said, found)
            return found
    there = [each for each in _parts_in(module) if issubclass(each, base)]
    if there:
        advice = f"there are {', '.join(f'{where}:{each.__name__}' for each in there)}"
    else:
        advice = f"derive it from {BASES[kind].replace(':', '.')}"
    what = f"{where} has no {attribute!r}" if found is None else f"it is no {kind} of simcse_kit"
    raise InputError(f"{said}: {what}; {advice}")


def _check_settings(said: str, part: type[Part]) -> None:
    """Raise InputError for settings of a user's own part that nobody could leave out."""
    settings = part.Settings
    if not (inspect.isclass(settings) and issubclass(settings, PartSettings)):
        raise InputError(f"{said}: its Settings must derive from simcse_kit.parts.PartSettings")
    for name, field in settings.model_fields.items():
        if name in ("name", "weight"):
            raise InputError(
                f"{said}: its Settings have {name!r}, which recipes use for every part; call it "
                "something else"
            )
        if field.is_required():
            raise InputError(
                f"{said}: its setting {name!r} has no default; give it one, for instance "
                f"{name}: … = Field(…, description='…')"
            )
