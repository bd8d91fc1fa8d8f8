"""Prompts: texts put before texts, by name as a model's folder has them.

As in sentence-transformers, a text gets the prompt that is asked for, else the folder's default;
queries get the one named ``query``, documents ``document``, ``passage`` or ``corpus``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcse_kit.errors import InputError

_OF_DOCUMENTS = ("document", "passage", "corpus")


def prompt_text(
    prompts: Mapping[str, str], default: str | None, prompt: str | None, name: str | None
) -> str:
    """What is put before a text, given a prompt or the name of one, else the default's.

    Raises InputError for a name that is none of the prompts'.
    """
    if prompt is not None:
        return prompt
    name = default if name is None else name
    if name is None:
        return ""
    if name not in prompts:
        known = ", ".join(prompts) or "none"
        raise InputError(f"no prompt named {name!r}; the model's prompts: {known}")
    return prompts[name]


def query_prompt(prompts: Mapping[str, str]) -> str | None:
    """The name of the queries' prompt, or None where they get the default one."""
    return "query" if "query" in prompts else None


def document_prompt(prompts: Mapping[str, str]) -> str | None:
    """The name of the documents' prompt, or None where they get the default one."""
    return next((name for name in _OF_DOCUMENTS if name in prompts), None)


def with_name(settings: dict[str, Any], name: str | None) -> dict[str, Any]:
    """The settings of a call, with the name of a prompt where they name none and give none."""
    if settings.get("prompt") is None and settings.get("prompt_name") is None:
        return {**settings, "prompt_name": name}
    return settings


def chosen_prompts(
    prompts: Mapping[str, str],
    default: str | None,
    prompt: str | None = None,
    prompt_name: str | None = None,
    *,
    document_prompt: str | None = None,
    document_prompt_name: str | None = None,
) -> tuple[dict[str, str], str | None]:
    """The prompts and the default's name where these are put before texts.

    Args:
        prompt, prompt_name: before every text, queries included; the prompt, or its name.
        document_prompt, document_prompt_name: before documents.

    Raises InputError for a name that is none of the prompts', and for both ways at once.
    """
    chosen = dict(prompts)
    if document_prompt is not None or document_prompt_name is not None:
        _check_one(document_prompt, document_prompt_name, "document_prompt")
        chosen["document"] = prompt_text(prompts, None, document_prompt, document_prompt_name)
    if prompt is not None or prompt_name is not None:
        _check_one(prompt, prompt_name, "prompt")
        default = prompt_name or "query"
        chosen[default] = chosen["query"] = prompt_text(prompts, None, prompt, prompt_name)
        chosen.setdefault("document", "")  # else they would get the default one
    return chosen, default


def _check_one(text: str | None, name: str | None, what: str) -> None:
    if text is not None and name is not None:
        option = what.replace("_", "-")
        raise InputError(
            f"{what} and {what}_name both say what to put before texts; give one of them",
            command_line=f"--{option} and --{option}-name both say what to put before texts; "
            "give one of them",
        )
