"""Reading and writing model folders, through transformers and sentence-transformers.

A sentence-transformers folder (one with ``modules.json``) says how it pools; a plain Hugging
Face checkpoint does not, and nothing here guesses. Weights are read from safetensors only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import cached_file
from transformers.utils import logging as hf_logging

from simcse_kit.encoder.naming import find_model
from simcse_kit.encoder.pooling import LAYER_PAIRS
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

# sentence-transformers' name of each pooling over the last layer, and ours of theirs
_TO_ST = {"cls": "cls", "cls_before_pooler": "cls", "mean": "mean", "max": "max"}
_TO_ST["last_token"] = "lasttoken"
_FROM_ST = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last_token"}


class Head(nn.Module):
    """Linear layer and activation on the pooled embedding; SimCSE's MLP is ``H -> H, tanh``."""

    def __init__(
        self, in_features: int, out_features: int, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.activation = nn.Tanh() if activation is None else activation

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, in_features)`` to ``(B, out_features)``."""
        return self.activation(self.linear(pooled))


@dataclass
class Parts:
    """What a sentence encoder is made of, as a folder describes it."""

    backbone: PreTrainedModel
    tokenizer: Any
    pooling: str | None
    head: Head | None = None
    normalize: bool = False
    max_length: int | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None


def position_limit(backbone: PreTrainedModel) -> int | None:
    """The most tokens a backbone has positions for; None where it has no such bound."""
    limit = getattr(backbone.config, "max_position_embeddings", None)
    embeddings = getattr(backbone, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    # RoBERTa and MPNet start counting after the padding index
    if isinstance(table, nn.Embedding) and table.padding_idx is not None:
        limit = table.num_embeddings - table.padding_idx - 1
    return limit


def load_parts(
    name: str,
    *,
    head: str | None,
    revision: str | None,
    trust_remote_code: bool,
    token: str | bool | None,
) -> Parts:
    """Read a hub id, a local Hugging Face folder or a sentence-transformers folder.

    Raises:
        InputError: nothing there, no tokenizer, weights that cannot be read, or modules that
            are not an encoder, a pooling, a dense layer and a normalisation.
    """
    place = find_model(name, revision=revision, token=token)
    name = place.name
    hub: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "token": token,
        "local_files_only": place.local_only,
    }
    try:
        with quietly():
            if _has_file(name, "modules.json", hub):
                return _load_sentence_transformers(name, hub)
            return _load_plain(name, head, hub)
    except SafetensorError as error:
        raise InputError(
            f"model {name!r}: its weights cannot be read ({error}); copy or download it again"
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(_load_advice(name, error)) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' load report (on the pooler we drop), its bars and the hub's retries."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hub_verbosity = hub_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def _has_file(name: str, file: str, hub: dict[str, Any]) -> bool:
    found = cached_file(
        name,
        file,
        revision=hub["revision"],
        token=hub["token"],
        local_files_only=hub["local_files_only"],
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return found is not None


def _load_advice(name: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    folder = Path(name)
    if not folder.is_dir():
        return (
            f"model {name!r} is no local folder and could not be fetched from the hub ({reason}); "
            "check the name and the network, or give a local folder"
        )
    if not (folder / "config.json").is_file():
        return f"model folder {name!r} has no config.json; save it again with save_pretrained"
    if not any(folder.glob("*.safetensors")):
        return f"model folder {name!r} has no safetensors weights; save it again as safetensors"
    return f"model folder {name!r} could not be loaded: {reason}"


def _load_tokenizer(name: str, hub: dict[str, Any]) -> Any:
    if Path(name).is_dir() and not any(
        (Path(name) / file).is_file()
        for file in ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model")
    ):
        raise InputError(
            f"model folder {name!r} has no tokenizer (tokenizer.json or a vocabulary file); "
            "save the tokenizer beside the model with tokenizer.save_pretrained"
        )
    return AutoTokenizer.from_pretrained(name, **hub)


def _load_plain(name: str, head: str | None, hub: dict[str, Any]) -> Parts:
    tokenizer = _load_tokenizer(name, hub)
    config = AutoConfig.from_pretrained(name, **hub)
    backbone, report = AutoModel.from_pretrained(
        name,
        config=config,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        **hub,
    )
    missing = {key for key in report["missing_keys"] if not key.startswith("pooler.")}
    if missing:
        raise InputError(
            f"model {name!r}: its weights lack {len(missing)} tensors, {sorted(missing)[0]} among "
            f"them; it is no complete {config.model_type} encoder"
        )
    parts = Parts(backbone, tokenizer, pooling=None)
    pooler = getattr(backbone, "pooler", None)
    if head == "keep":
        parts.head = _head_from_pooler(name, pooler, bool(report["missing_keys"]))
    if pooler is not None:
        backbone.pooler = None  # its weights are random or another task's; our head replaces it
    return parts


def _head_from_pooler(name: str, pooler: nn.Module | None, random: bool) -> Head:
    """Released SimCSE models keep their MLP in the checkpoint's pooler."""
    dense = getattr(pooler, "dense", None)
    if random or not isinstance(dense, nn.Linear):
        raise InputError(
            f"model {name!r} has no pooler weights to keep as its head; use head='none'"
        )
    head = Head(dense.in_features, dense.out_features)
    head.linear.load_state_dict(dense.state_dict())
    return head


