"""Reading and writing model folders, through transformers and sentence-transformers.

A sentence-transformers folder (one with ``modules.json``) says how it pools; a plain Hugging
Face checkpoint does not, and nothing here guesses. Weights are read from safetensors only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as hf_logging

from simcse_kit.data import filling, move_into
from simcse_kit.encoder.limits import position_limit
from simcse_kit.encoder.metadata import check_has_tokenizer, model_file
from simcse_kit.encoder.modules import Head, Parts
from simcse_kit.encoder.naming import find_model
from simcse_kit.encoder.seq2seq import model_class, run_encoder
from simcse_kit.encoder.st_folder import read_folder, rewrite_as_legacy, sentence_transformer
from simcse_kit.encoder.verify import unnoticed, written_nowhere
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

_NO_LIMIT = 1 << 20  # tokens; a tokenizer without a limit says 10^30
_LONGEST_REASON = 300  # characters of another library's complaint
_alone = threading.RLock()  # a folder that is written is read in between


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
        InputError: nothing there, no tokenizer, weights that cannot be read or that lack a tensor,
            or modules that this kit does not run.
    """
    name, hub = place_of(name, revision, trust_remote_code, token)
    try:
        with quietly():
            if model_file(name, "modules.json", hub):
                return _load_sentence_transformers(name, hub)
            return _load_plain(name, head, hub)
    except SafetensorError as error:
        raise InputError(
            f"model {name!r}: its weights cannot be read ({error}); copy or download it again"
        ) from error
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever the libraries make of what the files hold
        raise InputError(_load_advice(name, error)) from error


