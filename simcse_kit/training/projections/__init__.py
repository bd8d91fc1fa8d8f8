"""Layers between the pooled vector and the objective, in training alone or kept: one kind a file.

Hides how such a head is built, and whether a folder of sentence-transformers can hold it.
"""
