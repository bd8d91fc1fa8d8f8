"""The one exception for a user's mistake, and how any exception becomes one sentence.

Every room may use it; it uses none. What it hides: which libraries' errors are a user's to put
right, and how pydantic's report reads as prose.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
