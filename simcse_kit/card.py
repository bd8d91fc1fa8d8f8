"""The README.md of a saved model: what it is, how to use it, what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

_TEMPLATE = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, sentence-similarity, simcse-kit]
{base}---

# {title}

A sentence encoder: texts in, one {dimension}-dimensional embedding a text out, compared by cosine.
Pooling `{pooling}`, {head}, texts cut to {max_length} tokens.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{title}")
embeddings = model.encode(["A man is playing a guitar.", "Someone plays music."])
print(model.similarity(embeddings, embeddings))
```
{measured}{training}
Made with simcse_kit.
"""


def model_card(
    encoder: SentenceEncoder,
    *,
    title: str | None = None,
    measured: str | None = None,
    training: dict[str, object] | None = None,
) -> str:
    """Markdown with hub metadata.

    Args:
        title: name of the model; default the last part of where it was loaded from.
        measured: a Markdown table of scores with its caption, or None: then none is claimed.
        training: settings to list, in order.
    """
    hub_id = encoder.name if not Path(encoder.name).exists() else None
    rows = "\n".join(f"| `{key}` | {value} |" for key, value in (training or {}).items())
    return _TEMPLATE.format(
        base=f"base_model: {hub_id}\n" if hub_id else "",
        title=title or Path(encoder.name).name,
        dimension=encoder.dimension,
        pooling=encoder.pooling,
        head="no head" if encoder.head is None else "a linear head with activation",
        max_length=encoder.max_length,
        measured=f"\n## Measured\n\n{measured}\n" if measured else "",
        training=f"\n## How it was trained\n\n| | |\n|---|---|\n{rows}\n" if rows else "",
    )
