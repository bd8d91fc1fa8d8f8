"""The charts of a report: each an SVG with its numbers beside it, for who cannot see it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
