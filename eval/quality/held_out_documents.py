"""Documents to adapt an encoder to, and others of their kind to judge it on by two searches.

The docstrings of the quickstart's packages, whole packages held out, or the manual pages of this
machine (`scripts/manuals.py`), whole families of pages held out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simcse_kit.data import Rows
from simcse_kit.data.within_documents import Document, document_of

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from docstrings import Entry, gather  # scripts/ is no package: found by the line above
from manuals import gather_manuals
from quickstart import HELD_OUT_PACKAGES, TRAIN_PACKAGES

#: Packages that settings are chosen on; none is trained on or reported.
DEV_PACKAGES = (
    *("transformers", "datasets", "accelerate", "sentence_transformers", "huggingface_hub"),
    *("pydantic", "peft", "mteb", "fsspec", "joblib"),
)


@dataclass(frozen=True)
class Domain:
    """Documents to adapt to, documents to be judged on, and the pairs that would be known.

    Attributes:
        documents: whole texts. held_out: of others.
        given: anchors and positives, or None.
    """

    documents: list[str]
    held_out: list[str]
    given: Rows | None = None


def domain_of(name: str) -> Domain:
    """The texts of a domain."""
    if name == "manuals":
        train_pages, held = gather_manuals()
        return Domain([page.text for page in train_pages], [page.text for page in held])
    corpus = gather(TRAIN_PACKAGES, DEV_PACKAGES if name == "dev" else HELD_OUT_PACKAGES)
    columns = {
        "anchor": [entry.summary for entry in corpus.train],
        "positive": [entry.description for entry in corpus.train],
    }
    given = Rows("pairs", columns, None, None, "given", duplicates=0, blank=0)
    return Domain(list(map(whole, corpus.train)), list(map(whole, corpus.held_out)), given)


def whole(entry: Entry) -> str:
    """A documented object as one text: its summary, a blank line, its description."""
    return f"{entry.summary}\n\n{entry.description}"


def searches(documents: Sequence[str]) -> dict[str, tuple[list[str], list[str], np.ndarray]]:
    """The two search tasks: queries, what is searched, and the number of each query's own text."""
    parsed = [document_of(text) for text in documents]
    whole = [each for each in parsed if len(each.sentences) > 1]
    title = (
        [each.sentences[0] for each in whole],
        [" ".join(each.sentences[1:]) for each in whole],
        np.arange(len(whole)),
    )
    middle = [
        (number, *_middle(each)) for number, each in enumerate(whole) if len(each.sentences) > 2
    ]
    texts = [" ".join(each.sentences) for each in whole]
    for number, _, rest in middle:
        texts[number] = rest
    own = np.array([number for number, _, _ in middle])
    return {"title": title, "middle": ([query for _, query, _ in middle], texts, own)}


def _middle(document: Document) -> tuple[str, str]:
    """The sentence in the middle of a document, and the others."""
    place = len(document.sentences) // 2
    rest = [*document.sentences[:place], *document.sentences[place + 1 :]]
    return document.sentences[place], " ".join(rest)
