"""The C++ that torch compiles for a CPU's layers: built once, kept, and never required.

What it hides: compiler flags, the cache of builds, and what an old processor lacks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
