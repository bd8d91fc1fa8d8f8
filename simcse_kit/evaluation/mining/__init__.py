"""Hard negatives for pairs: near texts that are no positives, found by an encoder.

What it hides: search in blocks, so that memory does not grow with the texts; the rules that tell a
hard negative from a positive that nobody labelled; a folder of finished work, from which an
interrupted run goes on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
