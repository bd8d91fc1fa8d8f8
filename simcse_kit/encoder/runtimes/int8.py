"""Int8 of a graph's products with weights; everything else of it stays in fp32.

ONNX Runtime: weights int8 with a scale a channel, inputs uint8 with a scale that each product finds
for its whole batch (`quantize_dynamic`); only products, for embeddings in int8 lose most. Its
calibrated form is not offered: tried on MiniLM, without smoothing, it lost ten times the cosine.

OpenVINO, through nncf: weights int8 with a scale a channel, inputs int8 with a scale for 32
numbers of a token, found as it runs; or calibrated, with scales of the inputs fixed beforehand
from texts of the user's and outliers moved into the weights (SmoothQuant, Xiao et al. 2023).
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.encoder.runtimes.graph import LARGE, unheard

Inputs = dict[str, np.ndarray]


def onnx_in_int8(graph: Path, target: Path) -> None:
    """Write the ONNX graph with int8 products; of a large one weights lie in a file beside."""
    quantization = importlib.import_module("onnxruntime.quantization")
    size = sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))
    with unheard(logging.WARNING):
        quantization.quantize_dynamic(
            graph,
            target,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=size > LARGE,
        )


def openvino_of(
    graph: Path, target: Path, *, int8: bool, calibration: Iterable[Inputs] | None = None
) -> None:
    """Write an ONNX graph as OpenVINO's two files, in fp32 or int8.

    Args:
        target: the ``.xml``; weights lie beside it.
        calibration: inputs to fix scales from; None: they are found as it runs.
    """
    openvino = importlib.import_module("openvino")
    model = openvino.Core().read_model(graph)
    if int8:
        os.environ.setdefault("NNCF_CI", "1")  # it reports its use to its makers otherwise
        nncf: Any = importlib.import_module("nncf")
        with unheard(logging.WARNING):
            if calibration is None:
                model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
            else:
                inputs = list(calibration)
                model = nncf.quantize(
                    model,
                    nncf.Dataset(inputs),
                    model_type=nncf.ModelType.TRANSFORMER,
                    preset=nncf.QuantizationPreset.MIXED,
                    subset_size=len(inputs),
                )
    openvino.save_model(model, target, compress_to_fp16=False)
