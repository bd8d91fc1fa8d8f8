"""The model that is trained: the encoder and what stands beside it in training alone.

Hides how a step is computed: chunks, auxiliaries, what a batch tells of the space.
"""
