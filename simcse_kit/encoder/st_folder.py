"""sentence-transformers' folder: its modules become the parts of an encoder, and back.

What is read runs as that library runs it, or is refused by name.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from simcse_kit.encoder.adapters import name_base
from simcse_kit.encoder.metadata import (
    ModelConfig,
    Module,
    check_has_tokenizer,
    read_json,
    read_model_config,
    read_modules,
)
from simcse_kit.encoder.modules import Chain, Head, Parts
from simcse_kit.encoder.pooling import LAYER_PAIRS, pooled_width
from simcse_kit.encoder.seq2seq import run_encoder, runs_encoder, take_encoder
from simcse_kit.encoder.usual_folder import LEGACY_MODES, STATES, read_usual
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

# what our poolings are called there; the others have its names
_TO_ST = {"cls_before_pooler": "cls", "last_token": "lasttoken", "mask": "mean"}
_TO_ST |= dict.fromkeys(LAYER_PAIRS, "mean")
_FROM_ST = {"lasttoken": "last_token"}
_AFTER_POOLING = ("Dense", "Normalize", "LayerNorm", "Dropout")


# ---- reading -------------------------------------------------------------------------------------


def read_folder(name: str, hub: dict[str, Any]) -> tuple[Parts, dict[str, Any]]:
    """The parts of a folder with modules.json, and transformers' report on the backbone's weights.

    Raises:
        InputError: modules that this kit does not run, or what is no such folder.
    """
    config = read_model_config(name, hub)
    modules = read_modules(name, hub)
    first, *rest = modules
    if first.kind != "Transformer" or not _is_theirs(first):
        raise _unsupported(name, first.kind, " in the first place")
    check_has_tokenizer(name, first.path)
    usual = read_usual(name, modules, hub) if config.requirements is None else None
    if usual is None:
        transformer, tail = _read_by_theirs(name, config, modules, hub)
    else:
        transformer, tail = usual
    parts = Parts(
        transformer.model,
        transformer.tokenizer,
        pooling=None,
        max_length=transformer.max_seq_length,
        prompts={key: text or "" for key, text in config.prompts.items()},
        default_prompt=config.default_prompt_name,
        truncate_dim=config.truncate_dim,
        similarity_fn_name=config.similarity_fn_name or "cosine",
        own_code=bool(hub["trust_remote_code"]),
    )
    _add_modules(name, parts, list(zip(rest, tail, strict=True)))
    return parts, transformer.report


def _read_by_theirs(
    name: str, config: ModelConfig, modules: Sequence[Module], hub: dict[str, Any]
) -> tuple[Any, list[Any]]:
    """The transformer and what follows it, as sentence-transformers loads them."""
    from sentence_transformers import util
    from sentence_transformers.base.modules import Transformer

    check = getattr(util, "check_version_requirements", None)  # since 6.2
    if check is not None:
        check(config.requirements, source=name)
    first, *rest = modules

    class Reported(Transformer):  # its own load drops what transformers found missing
        def _load_model(self, *args: Any, **kwargs: Any) -> Any:
            model, self.report = super()._load_model(*args, output_loading_info=True, **kwargs)
            return model

    transformer = Reported.load(
        name,
        subfolder=first.path,
        **hub,
        model_kwargs={"use_safetensors": True, "dtype": torch.float32},
    )
    _check_transformer(name, transformer)
    if runs_encoder(transformer):
        run_encoder(transformer.model)
    return transformer, [_load(name, module, hub) for module in rest]


def _is_theirs(module: Module) -> bool:
    return module.type.startswith("sentence_transformers.")


def _check_transformer(name: str, transformer: Any) -> None:
    """Raise InputError where it does anything but hand on the last layer's states."""
    method, gives = transformer.modality_config.get("text"), transformer.module_output_name
    is_states = method == STATES or runs_encoder(transformer)
    if not is_states or gives != "token_embeddings":
        raise _unsupported(name, "Transformer", f" that gives {gives!r} of {method}")
    if transformer.transformer_task != "feature-extraction":
        raise _unsupported(name, "Transformer", f" for {transformer.transformer_task}")
    for setting in ("processing_kwargs", "query_expansion", "query_length", "document_length"):
        if getattr(transformer, setting, None):
            raise _unsupported(name, "Transformer", f" with {setting}")
    if transformer.tokenizer is None:
        raise _unsupported(name, "Transformer", " without a tokenizer")


