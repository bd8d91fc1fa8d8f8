"""Published STS figures, as data with their source, to stand beside measured ones.

Only figures of one protocol are comparable, so rows are asked for by protocol (`protocols`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from simcse_kit.evaluation.sts.tasks import SUITE


@dataclass(frozen=True)
class Published:
    """One row of a published table, Spearman ×100.

    Attributes:
        model: what was measured, in words.
        method: "first-last" (an encoder as it is), "unsup" or "sup" (SimCSE).
        encoder: "bert-base", "bert-large", "roberta-base" or "roberta-large".
        protocol: its name in `protocols.PROTOCOLS`.
        scores: by task; {} where only the average was published.
        average: over the seven tasks, as printed there.
        source: paper and table, or page.
        note: what a reader has to know to compare, or "".
    """

    model: str
    method: str
    encoder: str
    protocol: str
    scores: Mapping[str, float]
    average: float
    source: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self)


_TABLE_5 = "Gao et al. 2021 (SimCSE), arXiv:2104.08821, Table 5"
_TABLE_B3 = "Gao et al. 2021 (SimCSE), arXiv:2104.08821, Table B.3"
_README = "princeton-nlp/SimCSE, README, model list"
_EMBEDDINGS = (
    "The authors' code then took the embedding layer for the first (issue 133); with the first"
    " layer proper, a user's run of it gave 60.73 (issue 285)."
)


def _row(
    model: str,
    method: str,
    encoder: str,
    figures: str,
    protocol: str = "senteval-all",
    source: str = _TABLE_5,
    note: str = "",
) -> Published:
    *scores, average = map(float, figures.split())
    by_task = dict(zip(SUITE, scores, strict=True)) if scores else {}
    return Published(model, method, encoder, protocol, by_task, average, source, note)


# fmt: off
#                                            STS12 STS13 STS14 STS15 STS16 STS-B SICK-R  Avg.
PUBLISHED_ROWS: tuple[Published, ...] = (
    _row("BERT-base, first-last average", "first-last", "bert-base",
         "39.70 59.38 49.67 66.03 66.19 53.87 62.06 56.70", note=_EMBEDDINGS),
    _row("RoBERTa-base, first-last average", "first-last", "roberta-base",
         "40.88 58.74 49.07 65.63 61.48 58.55 61.63 56.57"),
    _row("unsup. SimCSE, BERT-base", "unsup", "bert-base",
         "68.40 82.41 74.38 80.91 78.56 76.85 72.23 76.25"),
    _row("unsup. SimCSE, BERT-large", "unsup", "bert-large", "78.41", source=_README),
    _row("unsup. SimCSE, RoBERTa-base", "unsup", "roberta-base",
         "70.16 81.77 73.24 81.36 80.65 80.22 68.56 76.57"),
    _row("unsup. SimCSE, RoBERTa-large", "unsup", "roberta-large",
         "72.86 83.99 75.62 84.77 81.80 81.98 71.26 78.90"),
    _row("sup. SimCSE, BERT-base", "sup", "bert-base",
         "75.30 84.67 80.19 85.40 80.82 84.25 80.39 81.57"),
    _row("sup. SimCSE, BERT-large", "sup", "bert-large", "82.21", source=_README),
    _row("sup. SimCSE, RoBERTa-base", "sup", "roberta-base",
         "76.53 85.21 80.95 86.03 82.57 85.83 80.50 82.52"),
    _row("sup. SimCSE, RoBERTa-large", "sup", "roberta-large",
         "77.46 87.27 82.36 86.66 83.93 86.70 81.95 83.76"),
    _row("BERT-base, first-last average", "first-last", "bert-base",
         "57.86 61.97 62.49 70.96 69.76 59.04 63.75 63.69", "wmean", _TABLE_B3,
         "Taken there from the papers on BERT-flow and BERT-whitening."),
    _row("unsup. SimCSE, BERT-base", "unsup", "bert-base",
         "70.14 79.56 75.91 81.46 79.07 76.85 72.23 76.46", "wmean", _TABLE_B3),
    _row("sup. SimCSE, BERT-base", "sup", "bert-base",
         "70.90 81.49 80.19 83.79 81.89 84.25 80.39 80.41", "wmean", _TABLE_B3),
)
# fmt: on


def published(protocol: str, encoder: str | None = None) -> tuple[Published, ...]:
    """The published rows of a protocol, of one kind of encoder where it is named."""
    return tuple(
        row for row in PUBLISHED_ROWS if row.protocol == protocol and encoder in (None, row.encoder)
    )


def nearest_encoder(family: str, hidden_size: int) -> str:
    """Which of the published encoders is most like one of this family and width.

    Args:
        family: the backbone's ``model_type``; all but RoBERTa's kin stand beside BERT.
        hidden_size: of its states; published are 768 (base) and 1,024 (large).
    """
    kind = "roberta" if "roberta" in family else "bert"
    return f"{kind}-{'large' if hidden_size >= 1024 else 'base'}"
