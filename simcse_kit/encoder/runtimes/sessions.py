"""The libraries that run a graph: token ids and mask in, one of its outputs out."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

#: Numbers of a token that share a scale in an int8 product: no scale is of two tokens, so a text's
#: vector does not depend on its company.
_GROUP = "32"


class Session(Protocol):
    """A graph that is ready to run, from several threads too."""

    def run(self, inputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
        """One output of the graph, float32."""


class OnnxSession:
    """ONNX Runtime on the CPU. Raises whatever it makes of a file that is no graph."""

    def __init__(self, path: str, precision: str, threads: int) -> None:
        runtime = importlib.import_module("onnxruntime")  # optional, without types
        runtime.set_default_logger_severity(3)  # errors; its warnings are about its own optimiser
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
        """As of `Session`."""
        found: np.ndarray = self._session.run([output], dict(inputs))[0]
        return found


class OpenVinoSession:
    """OpenVINO on the CPU. Raises whatever it makes of a file that is no graph."""

    def __init__(self, path: str, precision: str, threads: int) -> None:
        core = importlib.import_module("openvino").Core()  # optional, without types
        how: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,
        }
        self._compiled = core.compile_model(core.read_model(path), "CPU", how)
        self._own = threading.local()  # a request serves one thread

    def run(self, inputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
        """As of `Session`."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        found: np.ndarray = self._own.request.infer(dict(inputs))[output]
        return np.array(found, np.float32)  # the request's own memory is the next call's too


SESSIONS: dict[str, type[OnnxSession] | type[OpenVinoSession]] = {
    "onnx": OnnxSession,
    "openvino": OpenVinoSession,
}