def _load(name: str, module: Module, hub: dict[str, Any]) -> Any:
    """A module after the transformer, loaded by its own class."""
    from sentence_transformers.base import modules as base
    from sentence_transformers.sentence_transformer import modules as st

    if not _is_theirs(module) or module.kind not in (
        *("Pooling", "WeightedLayerPooling", "WordWeights"),
        *_AFTER_POOLING,
    ):
        raise _unsupported(name, module.kind)
    if module.kind == "Dense":
        said = read_json(name, f"{module.path}/config.json", hub) or {}
        activation = str(said.get("activation_function", "torch."))
        if not activation.startswith("torch.") and not hub["trust_remote_code"]:
            raise InputError(
                f"model {name!r}: the activation {activation} of {module.path} is code of its own; "
                "trust_remote_code=True (--trust-remote-code) runs it"
            )
    theirs = getattr(base, module.kind, None) or getattr(st, module.kind)
    return theirs.load(name, subfolder=module.path, **hub)


def _add_modules(name: str, parts: Parts, loaded: Sequence[tuple[Module, Any]]) -> None:
    """Pooling, then whatever changes the pooled vector; anything in another order is refused."""
    tail: list[Any] = []
    instead = None  # of the mean over all tokens of the last layer
    for module, theirs in loaded:
        if module.kind == "WeightedLayerPooling" and parts.pooling is None and instead is None:
            instead = _layer_pair(name, theirs, parts.backbone)
        elif module.kind == "WordWeights" and parts.pooling is None and instead is None:
            instead = _at_mask(name, theirs, parts.tokenizer)
        elif module.kind == "Pooling" and parts.pooling is None:
            parts.pooling = _pooling(name, theirs, instead)
            parts.include_prompt = bool(theirs.include_prompt)
            _check_width(name, theirs.embedding_dimension, parts.backbone)
        elif module.kind in _AFTER_POOLING and parts.pooling is not None:
            for end in ("module_input_name", "module_output_name"):
                if getattr(theirs, end, "sentence_embedding") != "sentence_embedding":
                    raise _unsupported(name, module.kind, f" on {getattr(theirs, end)}")
            tail.append(theirs)
        else:
            raise _unsupported(name, module.kind, " in this place")
    if parts.pooling is None:
        raise _unsupported(name, "Transformer", " without a Pooling after it")
    while tail and type(tail[-1]).__name__ == "Normalize":
        parts.normalize = True
        tail.pop()
    parts.head = _head(name, tail, pooled_width(parts.pooling, parts.backbone))


def _head(name: str, tail: Sequence[Any], width: int) -> Head | Chain | None:
    """What the modules after pooling do: SimCSE's head where they are one such, else a chain."""
    if not tail:
        return None
    try:
        chain = Chain(tail, width)
    except Exception as error:
        kinds = ", ".join(type(each).__name__ for each in tail)
        raise InputError(
            f"model {name!r}: its modules ({kinds}) do not fit its pooled vectors of {width} "
            f"numbers ({error}); save the model again"
        ) from error
    only = tail[0]
    if len(tail) > 1 or type(only).__name__ != "Dense" or not only.bias or only.use_residual:
        return chain
    if only.out_features != chain.out_features:
        return chain
    head = Head(only.in_features, only.out_features, only.activation_function)
    head.linear = only.linear
    return head


def _pooling(name: str, theirs: Any, instead: str | None) -> str:
    given = theirs.pooling_mode
    modes = [given] if isinstance(given, str) else list(given)
    if instead is None:
        return "+".join(_FROM_ST.get(mode, mode) for mode in modes)
    if modes != ["mean"]:
        before = "WordWeights" if instead == "mask" else "WeightedLayerPooling"
        raise _unsupported(name, "Pooling", f" {'+'.join(modes)} after {before}")
    return instead


def _check_width(name: str, width: int, backbone: PreTrainedModel) -> None:
    if width != backbone.config.hidden_size:
        raise InputError(
            f"model {name!r}: its Pooling is for states of {width} numbers, and the transformer's "
            f"have {backbone.config.hidden_size}; save the model again"
        )


def _layer_pair(name: str, theirs: Any, backbone: PreTrainedModel) -> str:
    layers = backbone.config.num_hidden_layers
    weights = [0.0] * theirs.layer_start + theirs.layer_weights.tolist()
    for pooling, pair in LAYER_PAIRS.items():
        expected = [0.0] * (layers + 1)
        for layer in pair:
            expected[layer] = 1.0
        if weights == expected:
            return pooling
    raise _unsupported(name, "WeightedLayerPooling", f" with layer weights {weights}")


def _at_mask(name: str, theirs: Any, tokenizer: Any) -> str:
    """Pooling ``mask``, which sentence-transformers says by weights of tokens: 1 and else 0."""
    weights = theirs.emb_layer.weight.flatten()
    weighed = weights.nonzero().flatten().tolist()
    if weighed != [tokenizer.mask_token_id] or weights[weighed[0]] != 1:
        raise _unsupported(name, "WordWeights", " on other tokens than the mask")
    return "mask"


