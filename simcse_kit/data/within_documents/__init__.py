"""Pairs that a document's own text makes, for data that have none: one way a file.

Hides where sentences end, what is too short to teach anything, and how ways are drawn from a seed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