def _load_sentence_transformers(name: str, hub: dict[str, Any]) -> Parts:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer import modules as st

    if Path(name).is_dir():
        _load_tokenizer(name, hub)  # the clear complaint about a missing one
    model = SentenceTransformer(
        name, device="cpu", model_kwargs={"use_safetensors": True, "dtype": torch.float32}, **hub
    )
    transformer, *rest = list(model)
    if not isinstance(transformer, Transformer):
        raise _unsupported(name, transformer)
    parts = Parts(
        transformer.model,
        transformer.tokenizer,
        pooling=None,
        max_length=model.max_seq_length,
        prompts={key: text for key, text in (model.prompts or {}).items() if text},
        default_prompt=model.default_prompt_name,
    )
    for module in rest:
        if isinstance(module, st.WeightedLayerPooling):
            parts.pooling = _layer_pair(name, module, parts.backbone)
        elif isinstance(module, st.Pooling) and module.include_prompt:
            if parts.pooling is None and module.pooling_mode in _FROM_ST:
                parts.pooling = _FROM_ST[module.pooling_mode]
            elif parts.pooling not in LAYER_PAIRS or module.pooling_mode != "mean":
                raise _unsupported(name, module, f" with pooling mode {module.pooling_mode!r}")
        elif isinstance(module, Dense) and parts.head is None and _is_plain_dense(module):
            parts.head = Head(module.in_features, module.out_features, module.activation_function)
            parts.head.linear = module.linear
        elif isinstance(module, Normalize):
            parts.normalize = True
        else:
            raise _unsupported(name, module)
    if getattr(parts.backbone, "pooler", None) is not None:
        parts.backbone.pooler = None
    return parts


def _is_plain_dense(module: Any) -> bool:
    return (
        module.module_input_name == module.module_output_name == "sentence_embedding"
        and module.bias
        and not module.use_residual
    )


def _layer_pair(name: str, module: Any, backbone: PreTrainedModel) -> str:
    layers = backbone.config.num_hidden_layers
    weights = [0.0] * module.layer_start + module.layer_weights.tolist()
    for pooling, pair in LAYER_PAIRS.items():
        expected = [0.0] * (layers + 1)
        for layer in pair:
            expected[layer] = 1.0
        if weights == expected:
            return pooling
    raise _unsupported(name, module, f" with layer weights {weights}")


def _unsupported(name: str, module: nn.Module, detail: str = "") -> InputError:
    return InputError(
        f"model {name!r} has a module this kit cannot run: {type(module).__name__}{detail}; "
        "supported are a transformer, one pooling, one dense layer with bias and a normalisation"
    )


