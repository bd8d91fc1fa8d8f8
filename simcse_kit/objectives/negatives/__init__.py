"""Negatives that no text of the batch is: one way a file.

Hides where such vectors come from; objectives find them behind the keys of a queue.
"""
