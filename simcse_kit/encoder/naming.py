"""From the name of a model to where it is: a folder, the hub, or the hub's cache.

Nothing heavy is imported, so that a command can check its models before anything else.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from simcse_kit.data import ask_hub, at_home, nearby
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

#: A folder of transformers or of sentence-transformers has one of these.
MODEL_FILES = ("config.json", "modules.json")


@dataclass(frozen=True)
class Place:
    """Where a model is.

    Attributes:
        name: a folder, or a hub id.
        local_only: read a hub id from the cache alone, for the hub does not give it now.
    """

    name: str
    local_only: bool = False

    def source(self, revision: str | None = None) -> str:
        """What to load it by: of a cached model its folder, for peft asks the hub by the name."""
        if not self.local_only:
            return self.name
        from huggingface_hub import snapshot_download

        return str(snapshot_download(self.name, revision=revision, local_files_only=True))


def find_model(name: str, *, revision: str | None = None, token: str | bool | None = None) -> Place:
    """A folder where there is one (``~`` is expanded), else what the hub or its cache has.

    A name that starts with ``.``, ``/`` or ``~``, or that no hub id can be, is a path. The hub is
    asked once and briefly (`simcse_kit.data.ask_hub`).

    Raises:
        InputError: there is nothing of that name; the message names folders that may be meant.
    """
    try:
        return _find(name, revision, token)
    except PermissionError as error:
        raise InputError(
            f"model {name!r}: permission to read {str(error.filename)!r} is missing; ask its "
            "owner, or copy the folder"
        ) from error


def _find(name: str, revision: str | None, token: str | bool | None) -> Place:
    folder = at_home(name)
    if not name.strip():
        raise InputError("the name of the model is empty; give a local folder or a hub id")
    if folder.is_dir():
        if is_model(folder):
            return Place(str(folder))
        around = folder.absolute().parent
        of_a_model = f"give the model it is a part of, {str(around)!r}" if is_model(around) else ""
        otherwise = of_a_model or "give a folder saved by save_pretrained"
        advice = _did_you_mean(_within(folder)) or otherwise
        raise InputError(f"model folder {name!r} has no config.json; {advice}")
    if folder.exists():
        inside = is_model(folder.parent) and f"give its folder {str(folder.parent)!r}"
        advice = inside or "give a local folder or a hub id"
        raise InputError(f"model {name!r} is a file, not a model folder; {advice}")
    if _is_path(name):
        advice = _meant(name) or "give a local folder or a hub id"
        raise InputError(f"model {name!r} does not exist; {advice}")
    reason = ask_hub(name, "model", revision=revision, token=token)
    if reason is None:
        return Place(name)
    if _is_cached(name, revision):
        logger.info("%s is read from the cache: %s", name, reason)
        return Place(name, local_only=True)
    advice = _meant(name) or "check the name and the network, or give a local folder"
    raise InputError(f"model {name!r} is no folder here and {reason}; {advice}")


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model."""
    return any((folder / file).is_file() for file in MODEL_FILES)


def _within(folder: Path) -> list[str]:
    """Folders in this one that hold a model, up to three."""
    return [str(place) for place in sorted(folder.iterdir()) if is_model(place)][:3]


def _did_you_mean(folders: list[str]) -> str:
    """``did you mean the folder 'a' or 'b'?``; empty for none."""
    *others, last = [repr(folder) for folder in folders] or [""]
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"did you mean the folder {listed}?" if last else ""


def _meant(name: str) -> str:
    """Folders like it beside it; else those of just that name one folder further down."""
    near = nearby(name, is_model)
    if not near and os.path.basename(name) == name:
        near = [str(place) for place in sorted(Path().glob(f"*/{name}")) if is_model(place)][:3]
    return _did_you_mean(near)


def _is_path(name: str) -> bool:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return True
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return True
    return False


def _is_cached(name: str, revision: str | None) -> bool:
    from huggingface_hub import constants

    if not (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir():
        return False  # known without an import that takes half a second
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(name, file, revision=revision) for file in MODEL_FILES)
    return any(isinstance(path, str) for path in found)
