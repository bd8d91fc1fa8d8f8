"""Prompts: texts put before texts, by name as a model's folder has them.

As in sentence-transformers, a text gets the prompt that is asked for, else the folder's default;
queries get the one named ``query``, documents ``document``, ``passage`` or ``corpus``.
"""

from __future__ import annotations

from collections.abc import Mapping

from simcse_kit.errors import InputError

_OF_QUERIES = ("query",)
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
    return next((name for name in _OF_QUERIES if name in prompts), None)


def document_prompt(prompts: Mapping[str, str]) -> str | None:
    """The name of the documents' prompt, or None where they get the default one."""
    return next((name for name in _OF_DOCUMENTS if name in prompts), None)


def with_prompt(
    prompts: Mapping[str, str], text: str | None, name: str | None
) -> tuple[dict[str, str], str]:
    """The prompts where this one is put before every text, queries included; and its name.

    Args:
        text, name: a prompt, or the name of one; not both.
    """
    _check_one(text, name, "prompt")
    chosen = prompt_text(prompts, None, text, name)
    name = name or query_prompt(prompts) or _OF_QUERIES[0]
    return {**prompts, name: chosen, _OF_QUERIES[0]: chosen}, name


def with_document_prompt(
    prompts: Mapping[str, str], text: str | None, name: str | None
) -> dict[str, str]:
    """The prompts where this one is put before documents."""
    _check_one(text, name, "document_prompt")
    chosen = prompt_text(prompts, None, text, name)
    return {**prompts, _OF_DOCUMENTS[0]: chosen}


def _check_one(text: str | None, name: str | None, what: str) -> None:
    if text is not None and name is not None:
        option = what.replace("_", "-")
        raise InputError(
            f"{what} and {what}_name both say what to put before texts; give one of them",
            command_line=f"--{option} and --{option}-name both say what to put before texts; "
            "give one of them",
        )
