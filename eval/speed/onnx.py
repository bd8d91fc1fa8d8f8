"""ONNX Runtime as a peer of `encode`: a session of its own over the exported encoder."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.speed.ours import CHECKED, load, read_sentences
from eval.speed.turns import Gate, Setting, Turn
from simcse_kit.errors import InputError


def why_not(device: str) -> str | None:
    """Why this peer cannot run here, or None."""
    from simcse_kit.encoder import missing_packages

    missing = missing_packages("onnx", to_write=True)
    if missing:
        return f"ONNX Runtime is not timed: pip install {' '.join(missing)}"
    if device != "cpu":
        return "ONNX Runtime is not timed: it is a peer on the CPU only"
    return None


class Encode:
    """Tokenise, run and pool as sentence-transformers' ONNX backend does, in fp32.

    That backend itself needs optimum; this does the same work without it: sentences sorted by
    their characters, batches padded to their longest, over the graph that `simcse-kit export`
    writes. The same graph behind our own `encode` is in `eval.speed.runtimes`.
    """

    def __init__(self, setting: Setting) -> None:
        from transformers import AutoTokenizer

        reason = why_not(setting.device)
        if reason is not None:
            raise InputError(reason)
        self.setting = setting
        self.sentences = read_sentences(setting.data, setting.sentences)
        self.tokenizer = AutoTokenizer.from_pretrained(setting.model)
        self.session = _session(setting)
        self.evidence: dict[str, Any] = {}

    def take_turns(self, gate: Gate) -> None:
        """The same sentences every turn."""
        while True:
            gate.wait()
            start = gate.clock()
            embeddings = self._encode()
            gate.done(Turn(gate.clock() - start, len(self.sentences)))
            self.evidence["embeddings"] = embeddings[:CHECKED]

    def _encode(self) -> np.ndarray:
        places = np.argsort([-len(sentence) for sentence in self.sentences], kind="stable")
        parts = []
        for start in range(0, len(places), self.setting.peer_batch):
            batch = [self.sentences[i] for i in places[start : start + self.setting.peer_batch]]
            features = self.tokenizer(
                batch,
                padding=True,
                truncation=True,
                max_length=self.setting.encode_length,
                return_tensors="np",
            )
            wanted = {name: features[name] for name in ("input_ids", "attention_mask")}
            parts.append(self.session.run(["sentence_embedding"], wanted)[0])
        embeddings = np.empty((len(places), parts[0].shape[1]), np.float32)
        embeddings[places] = np.concatenate(parts)
        return embeddings


def _session(setting: Setting) -> Any:
    """A session of its own over our export, with as many threads as torch has."""
    import torch

    from simcse_kit.encoder import export

    onnxruntime = importlib.import_module("onnxruntime")  # optional: no stubs to check against
    with tempfile.TemporaryDirectory() as folder:
        export(load(replace(setting, precision="fp32", device="cpu")), Path(folder, "model"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        graph = str(Path(folder, "model/onnx/model.onnx"))
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
