"""Every setting of a run: its fields, how they agree, recipes, and Hugging Face's own.

Hides where a setting is declared, read and refused; the rest of training has a `TrainConfig`.
"""
