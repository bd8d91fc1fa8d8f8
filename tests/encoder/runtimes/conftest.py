"""One small encoder with a head, prompts and a Normalize, exported once a session."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from simcse_kit.encoder import SentenceEncoder, export
from simcse_kit.encoder.modules import Head

TEXTS = [
    "a man plays the guitar",
    "",
    "dog",
    "one two three four five big red horse eats the small blue cat on the guitar " * 3,
    "the cat sleeps",
    "a man plays the guitar",
]

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None or importlib.util.find_spec("nncf") is None,
    reason="needs openvino and nncf: pip install 'simcse-kit[openvino]'",
)


class Made(NamedTuple):
    """A folder with an export, and its encoder in torch."""

    folder: Path
    encoder: SentenceEncoder


def headed(folder: Path, pooling: str = "mean") -> SentenceEncoder:
    """The encoder of a plain folder with a head, unit vectors and a prompt of its own."""
    plain = SentenceEncoder.from_pretrained(
        folder, pooling=pooling, precision="fp32", device="cpu", default_pooling=None
    )
    parts = plain.parts()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        parts.head = Head(32, 24)
    parts.normalize, parts.prompts = True, {"query": "find the ", "document": ""}
    return SentenceEncoder(parts, name="tiny", precision="fp32").eval()


@pytest.fixture(scope="session")
def made(tiny_encoder, tmp_path_factory) -> Made:
    """Read-only: other tests share it."""
    pytest.importorskip("onnxscript")
    encoder = headed(tiny_encoder("bert"))
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    export(encoder, folder)
    return Made(folder, encoder)
