"""Semantic textual similarity: pairs with gold scores, judged by Spearman's ρ of cosines.

What it hides: the files and hub datasets of STS12-16, STS-B and SICK-R, what papers do differently
with the same pairs, the figures they print, and how a score and a difference get their intervals.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