def place_of(
    name: str, revision: str | None, trust_remote_code: bool, token: str | bool | None
) -> tuple[str, dict[str, Any]]:
    """Where a model's files are, a folder or a hub id, and how they are asked for there.

    Raises InputError where it is nowhere.
    """
    place = find_model(name, revision=revision, token=token)
    return place.source(revision), {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "token": token,
        "local_files_only": place.local_only,
    }


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' load report (on the pooler we drop), its bars and the hub's retries.

    For one thread at a time: these are settings of the whole process, and others would put back
    what this one has set.
    """
    with _alone:
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


def _load_advice(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
    folder = Path(name)
    if "trust_remote_code=True" in str(error):
        return (
            f"model {name!r} has code of its own, which runs with trust_remote_code=True "
            "(--trust-remote-code); read it before, for it may do anything"
        )
    pickled = any(folder.rglob("pytorch_model*.bin")) and not any(folder.rglob("*.safetensors"))
    if pickled or (not folder.is_dir() and "named model.safetensors" in reason):
        return (
            f"model {name!r} has no safetensors weights, and a pickle (pytorch_model.bin) is not "
            "read; convert it: python scripts/convert_checkpoint.py "
            f"{shlex.quote(name)} NEW_FOLDER --pooling …"
        )
    if not folder.is_dir():
        return (
            f"model {name!r} is no local folder and could not be fetched from the hub ({reason}); "
            "check the name and the network, or give a local folder"
        )
    if (shut := _unreadable(folder)) is not None:
        return (
            f"model folder {name!r}: permission to read {shut.name} is missing; ask its owner, or "
            "copy the folder"
        )
    if (folder / "adapter_config.json").is_file():
        return (
            f"model folder {name!r} holds adapters of another model and could not be loaded "
            f"({reason}); that model must lie where adapter_config.json says, and peft be installed"
        )
    if not (folder / "config.json").is_file():
        return f"model folder {name!r} has no config.json; save it again with save_pretrained"
    if not any(folder.glob("*.safetensors")):
        return f"model folder {name!r} has no safetensors weights; save it again as safetensors"
    return f"model folder {name!r} could not be loaded: {reason}"


def _unreadable(folder: Path) -> Path | None:
    """A file or folder in there that may not be read, if one may not; or the folder itself."""
    for path in (folder, *sorted(folder.rglob("*"))):
        wanted = os.R_OK | (os.X_OK if path.is_dir() else 0)
        if not os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids):
            return path
    return None


def _load_plain(name: str, head: str | None, hub: dict[str, Any]) -> Parts:
    check_has_tokenizer(name)
    tokenizer = AutoTokenizer.from_pretrained(name, **hub)
    config = AutoConfig.from_pretrained(name, **hub)
    backbone, report = model_class(config).from_pretrained(
        name,
        config=config,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        **hub,
    )
    _check_tensors(name, backbone, report)
    own_code = bool(hub["trust_remote_code"])
    parts = Parts(backbone, tokenizer, pooling=None, own_code=own_code)
    run_encoder(backbone)
    pooler = getattr(backbone, "pooler", None)
    if head == "keep":
        parts.head = _head_from_pooler(name, pooler, bool(report["missing_keys"]))
    elif head is None and pooler is not None and not report["missing_keys"]:
        logger.info(
            "%s has a trained pooler, which is left out; head='keep' (--head keep, with pooling "
            "cls) takes it as the head, as released supervised SimCSE models are meant",
            name,
        )
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
    parts, report = read_folder(name, hub)
    _check_tensors(name, parts.backbone, report)
    limit = position_limit(parts.backbone) or _NO_LIMIT
    if parts.max_length is None or parts.max_length > limit:
        if parts.max_length is not None and parts.max_length < _NO_LIMIT:
            logger.info(
                "%s says texts of %d tokens and has positions for %d: that many are taken",
                *(name, parts.max_length, limit),
            )
        parts.max_length = limit
    if getattr(parts.backbone, "pooler", None) is not None:
        parts.backbone.pooler = None
    return parts


def _check_tensors(name: str, backbone: PreTrainedModel, report: dict[str, Any]) -> None:
    """Raise InputError for weights that the model has and its file has not.

    They would be random ones, others at every load. Weights that the file has and the model has
    no place for are said where they are of its layers.

    Args:
        report: of `from_pretrained`.
    """
    kind = backbone.config.model_type
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(
            f"model {name!r}: its weights lack {len(missing)} tensors, {missing[0]} among them; "
            f"it is no complete {kind} encoder"
        )
    inside = {child for child, _ in backbone.named_children()} - {"pooler"}
    spare = sorted(
        key
        for key in report["unexpected_keys"]
        if key.split(".")[0] in inside and key.endswith((".weight", ".bias"))
    )
    if spare:
        logger.warning(
            "%s: %d tensors of its weights have no place in a %s of this configuration (%s among "
            "them), and are left out",
            *(name, len(spare), kind, spare[0]),
        )


def save_parts(
    parts: Parts, folder: Path, *, layout: str, card: str, check: Callable[[Parts], None]
) -> None:
    """Write a folder that `SentenceTransformer`, `AutoModel` and this kit load.

    Files are written aside, loaded again and moved into place one by one, so a folder that was
    complete stays loadable when the writing fails, and none is made. Whoever else writes a model
    there waits.

    Args:
        layout: ``current``, or ``legacy`` for readers before sentence-transformers 5.4.
        card: the text of README.md.
        check: raises InputError for parts that are not these; called with what was written.

    Raises:
        InputError: what was written does not load, or loads as another model.
    """
    with filling(folder) as aside, quietly():
        plain, full = aside / "plain", aside / "full"
        try:
            sentence_transformer(parts, plain).save_pretrained(str(full), create_model_card=False)
            if layout == "legacy":
                rewrite_as_legacy(full, parts.max_length)
            with unnoticed():
                check(read_parts(str(full), own_code=parts.own_code))
        except InputError as error:
            raise written_nowhere(folder, full, error) from error
        (full / "README.md").write_text(card, encoding="utf-8")
        mode = (full / "README.md").stat().st_mode  # as the umask has it; safetensors' is 0600
        for path in full.rglob("*"):
            if path.is_file():
                path.chmod(mode)
        move_into(folder, full)


def read_parts(folder: str, *, own_code: bool) -> Parts:
    """The parts of a folder here, as `load_parts`."""
    return load_parts(folder, head=None, revision=None, trust_remote_code=own_code, token=None)
