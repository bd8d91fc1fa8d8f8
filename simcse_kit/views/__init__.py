"""A row becomes aligned views: its dropout twin, or the given positive and negatives.

One idea a file; each is a function from the number of rows to numbers of texts or token ids.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
