"""Packed batches of sequences laid end to end, and what runs them fast on the device at hand.

What it hides: attention inside each sequence, layouts of few shapes for a GPU, whole layers over
compiled kernels on a CPU, precision, threads and memory. The results are Hugging Face's.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
