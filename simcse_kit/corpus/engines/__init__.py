"""Where shards are made: processes of this machine, or the workers of a Ray cluster.

What it hides: how the model gets to a worker, how many shards are under way, and how an engine's
own errors become one sentence. Each maps `embed_shard` over specs, and nothing more.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
