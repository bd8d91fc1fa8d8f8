"""Embeddings become a scalar: pure functions of arrays, one idea a file.

Each file has the function, as its paper writes it, and a module that binds its hyper-parameters.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
