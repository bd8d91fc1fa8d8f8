"""What an encoder leaves: its folder, its card, its place on the hub."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from torch import nn
from transformers import PreTrainedModel

from simcse_kit.data import at_home
from simcse_kit.encoder.adapters import merged
from simcse_kit.encoder.card import model_card
from simcse_kit.encoder.modules import Chain, Head, Parts
from simcse_kit.encoder.persistence import save_parts
from simcse_kit.encoder.pooling import pooled_width
from simcse_kit.encoder.templates import template_of
from simcse_kit.encoder.verify import check_written
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder


class Saving(nn.Module):
    """The half of `SentenceEncoder` that writes what it is; the attributes are described there."""

    backbone: PreTrainedModel
    tokenizer: Any
    pooling: str
    head: Head | Chain | None
    normalize: bool
    max_length: int
    prompts: dict[str, str]
    default_prompt: str | None
    truncate_dim: int | None
    similarity_fn_name: str
    include_prompt: bool
    own_code: bool
    name: str

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return min(self.width, self.truncate_dim or self.width)

    @property
    def width(self) -> int:
        """Length of an embedding before `truncate_dim` cuts it."""
        if self.head is not None:
            return self.head.out_features
        return pooled_width(self.pooling, self.backbone)

    def parts(self) -> Parts:
        """What a folder of this encoder holds."""
        return Parts(
            self.backbone,
            self.tokenizer,
            self.pooling,
            self.head,
            self.normalize,
            self.max_length,
            dict(self.prompts),
            self.default_prompt,
            self.truncate_dim,
            self.similarity_fn_name,
            self.include_prompt,
            self.own_code,
        )

    def model_card(
        self,
        *,
        title: str | None = None,
        measured: str | None = None,
        training: dict[str, object] | None = None,
    ) -> str:
        """The README.md of a folder of this encoder (see `simcse_kit.encoder.card`)."""
        template = template_of(self.tokenizer)
        return model_card(
            self.name,
            dimension=self.dimension,
            pooling=self.pooling,
            head=self.head is not None,
            max_length=self.max_length,
            similarity=self.similarity_fn_name,
            prompts=self.prompts,
            template=None if template is None else template.told(self.tokenizer),
            title=title,
            measured=measured,
            training=training,
        )

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        layout: Literal["current", "legacy"] = "current",
        card: str | None = None,
        merge_adapters: bool = False,
    ) -> None:
        """Write a folder that `SentenceTransformer(folder)` and `AutoModel` load.

        Args:
            layout: ``legacy`` writes the older key names, which readers before
                sentence-transformers 5.4 need and newer ones load too.
            card: the text of README.md; default: a short card.
            merge_adapters: write whole weights, into which adapters are merged. Otherwise a model
                with adapters is written as peft does: these alone, and where the model below lies.

        Raises:
            InputError: the folder cannot be written, or would load as another model.
        """
        if layout not in ("current", "legacy"):
            raise InputError(f"unknown layout {layout!r}; choose current or legacy")
        try:
            parts = self.parts()
            if merge_adapters:
                parts.backbone = merged(parts.backbone)
            save_parts(
                parts,
                at_home(folder),
                layout=layout,
                card=card or self.model_card(),
                check=partial(check_written, cast("SentenceEncoder", self)),
            )
        except OSError as error:
            raise InputError(f"cannot write the model to {str(folder)!r}: {error}") from error

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        token: str | None = None,
        measured: str | None = None,
        card: str | None = None,
        layout: Literal["current", "legacy"] = "current",
        merge_adapters: bool = False,
        commit_message: str = "Add sentence encoder",
    ) -> str:
        """Upload the saved folder to the hub; gives the commit's address.

        Args:
            measured: a Markdown table of scores for the card, for instance
                `simcse_kit.evaluation.sts.tables.markdown_table`'s.
            card: the whole text of README.md instead.
            layout, merge_adapters: as of `save_pretrained`.
        """
        from simcse_kit.encoder.upload import upload

        title = repo_id.rsplit("/", 1)[-1]
        card = card or self.model_card(title=title, measured=measured)
        return upload(
            lambda folder: self.save_pretrained(
                folder, layout=layout, card=card, merge_adapters=merge_adapters
            ),
            repo_id,
            private=private,
            token=token,
            commit_message=commit_message,
        )