def _mask_alone(tokenizer: Any) -> Any:
    """The module that weighs the mask token 1 and every other 0; a mean of them is then its state.

    Only the mask has a name in it, for it looks names up in lower case too.
    """
    from sentence_transformers.sentence_transformer import modules as st

    names = [""] * len(tokenizer)
    names[tokenizer.mask_token_id] = tokenizer.mask_token
    return st.WordWeights(names, {tokenizer.mask_token: 1.0}, unknown_word_weight=0.0)


def _unsupported(name: str, kind: str, detail: str = "") -> InputError:
    return InputError(
        f"model {name!r} has a module this kit cannot run: {kind}{detail}; supported are a "
        f"Transformer, one Pooling, and after it {', '.join(_AFTER_POOLING)}"
    )


# ---- writing -------------------------------------------------------------------------------------


def sentence_transformer(parts: Parts, aside: Path) -> Any:
    """The sentence-transformers model of these parts; its transformer goes through `aside`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    config = parts.backbone.config
    config.output_hidden_states = parts.pooling in LAYER_PAIRS
    name_base(parts.backbone)
    try:
        parts.backbone.save_pretrained(aside)
    finally:
        config.output_hidden_states = False
    _cut_at(parts.tokenizer, parts.max_length)
    parts.tokenizer.save_pretrained(aside)
    own_code = {"trust_remote_code": parts.own_code}
    with torch.random.fork_rng(devices=[]):  # a save in mid-training draws no random numbers
        transformer = Transformer(
            str(aside),
            max_seq_length=parts.max_length,
            model_kwargs={**own_code},
            config_kwargs={**own_code},
            processor_kwargs={**own_code},
        )
        layers = 2 if parts.pooling in LAYER_PAIRS else 1
        take_encoder(transformer, parts.backbone, layers=layers)
        if getattr(transformer.model, "pooler", None) is not None:
            transformer.model.pooler = None  # loading gave it random weights, not to be saved
        modules = [transformer, *_modules(parts)]
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts=parts.prompts or None,
        default_prompt_name=parts.default_prompt,
        similarity_fn_name=parts.similarity_fn_name,
        truncate_dim=parts.truncate_dim,
    )


def _cut_at(tokenizer: Any, max_length: int | None) -> None:
    """Have tokenizer.json say where texts are cut, which other runtimes obey.

    Of itself it says what the last call did: a training's length, or that of any text before.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and max_length is not None:
        backend.enable_truncation(max_length)


def _modules(parts: Parts) -> Iterator[Any]:
    """What follows the transformer, as modules of sentence-transformers."""
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer import modules as st

    assert parts.pooling is not None
    hidden = parts.backbone.config.hidden_size
    if parts.pooling in LAYER_PAIRS:
        layers = parts.backbone.config.num_hidden_layers
        first, last = (layer % (layers + 1) for layer in LAYER_PAIRS[parts.pooling])
        weights = nn.Parameter(torch.zeros(layers + 1 - first), requires_grad=False)
        weights[0] = weights[last - first] = 1.0
        yield st.WeightedLayerPooling(hidden, layers, layer_start=first, layer_weights=weights)
    if parts.pooling == "mask":
        yield _mask_alone(parts.tokenizer)
    modes = [_TO_ST.get(mode, mode) for mode in parts.pooling.split("+")]
    yield st.Pooling(hidden, modes, include_prompt=parts.include_prompt)
    if isinstance(parts.head, Chain):
        yield from parts.head.steps
    elif parts.head is not None:
        yield parts.head.as_module()
    if parts.normalize:
        yield Normalize()


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def rewrite_as_legacy(folder: Path, max_length: int | None) -> None:
    """Key names and module types as sentence-transformers wrote them before 5.4."""
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for module in modules:
        kind = module["type"].rsplit(".", 1)[-1]
        module["type"] = f"sentence_transformers.models.{kind}"
        config_file = folder / module["path"] / "config.json"
        if kind not in ("Pooling", "WeightedLayerPooling", "Dense"):
            continue
        config = json.loads(config_file.read_text(encoding="utf-8"))
        if kind == "Dense":  # older ones take no other arguments
            config.pop("module_input_name")
            config.pop("module_output_name")
        else:
            config["word_embedding_dimension"] = config.pop("embedding_dimension")
        if kind == "Pooling":
            given = config.pop("pooling_mode")
            modes = [given] if isinstance(given, str) else given
            for key, name in LEGACY_MODES.items():
                config[key] = name in modes
        _write_json(config_file, config)
    _write_json(folder / "modules.json", modules)
    legacy = {"max_seq_length": max_length, "do_lower_case": False}
    _write_json(folder / "sentence_bert_config.json", legacy)
