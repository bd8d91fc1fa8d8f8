"""Judge an encoder: STS under its published protocol, retrieval, geometry, and their pictures."""
