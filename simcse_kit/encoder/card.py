"""The README.md of a saved model: what it is, how to use it, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from simcse_kit.data import for_markdown

_TEMPLATE = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, sentence-similarity, simcse-kit]
{base}---

# {title}

A sentence encoder: texts in, one {dimension}-dimensional embedding a text out, compared by
{similarity}. Pooling `{pooling}`, {head}, texts cut to {max_length} tokens.{prompts}

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{title}")
embeddings = model.encode(["A man is playing a guitar.", "Someone plays music."])
print(model.similarity(embeddings, embeddings))
```
{measured}{training}
{made}
"""
_SIMILARITIES = {
    "cosine": "cosine",
    "dot": "dot product",
    "euclidean": "Euclidean distance",
    "manhattan": "Manhattan distance",
}
_MADE = "Made with simcse_kit."


def model_card(
    name: str,
    *,
    dimension: int,
    pooling: str,
    head: bool,
    max_length: int,
    similarity: str = "cosine",
    prompts: Mapping[str, str] = MappingProxyType({}),
    template: str | None = None,
    title: str | None = None,
    measured: str | None = None,
    training: dict[str, object] | None = None,
) -> str:
    """Markdown with hub metadata.

    Args:
        name: where the encoder was loaded from; a hub id is named as the base model.
        dimension, pooling, head, max_length: as in `SentenceEncoder`; `head` tells whether one
            is kept at inference.
        similarity: how embeddings compare. prompts: what is put before texts, by name.
        template: what the tokenizer puts around them.
        title: name of the model; default the last part of `name`.
        measured: a Markdown table of scores with its caption, or None: then none is claimed.
        training: settings to list, in order.
    """
    hub_id = name if not Path(name).exists() else None
    settings = (training or {}).items()
    rows = "\n".join(f"| `{key}` | {for_markdown(str(value))} |" for key, value in settings)
    return _TEMPLATE.format(
        base=f"base_model: {hub_id}\n" if hub_id else "",
        title=title or Path(name).name,
        dimension=dimension,
        pooling=pooling,
        head="a linear head with activation" if head else "no head",
        max_length=max_length,
        similarity=_SIMILARITIES[similarity],
        prompts=_prompts(prompts) + _around(template),
        measured=f"\n## Measured\n\n{measured}\n" if measured else "",
        made=_MADE,
        training=f"\n## How it was trained\n\n| | |\n|---|---|\n{rows}\n" if rows else "",
    )


def _prompts(prompts: Mapping[str, str]) -> str:
    """A line for each prompt that says something, by name."""
    said = "".join(f"\n- `{name}`: `{text!r}`" for name, text in prompts.items() if text)
    return f"\n\nPrompts, put before texts:\n{said}" if said else ""


def _around(template: str | None) -> str:
    if template is None:
        return ""
    return f"\n\nTemplate, which the tokenizer puts around every text: `{template}`"


def with_section(card: str, heading: str, text: str) -> str:
    """The card with the section ``## heading`` replaced, or put before its closing line.

    Everything else stays as it is, what others wrote into the card too.
    """
    lines = card.splitlines()
    title = f"## {heading}"
    section = [title, "", *text.strip().splitlines(), ""]
    if title in lines:
        start = lines.index(title)
        following = (i for i in range(start + 1, len(lines)) if lines[i].startswith(("# ", "## ")))
        end = next(following, _closing(lines))
    else:
        start = end = _closing(lines)
        section = ["", *section] if start and lines[start - 1] else section
    return "\n".join([*lines[:start], *section, *lines[end:]]) + "\n"


def _closing(lines: list[str]) -> int:
    """Where the card's own last line is, or its end."""
    return lines.index(_MADE) if _MADE in lines else len(lines)