def save_parts(parts: Parts, folder: Path, *, layout: str, card: str) -> None:
    """Write a folder that `SentenceTransformer`, `AutoModel` and this kit load.

    Files are written aside and moved into place one by one, so a folder that was complete
    stays loadable when the writing fails.

    Args:
        layout: ``current``, or ``legacy`` for readers before sentence-transformers 5.4.
        card: the text of README.md.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quietly(), tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as aside:
        plain, full = Path(aside, "plain"), Path(aside, "full")
        _sentence_transformer(parts, plain).save_pretrained(str(full), create_model_card=False)
        (full / "README.md").write_text(card, encoding="utf-8")
        if layout == "legacy":
            _rewrite_as_legacy(full, parts.max_length)
        mode = (full / "README.md").stat().st_mode  # as the umask has it; safetensors' is 0600
        for path in sorted(full.rglob("*")):
            target = folder / path.relative_to(full)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                path.chmod(mode)
                os.replace(path, target)


def _sentence_transformer(parts: Parts, aside: Path) -> Any:
    """The sentence-transformers model of these parts; its transformer goes through `aside`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer import modules as st

    assert parts.pooling is not None
    config = parts.backbone.config
    config.output_hidden_states = parts.pooling in LAYER_PAIRS
    parts.backbone.save_pretrained(aside)
    _cut_at(parts.tokenizer, parts.max_length)
    parts.tokenizer.save_pretrained(aside)
    config.output_hidden_states = False
    hidden = config.hidden_size
    with torch.random.fork_rng(devices=[]):  # a save in mid-training draws no random numbers
        transformer = Transformer(str(aside), max_seq_length=parts.max_length)
    if getattr(transformer.model, "pooler", None) is not None:
        transformer.model.pooler = None  # loading gave it a random one, which is not to be saved
    modules: list[nn.Module] = [transformer]
    if parts.pooling in LAYER_PAIRS:
        layers = config.num_hidden_layers
        first, last = (layer % (layers + 1) for layer in LAYER_PAIRS[parts.pooling])
        weights = nn.Parameter(torch.zeros(layers + 1 - first), requires_grad=False)
        weights[0] = weights[last - first] = 1.0
        modules.append(
            st.WeightedLayerPooling(hidden, layers, layer_start=first, layer_weights=weights)
        )
    modules.append(st.Pooling(hidden, _TO_ST.get(parts.pooling, "mean")))
    if parts.head is not None:
        linear = parts.head.linear
        modules.append(
            Dense(
                linear.in_features,
                linear.out_features,
                activation_function=parts.head.activation,
                init_weight=linear.weight.detach().cpu().clone(),
                init_bias=linear.bias.detach().cpu().clone(),
            )
        )
    if parts.normalize:
        modules.append(Normalize())
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts=parts.prompts or None,
        default_prompt_name=parts.default_prompt,
    )


def _cut_at(tokenizer: Any, max_length: int | None) -> None:
    """Have tokenizer.json say where texts are cut, which other runtimes obey.

    Of itself it says what the last call did: a training's length, or that of any text before.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and max_length is not None:
        backend.enable_truncation(max_length)


def _rewrite_as_legacy(folder: Path, max_length: int | None) -> None:
    """Key names and module types as sentence-transformers wrote them before 5.4."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        kind = module["type"].rsplit(".", 1)[-1]
        module["type"] = f"sentence_transformers.models.{kind}"
        config_file = folder / module["path"] / "config.json"
        if kind not in ("Pooling", "WeightedLayerPooling"):
            continue
        config = json.loads(config_file.read_text())
        config["word_embedding_dimension"] = config.pop("embedding_dimension")
        if kind == "Pooling":
            mode = config.pop("pooling_mode")
            for key, name in (("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max")):
                config[f"pooling_mode_{key}"] = mode == name
            config["pooling_mode_mean_sqrt_len_tokens"] = False
            config["pooling_mode_lasttoken"] = mode == "lasttoken"
        config_file.write_text(json.dumps(config, indent=2))
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))
    legacy = {"max_seq_length": max_length, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(legacy, indent=2))
