"""A run from its settings to its folder: the model that is trained, one seed or several.

What it hides: `transformers.Trainer` and how little of it is ours, cached gradients, ranks that
train as one process, the alarm for a collapsing space, recipes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
