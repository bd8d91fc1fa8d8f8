"""The usual folder of sentence-transformers, read without that library.

To import it takes longer than to load and run a small model. What most folders hold is a text
encoder that transformers knows, one pooling and perhaps a normalisation, all of it in three files
of JSON; these are read here, to the same parts. A folder that says anything else is left to
sentence-transformers itself (`st_folder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from simcse_kit.encoder.metadata import Module, model_file, read_json

#: Text encoders that are loaded and tokenised in no way of their own.
_ENCODERS = ("bert", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta")
STATES = {"method": "forward", "method_output_name": "last_hidden_state"}
#: What a transformer's file may say, if it says it.
_TRANSFORMER = {
    "do_lower_case": False,
    "transformer_task": "feature-extraction",
    "modality_config": {"text": STATES},
    "module_output_name": "token_embeddings",
}
#: What a normalisation's file says, if there is one.
_OF_EMBEDDINGS = dict.fromkeys(("module_input_name", "module_output_name"), "sentence_embedding")
#: Files that would make it another transformer.
_OTHERWISE = ("adapter_config.json", "processor_config.json", "preprocessor_config.json")
#: How sentence-transformers before 5.4 named them.
LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_MODES = tuple(LEGACY_MODES.values())


@dataclass(frozen=True)
class Transformer:
    """What sentence-transformers' module of this name would hold."""

    model: Any
    tokenizer: Any
    report: dict[str, Any]

    @property
    def max_seq_length(self) -> int:
        """Tokens that a text is cut to."""
        return int(self.tokenizer.model_max_length)


@dataclass(frozen=True)
class Pooling:
    """As the module of this name."""

    embedding_dimension: int
    pooling_mode: str
    include_prompt: bool


@dataclass(frozen=True)
class Normalize:
    """As the module of this name."""


def read_usual(
    name: str, modules: Sequence[Module], hub: dict[str, Any]
) -> tuple[Transformer, list[Pooling | Normalize]] | None:
    """The transformer and what follows it; None where that library is to read the folder.

    Args:
        modules: of modules.json, a Transformer the first.
    """
    first, *rest = modules
    kinds = [module.kind for module in rest]
    theirs = all(module.type.startswith("sentence_transformers.") for module in modules)
    if hub["trust_remote_code"] or first.path or not theirs:
        return None
    if kinds not in (["Pooling"], ["Pooling", "Normalize"]):
        return None
    said = read_json(name, "sentence_bert_config.json", hub)
    pooling = _pooling(read_json(name, f"{rest[0].path}/config.json", hub))
    unit = read_json(name, f"{rest[1].path}/config.json", hub) if len(kinds) > 1 else None
    if pooling is None or unit not in (None, {}, _OF_EMBEDDINGS) or not _is_usual(said):
        return None
    if any(model_file(name, file, hub) for file in _OTHERWISE):
        return None
    config = AutoConfig.from_pretrained(name, **hub)
    if config.model_type not in _ENCODERS or getattr(config, "is_decoder", False):
        return None
    tail: list[Pooling | Normalize] = [pooling]
    if len(kinds) > 1:
        tail.append(Normalize())
    return _transformer(name, config, said.get("max_seq_length"), hub), tail


def _is_usual(said: Any) -> bool:
    """Whether a transformer's file says no more than a length, or what stands without it."""
    if not isinstance(said, dict) or not isinstance(said.get("max_seq_length"), int | None):
        return False
    others = {key: value for key, value in said.items() if key != "max_seq_length"}
    return all(
        value == _TRANSFORMER[key] if key in _TRANSFORMER else value in (None, {})
        for key, value in others.items()
    )


def _pooling(said: Any) -> Pooling | None:
    """What a pooling's file says; None for anything but one mode."""
    if not isinstance(said, dict):
        return None
    said = dict(said)
    legacy = {key: said.pop(key) for key in LEGACY_MODES if key in said}
    chosen = [LEGACY_MODES[key] for key, value in legacy.items() if value is True] or ["mean"]
    mode = said.pop("pooling_mode", chosen[0] if len(chosen) == 1 else None)
    width = said.pop("embedding_dimension", None) or said.pop("word_embedding_dimension", None)
    prompt = said.pop("include_prompt", True)
    if said or mode not in _MODES or type(width) is not int or type(prompt) is not bool:
        return None
    return Pooling(width, mode, prompt)


def _transformer(name: str, config: Any, length: int | None, hub: dict[str, Any]) -> Transformer:
    if hasattr(config, "use_cache"):
        config.use_cache = False  # as sentence-transformers has it
    model, report = AutoModel.from_pretrained(
        name,
        config=config,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        **hub,
    )
    given = {} if length is None else {"model_max_length": length}
    tokenizer = AutoTokenizer.from_pretrained(name, **given, **hub)
    positions = getattr(config, "max_position_embeddings", -1)
    if length is None and positions != -1:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return Transformer(model, tokenizer, report)
