"""What a part of a method is: a small class, its settings beside it, found by its name.

Hides where parts come from: files of this package, a user's own ``package.module:Name``, entry
points of installed packages. Nothing is registered: a part is a file that is added.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
