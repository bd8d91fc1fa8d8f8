"""One report of one or several models: collected once as values, rendered in several forms.

What it hides: which texts are embedded for which figure, and a page that asks for nothing from
outside. The map of a user's own texts is drawn here too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
