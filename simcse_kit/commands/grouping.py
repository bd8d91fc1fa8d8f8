"""Options that go together, as one value: typer knows single parameters alone."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_type_hints

from simcse_kit.data import at_home
from simcse_kit.errors import InputError


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer is to see it: a parameter that is a dataclass becomes its fields.

    ``def embed(model: Model, *, loading: ModelOptions)`` gets the options that the fields of
    `ModelOptions` declare, where `loading` stands, and is called with one of these. Groups are
    keywords, so that they need no default after parameters that have one. A ``~`` at the start of a
    path is expanded, which a shell does not do behind ``=``; a file that is written and read as
    well, by whatever link, is refused before the work, and so is one that is written twice, or that
    a model's or a corpus's folder is made of.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if is_dataclass(parameter.annotation):
            groups[name] = parameter.annotation
            parameters += _fields(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        _check_apart(given)
        values = {
            name: group(**{each.name: _expanded(given.pop(each.name)) for each in fields(group)})
            for name, group in groups.items()
        }
        command(**{name: _expanded(value) for name, value in given.items()}, **values)

    # What typer reads instead of the parameters of `command`.
    vars(spread)["__signature__"] = signature.replace(parameters=parameters)
    spread.__annotations__ = {each.name: each.annotation for each in parameters}
    return spread


#: Parameters that name a folder to write into, which several may do.
_FOLDERS = {"plots", "save_hashes", "output_dir"}

#: Parameters that name a file or folder to write; all other names of files are of files to read.
_WRITTEN = {"output", "pairs", "html", "markdown", "latex", "json_file"} | _FOLDERS


#: By what folders of models, corpora, indexes and datasets are known.
_MARKS = (
    *("config.json", "modules.json", "manifest.json", "index.json", "state.json"),
    "dataset_dict.json",
)

#: Files that these are made of. Results may lie beside them, and be written again.
_MADE_OF = (
    *(*_MARKS, "export.json", "dataset_info.json", "shard-*.parquet", "*_config.json"),
    *("config_*.json", "tokenizer.json", "vocab.*", "*_tokens*.json", "merges.txt"),
    *("vectors.npy", "added-*.npy", "removed-*.npy", "*.faiss", "*.arrow"),
    *("*.safetensors", "*.bin", "*.onnx*", "*.xml", "*.model"),
)


def _check_apart(given: Mapping[str, Any]) -> None:
    """InputError where a command would write over what it reads, or what it has written."""
    _check_written_once({name: given[name] for name in given if name in _WRITTEN})
    read, written = (
        [
            path
            for name, value in given.items()
            if (name in _WRITTEN) is of
            for path in _files(value)
        ]
        for of in (False, True)
    )
    for path in written:
        if any(path.samefile(other) for other in read):
            raise InputError(
                f"cannot write {path}: it is a file that is read too; give another name"
            )
    folders = [os.path.realpath(each) for value in given.values() for each in _folders(value)]
    for path in written:
        where = Path(os.path.realpath(path))
        inside = any(where.is_relative_to(folder) for folder in folders)
        if inside and any(fnmatch(where.name, pattern) for pattern in _MADE_OF):
            raise InputError(
                f"cannot write {path}: the folder that it is in is made of it; give another name"
            )


def _check_written_once(places: Mapping[str, Any]) -> None:
    """InputError where two options name one file, under whatever names."""
    whose: list[tuple[str, str, Path]] = []
    for name, place in places.items():
        if not isinstance(place, str | Path) or str(place) == "-":  # a flag, or stdout
            continue
        path = at_home(place)
        try:
            where = os.path.realpath(path)
        except (OSError, ValueError):  # no name of a file: said by who writes it
            continue
        for other, there, known in whose:
            if {name, other} <= _FOLDERS or not (there == where or _is_one_file(path, known)):
                continue
            both = f"{_option(other)} and {_option(name)}"
            raise InputError(f"{both} are both {path}; give two names")
        whose.append((name, where, path))


def _is_one_file(path: Path, other: Path) -> bool:
    """Whether two names, of different spelling perhaps, are of one file that is there."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def _option(name: str) -> str:
    """What an option is called that has this parameter."""
    return f"--{name.removesuffix('_file').replace('_', '-')}"


def _files(value: Any) -> list[Path]:
    """The files that are there among what a parameter holds."""
    return [path for path in _places(value) if path.is_file()]


def _folders(value: Any) -> list[Path]:
    """The folders of models, corpora and the like that are among what a parameter holds."""
    return [path for path in _places(value) if any((path / mark).is_file() for mark in _MARKS)]


def _places(value: Any) -> list[Path]:
    """What is there among the names that a parameter may hold."""
    if isinstance(value, list):
        return [path for each in value for path in _places(each)]
    if not isinstance(value, str | Path) or not str(value):
        return []
    try:
        path = at_home(value)
        return [path] if path.exists() else []
    except (OSError, ValueError):  # a text, too long for a name or with what no name holds
        return []


def _expanded(value: Any) -> Any:
    """Paths with their ``~`` expanded, one or a list of them; anything else as it is."""
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    return at_home(value) if isinstance(value, Path) else value


def _fields(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
