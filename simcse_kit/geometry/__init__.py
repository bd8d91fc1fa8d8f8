"""The geometry of an embedding space: how close the pairs are, how evenly the rest is spread.

Every function takes numpy or torch arrays (N, D), puts the rows on the unit sphere itself (only
`singular_spectrum` and `rankme` can be told not to) and returns plain numbers. No figure means
much alone, since a collapsed space has alignment 0. `measure_space` gives all of them at once,
with their intervals and with what each means and what it must not be compared with.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
