"""Judging by search: queries against documents, and pairs that are duplicates or not.

What it hides: BEIR's folders and plain tables, ranking in blocks, ties, and how a mean over queries
gets its interval.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
