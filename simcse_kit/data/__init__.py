"""Files and hub datasets become rows with known columns, and rows become token ids, once.

What it hides: formats, encodings, compression and headers; how a token store lies on the disk; how
a file is written whole or not at all. Every complaint names file and line.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
