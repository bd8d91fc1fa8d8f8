"""What stands around the texts of an encoder: prompts before them, a template around them."""

from __future__ import annotations

from simcse_kit.encoder.prompts import chosen_prompts
from simcse_kit.encoder.saving import Saving
from simcse_kit.encoder.templates import with_template
from simcse_kit.errors import InputError


class AroundTexts(Saving):
    """The part of `SentenceEncoder` that sets these; its attributes are described there."""

    def use_prompts(
        self, prompt: str | None = None, prompt_name: str | None = None, **documents: str | None
    ) -> None:
        """Put this prompt before every text from now on; see `prompts.chosen_prompts`.

        Args:
            documents: ``document_prompt`` or ``document_prompt_name``, for documents.
        """
        self.prompts, self.default_prompt = chosen_prompts(
            self.prompts, self.default_prompt, prompt, prompt_name, **documents
        )

    def use_template(self, template: str) -> None:
        """Put this around every text from now on, in place of the tokenizer's own; "": nothing.

        It takes tokens of `max_length`, and goes around the prompts. See
        `simcse_kit.encoder.templates`.

        Args:
            template: ``{}`` where the text goes, ``[MASK]`` for the mask token.

        Raises:
            InputError: there is no ``{}``, or the model cannot have a template.
        """
        if template and not self.include_prompt:
            raise InputError(
                f"{self.name!r} leaves its prompts out of pooling, by their number of tokens, and "
                "a template would be counted among them; set template to ''"
            )
        self.tokenizer = with_template(self.tokenizer, template)

    def _tokens_of(self, prompt: str) -> int:
        """How many tokens a prompt takes before a text, the ones before every text included."""
        if not prompt:
            return 0
        ids = self.tokenizer(prompt, truncation=True, max_length=self.max_length)["input_ids"]
        return len(ids) - (ids[-1] in self.tokenizer.all_special_ids)
