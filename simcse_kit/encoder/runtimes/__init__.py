"""Other libraries that compute an encoder: ONNX Runtime and OpenVINO, from an exported graph.

What it hides: the graph and how it is written, its int8, which library runs it and with what
settings, and whether an export is of the weights beside it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
