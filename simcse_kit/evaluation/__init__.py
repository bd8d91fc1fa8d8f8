"""Tasks as data, protocols as functions: embeddings become figures, each with how sure it is.

Its rooms: `sts` (pairs with a gold score), `labels` (classes), `search` (retrieval, duplicates),
`statistics` (intervals and tests), `leakage` (training text in test sets). Here stands what they
share: one embedding of each distinct text, tables, pictures, where a figure comes from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
