"""The words that tell a document from the others, as somebody may type them, and the document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import regex

from simcse_kit.data.within_documents.sentences import COMMON, ENOUGH, Document, up_to, words_of

FEWEST, MOST = 3, 6  # terms of a query
_POOL = 10  # of so many of a document's terms they are drawn
_WIDE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]+")
_TERM = regex.compile(
    r"(?:(?![\p{Han}\p{Hiragana}\p{Katakana}])[\p{L}\p{M}\p{N}_]){2,}|"
    r"[\p{Han}\p{Hiragana}\p{Katakana}]+"
)


def terms_in(text: str) -> list[str]:
    """Words in lower case, two letters or more; of scripts without blanks every two characters."""
    found = []
    for term in _TERM.findall(text.lower()):
        if _WIDE.fullmatch(term):
            found += [term[at : at + 2] for at in range(max(1, len(term) - 1))]
        elif not term.isdigit():
            found.append(term)
    return found


def key_terms(documents: Sequence[Document]) -> list[list[str]]:
    """Of each document its terms of most tf-idf weight against all documents, most first.

    By scikit-learn's ``TfidfVectorizer``, with logarithmic counts. No terms are its English stop
    words, and what stands in more than a quarter of the documents (of a dozen or more), which are
    those of other languages.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

    def analyzer(text: str) -> list[str]:
        return [term for term in terms_in(text) if term not in ENGLISH_STOP_WORDS]

    most = COMMON if len(documents) >= ENOUGH else 1.0
    vectorizer = TfidfVectorizer(
        analyzer=analyzer, sublinear_tf=True, max_df=most, dtype=np.float32
    )
    try:
        weights = vectorizer.fit_transform([" ".join(each.sentences) for each in documents])
    except ValueError:  # no terms at all
        return [[] for _ in documents]
    names = vectorizer.get_feature_names_out()
    found = []
    for start, stop in zip(weights.indptr, weights.indptr[1:], strict=False):
        columns, own = weights.indices[start:stop], weights.data[start:stop]
        order = np.lexsort((columns, -own))[:_POOL]
        found.append(names[columns[order]].tolist())
    return found


def keywords_pair(
    document: Document,
    terms: Sequence[str],
    draws: np.random.Generator,
    *,
    words: int,
    least: int,
) -> tuple[str, str] | None:
    """Some of a document's terms in any order, and the document.

    Of one that is longer than a side may be, it is the part that has most of these terms.

    Source: queries of a document's own words, as simple as doc2query's (Nogueira et al. 2019,
    arXiv:1904.08375) are learned; keyword queries are the cheap half of the synthetic ones of
    InPars and its like.

    Args:
        terms: of `key_terms`, of this document.

    Returns:
        As `title_pair`; None where there are fewer than `FEWEST` terms, too.
    """
    if not document.sentences or len(terms) < FEWEST:
        return None
    count = int(draws.integers(FEWEST, min(MOST, len(terms)) + 1))
    chosen = [terms[place] for place in draws.permutation(len(terms))[:count].tolist()]
    text = _part_with(document.sentences, set(chosen), words)
    return (" ".join(chosen), text) if words_of(text) >= least else None


def _part_with(sentences: tuple[str, ...], terms: set[str], words: int) -> str:
    """Of all that `up_to` gives from any sentence on what has most of the terms; the first such."""
    counts = [words_of(each) for each in sentences]
    if sum(counts) <= words:
        return up_to(sentences, words)
    held = [terms.intersection(terms_in(each)) for each in sentences]
    best, start, stop, within = -1, 0, 0, 0
    having: Counter[str] = Counter()
    for place in range(len(sentences)):
        if place:
            within -= counts[place - 1]
            having.subtract(held[place - 1])
        while stop < len(sentences) and (stop <= place or within + counts[stop] <= words):
            within += counts[stop]
            having.update(held[stop])
            stop += 1
        found = sum(count > 0 for count in having.values())
        if found > best:
            best, start = found, place
    return up_to(sentences[start:], words)
