"""ONNX Runtime as a peer of `encode`: a session of its own over the exported encoder."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.speed.ours import CHECKED, read_sentences
from eval.speed.turns import Gate, Setting, Turn
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

PACKAGES = ("onnxruntime", "onnx", "onnxscript")


def why_not(device: str) -> str | None:
    """Why this peer cannot run here, or None."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"ONNX Runtime is not timed: pip install {' '.join(missing)}"
    if device != "cpu":
        return "ONNX Runtime is not timed: it is a peer on the CPU only"
    return None


class Encode:
    """Tokenise, run and pool as sentence-transformers' ONNX backend does, in fp32.

    That backend itself needs optimum; this does the same work without it: sentences sorted by
    their characters, batches padded to their longest, mean pooling inside the graph.
    """

    def __init__(self, setting: Setting) -> None:
        from transformers import AutoTokenizer

        reason = why_not(setting.device)
        if reason is not None:
            raise InputError(reason)
        if setting.pooling != "mean":
            raise InputError("the ONNX peer pools by mean; give a plain checkpoint")
        self.setting = setting
        self.sentences = read_sentences(setting.data, setting.sentences)
        self.tokenizer = AutoTokenizer.from_pretrained(setting.model)
        self.session = _session(setting, self.tokenizer)
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
            parts.append(self.session.run(None, wanted)[0])
        embeddings = np.empty((len(places), parts[0].shape[1]), np.float32)
        embeddings[places] = np.concatenate(parts)
        return embeddings


def _session(setting: Setting, tokenizer: Any) -> Any:
    """A session over the model and its mean pooling, with as many threads as torch has."""
    import torch
    from torch import nn
    from transformers import AutoModel

    onnxruntime = importlib.import_module("onnxruntime")  # optional: no stubs to check against

    class Pooled(nn.Module):
        """The backbone and the mean over its tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = AutoModel.from_pretrained(setting.model)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            states = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
            mask = attention_mask.unsqueeze(-1).to(torch.float32)
            pooled: Tensor = (states.last_hidden_state * mask).sum(1) / mask.sum(1)
            return pooled

    sample = tokenizer(["one", "one two three"], padding=True, return_tensors="pt")
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2)
    free = {0: batch, 1: length}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, on itself
        path = Path(folder, "model.onnx")
        torch.onnx.export(
            Pooled().eval(),
            (sample["input_ids"], sample["attention_mask"]),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["pooled"],
            dynamic_shapes={"input_ids": free, "attention_mask": free},
            verbose=False,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
