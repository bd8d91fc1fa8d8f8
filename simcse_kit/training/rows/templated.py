"""Templates in training: around the texts of each side, and what they give without a text."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from simcse_kit.compute import PackedBatch
from simcse_kit.data import TokenStore
from simcse_kit.encoder import (
    SentenceEncoder,
    Template,
    check_masked,
    parse_template,
    position_limit,
    template_of,
    without_template,
)
from simcse_kit.errors import InputError
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.views import Side


@dataclass(frozen=True)
class Templates:
    """What stands around the texts of each column of a row, if anything does.

    Attributes:
        anchor: of anchors, and of all texts of the model that is saved.
        others: of positives and hard negatives.
        debias: whether a batch also brings the templates without a text.
    """

    anchor: Template | None = None
    others: Template | None = None
    debias: bool = False

    @classmethod
    def of(cls, encoder: SentenceEncoder, config: TrainConfig) -> Templates:
        """Those of the settings, the anchors' being the encoder's.

        Raises InputError for what this encoder cannot have.
        """
        anchor = others = template_of(encoder.tokenizer)
        if config.positive_template is not None:
            bare = without_template(encoder.tokenizer)
            given = config.positive_template
            others = parse_template(given, bare) if given else None
        made = cls(anchor, others, config.template_debias)
        if made.debias and (anchor is None or others is None):
            raise InputError(
                "template_debias subtracts a template, and there is none; set template"
            )
        if made.debias and getattr(encoder.backbone, "sees_padding", False):
            raise InputError(
                f"template_debias: a {encoder.backbone.config.model_type} model sees what its mask "
                "hides, so it gives no template without a text; set it to false"
            )
        limit = position_limit(encoder.backbone)
        if limit is not None and config.max_length + made.added > limit:
            raise InputError(
                f"max_length {config.max_length} and the {made.added} tokens of a template are "
                f"over the {limit} tokens {encoder.name!r} has positions for; use at most "
                f"{limit - made.added}"
            )
        return made

    @property
    def added(self) -> int:
        """The most tokens that one of them adds to a text."""
        return max(0 if each is None else each.added for each in (self.anchor, self.others))

    def __bool__(self) -> bool:
        return self.anchor is not None or self.others is not None

    def around(self, column: int, side: Side) -> Side:
        """A column's texts in their template, of which no token is cut off.

        Features that are cut off of a text are so in its template's tokens too (`FeatureCutoff`).
        """
        template = self.others if column else self.anchor
        if template is None:
            return side
        ids, lengths = template.around(side.ids, side.lengths)
        kept = side.kept_tokens
        if kept is not None:
            whole = [True] * len(template.before), [True] * len(template.after)
            kept = template.inserted(kept, side.lengths, *whole)
        return replace(side, ids=ids, lengths=lengths, kept_tokens=kept)

    def check_masked(self, store: TokenStore, encoder: SentenceEncoder) -> None:
        """Raise InputError where pooling is at a mask token that some text is without."""
        mask = encoder.tokenizer.mask_token_id
        templates = (self.anchor, self.others)
        has = mask is not None and all(each is not None and each.has(mask) for each in templates)
        if encoder.pooling == "mask" and not has:
            check_masked(store, encoder.tokenizer)

    def emptied(self, batch: PackedBatch, columns: list[int]) -> tuple[PackedBatch, Tensor]:
        """The templates of a batch without its texts, once for every length that occurs.

        Args:
            batch: ``B·V`` sequences, those in these V columns of the rows side by side.

        Returns:
            M sequences whose positions leave out the text (`Template.without_text`), and int64
            ``(B, V)``: which of them belongs to each sequence of the batch.
        """
        counts, each = np.array(batch.groups, dtype=np.int64).T
        lengths = np.repeat(each, counts)[batch.order.numpy()].reshape(-1, len(columns))
        kinds = np.array([int(column > 0 and self.others != self.anchor) for column in columns])
        known = [self.anchor, self.others]
        texts = np.empty_like(lengths)
        for place, kind in enumerate(kinds):
            template = known[kind]
            assert template is not None
            texts[:, place] = template.text_lengths(lengths[:, place])
        pairs = np.stack([np.broadcast_to(kinds, texts.shape), texts], axis=-1).reshape(-1, 2)
        found, numbers = np.unique(pairs, axis=0, return_inverse=True)
        parts = [
            template.without_text(found[found[:, 0] == kind, 1])
            for kind, template in enumerate(known)
            if template is not None and kind in kinds
        ]
        ids, sizes, shift = (np.concatenate(part) for part in zip(*parts, strict=True))
        made = PackedBatch.from_flat(ids, sizes, shift=shift)
        return made, torch.from_numpy(numbers.reshape(texts.shape).astype(np.int64))
