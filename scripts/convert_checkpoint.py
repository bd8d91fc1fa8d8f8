"""Weights in pytorch_model.bin made a model folder with safetensors, which the kit reads.

    python scripts/convert_checkpoint.py FOLDER_OR_HUB_ID NEW_FOLDER --pooling cls [--head keep]

A ``.bin`` is a pickle, which can run code when it is read; here it is read once, tensors only
(``torch.load(weights_only=True)``), and anything else in it ends the conversion. Understood are
plain checkpoints (BERT with or without its heads for pretraining, in one file or several), folders
of sentence-transformers, and SimCSE's: ``mlp.*``, the layer that its training adds, and
``pooler.*``, where its released models keep that layer. What is written is a folder in the layout
of sentence-transformers.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from simcse_kit import SentenceEncoder
from simcse_kit.encoder import Head
from simcse_kit.encoder.pooling import POOLINGS
from simcse_kit.errors import InputError

logger = logging.getLogger("convert_checkpoint")

_MLP = "mlp.dense."
#: Where a state dict may lie in a checkpoint of a training.
_INSIDE = ("state_dict", "model_state_dict", "model", "module")


def convert(
    source: str | Path,
    target: str | Path,
    *,
    pooling: str | None = None,
    head: str | None = None,
    max_length: int | None = None,
) -> SentenceEncoder:
    """Write the model folder `target` from the ``.bin`` weights of `source`; gives its encoder.

    Args:
        source: a folder with config.json, tokenizer and ``pytorch_model.bin``, or a hub id.
        pooling: for a checkpoint that says nothing of it, as one of transformers does.
        head: ``keep`` SimCSE's layer (from ``mlp.*``, else ``pooler.*``) or ``none``; default: with
            pooling cls the ``mlp.*`` that is there, as SimCSE evaluates.
        max_length: tokens a text is cut to; default: as the folder or the model says.

    Raises:
        InputError: no ``.bin``, one that holds more than tensors, a model that does not load, or
            a pooler with which it is not said what to do.
    """
    folder, target = _folder(str(source)), Path(target).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{str(target)!r} exists; give a new folder")
    with tempfile.TemporaryDirectory(prefix="convert-") as made:
        aside = Path(made, "model")
        shutil.copytree(folder, aside, ignore=shutil.ignore_patterns("*.bin", "*.h5", "*.msgpack"))
        places = sorted({path.parent for path in folder.rglob("pytorch_model*.bin")})
        if not places:
            raise InputError(f"{str(source)!r} has no pytorch_model.bin; nothing is to convert")
        whole: dict[str, Tensor] = {}
        for place in places:
            found = _tensors(place)
            save_file(
                found, aside / place.relative_to(folder) / "model.safetensors", {"format": "pt"}
            )
            whole |= found
        encoder = SentenceEncoder.from_pretrained(
            aside, pooling=pooling, max_length=max_length, device="cpu", precision="fp32"
        )
        if encoder.head is None:
            encoder.head = _head(str(source), whole, encoder.pooling, head)
        elif head == "none":
            encoder.head = None
        encoder.name = str(source)
        encoder.save_pretrained(target)
    return encoder


def _folder(source: str) -> Path:
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, ignore_patterns=["*.h5", "*.msgpack", "*.onnx"]))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{source!r} is no folder and not to be had from the hub ({reason})"
        ) from error


def _tensors(place: Path) -> dict[str, Tensor]:
    """The state dict of the ``.bin`` files of a folder, each tensor in memory of its own."""
    found: dict[str, Tensor] = {}
    for path in sorted(place.glob("pytorch_model*.bin")):
        found |= _state_dict(path)
    prefix = "module." if all(key.startswith("module.") for key in found) else ""  # DataParallel's
    return {key.removeprefix(prefix): each.contiguous().clone() for key, each in found.items()}


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()[0]
        raise InputError(f"{path} holds more than tensors and is not read: {reason}") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); copy or download it again") from error
    for name in _INSIDE:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict):
        raise InputError(f"{path} holds a {type(loaded).__name__}, not a model's tensors by name")
    return {str(key): each for key, each in loaded.items() if isinstance(each, Tensor)}


def _head(name: str, tensors: dict[str, Tensor], pooling: str, asked: str | None) -> Head | None:
    """SimCSE's layer after pooling, where it is there and wanted."""
    extra = sorted(key for key in tensors if key.startswith("mlp.") and not key.startswith(_MLP))
    if extra and asked != "none":
        raise InputError(
            f"{name!r} has {extra[0]}, which is no part of SimCSE's mlp; use --head none"
        )
    layers = {
        key.rpartition(".")[0] + ".": key.split(".")[-3]
        for key in tensors
        if key.endswith((_MLP + "weight", "pooler.dense.weight"))
    }
    mlp = next((place for place, kind in layers.items() if kind == "mlp"), None)
    place = mlp or next(iter(layers), None)
    if place is None:
        if asked == "keep":
            raise InputError(f"{name!r} has neither mlp.* nor pooler.* to keep; use --head none")
        return None
    if asked is None and pooling == "cls" and mlp is None:
        raise InputError(
            f"{name!r} has {place}*: the layer of SimCSE's supervised models, or the one by which "
            "BERT predicts next sentences; say --head keep for the one, --head none for the other"
        )
    if asked != "keep" and not (asked is None and pooling == "cls"):
        logger.info("%s* is left out (--head keep has it run after pooling)", place)
        return None
    weight, bias = tensors[place + "weight"], tensors[place + "bias"]
    head = Head(weight.shape[1], weight.shape[0])
    head.linear.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    logger.info("%s* runs after pooling, with tanh", place)
    return head


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert as the command line says; 2 where the input is at fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", help="folder with pytorch_model.bin, or a hub id")
    parser.add_argument("target", help="folder to write")
    parser.add_argument("--pooling", choices=POOLINGS)
    parser.add_argument("--head", choices=("keep", "none"))
    parser.add_argument("--max-length", type=int)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        encoder = convert(
            given.source,
            given.target,
            pooling=given.pooling,
            head=given.head,
            max_length=given.max_length,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    head = "with a head" if encoder.head is not None else "without a head"
    print(f"{given.target}: {encoder.dimension} numbers a text, pooling {encoder.pooling}, {head}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
