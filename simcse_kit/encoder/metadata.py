"""What the JSON files of a sentence-transformers folder say, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from transformers.utils import cached_file

from simcse_kit.encoder.modules import SIMILARITIES
from simcse_kit.errors import InputError, explain_settings

_DEFAULT_PROMPTS = {"query": "", "document": ""}  # which sentence-transformers always has


class Module(BaseModel):
    """An entry of modules.json."""

    model_config = ConfigDict(strict=True)

    name: str
    path: str
    type: str

    @property
    def kind(self) -> str:
        """The name of its class."""
        return self.type.rsplit(".", 1)[-1]


class ModelConfig(BaseModel):
    """config_sentence_transformers.json, as far as it changes embeddings or how they compare."""

    model_config = ConfigDict(strict=True, protected_namespaces=())

    model_type: str = "SentenceTransformer"
    prompts: dict[str, str | None] = Field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: Annotated[int, Field(ge=1)] | None = None
    requirements: Any = None


def read_json(name: str, file: str, hub: dict[str, Any]) -> Any:
    """A JSON file of a model; None where it has none.

    Raises InputError where it is no JSON, or says nothing.
    """
    path = model_file(name, file, hub)
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as opened:
            read = json.load(opened)
        if read is None:
            raise ValueError("it says null")
        return read
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"model {name!r}: {file} cannot be read ({error}); copy or download it again"
        ) from error


def model_file(name: str, file: str, hub: dict[str, Any]) -> str | None:
    """Where a file of a model is; None where it has none."""
    found: str | None = cached_file(
        name,
        file,
        revision=hub["revision"],
        token=hub["token"],
        local_files_only=hub["local_files_only"],
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return found


def check_has_tokenizer(name: str, subfolder: str = "") -> None:
    """Raise InputError for a folder here that has none; what is on the hub is not asked about."""
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model")
    inside = Path(name, subfolder)
    if Path(name).is_dir() and not any((inside / file).is_file() for file in names):
        raise InputError(
            f"model folder {str(inside)!r} has no tokenizer (tokenizer.json or a vocabulary file); "
            "save the tokenizer beside the model with tokenizer.save_pretrained"
        )


def read_modules(name: str, hub: dict[str, Any]) -> list[Module]:
    """The entries of modules.json, at least one.

    Raises InputError for anything else, and for a path that leads out of the folder.
    """
    given = read_json(name, "modules.json", hub)
    try:
        modules = TypeAdapter(list[Module]).validate_python(given)
    except ValidationError as error:
        raise InputError(
            f"model {name!r}: modules.json is no list of modules with name, path and type "
            f"({error.errors()[0]['msg']}); save the model again with sentence-transformers"
        ) from error
    if not modules:
        raise InputError(f"model {name!r}: modules.json names no module; save the model again")
    if len({module.name for module in modules}) < len(modules):
        raise InputError(
            f"model {name!r}: modules.json gives two modules one name, and one would take the "
            "place of the other; save the model again"
        )
    for module in modules:
        steps = module.path.replace("\\", "/").split("/")
        if ".." in steps or module.path.startswith(("/", "\\")) or "\0" in module.path:
            raise InputError(
                f"model {name!r}: modules.json leads out of the folder ({module.path!r}); "
                "do not use this model"
            )
    return modules


def read_model_config(name: str, hub: dict[str, Any]) -> ModelConfig:
    """What config_sentence_transformers.json says; of all prompts each with a text.

    Raises InputError for values that are none, and for a model that is no sentence encoder.
    """
    given = read_json(name, "config_sentence_transformers.json", hub)
    try:
        config = ModelConfig.model_validate({} if given is None else given)
    except ValidationError as error:
        raise InputError(
            f"model {name!r}: config_sentence_transformers.json: {explain_settings(error)}"
        ) from error
    if config.model_type != "SentenceTransformer":
        raise InputError(
            f"model {name!r} is a {config.model_type}, not a SentenceTransformer that gives one "
            "vector a text; take another model"
        )
    config.prompts = {
        **_DEFAULT_PROMPTS,
        **{key: text or "" for key, text in config.prompts.items()},
    }
    chosen = config.default_prompt_name
    if chosen is not None and chosen not in config.prompts:
        raise InputError(
            f"model {name!r}: the default prompt {chosen!r} is none of its prompts "
            f"({', '.join(config.prompts)}); mend config_sentence_transformers.json"
        )
    if config.similarity_fn_name not in SIMILARITIES:
        config.similarity_fn_name = None  # as sentence-transformers takes it
    return config
