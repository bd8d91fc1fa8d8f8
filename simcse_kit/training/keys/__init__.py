"""Where keys come from beside the trained encoder: one way a file.

Hides a slow encoder, its queue and how they go on; the model that is trained asks for keys.
"""
