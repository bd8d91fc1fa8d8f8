"""Text becomes one embedding: backbone, pooling, head; loading and saving.

What it hides: the one encode path that training, evaluation and the command line share, and the
layout of folders that sentence-transformers and transformers read.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
