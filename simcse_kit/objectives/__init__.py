"""Training objectives: pure functions of embeddings, one idea a file."""
