"""Prompts in training: the same before the texts that are trained on, judged on, and after it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from simcse_kit.data import JoinedTexts, Rows
from simcse_kit.encoder import SentenceEncoder, prompt_text
from simcse_kit.errors import InputError
from simcse_kit.training.settings.config import TrainConfig

logger = logging.getLogger(__name__)


def use_prompts(encoder: SentenceEncoder, config: TrainConfig) -> None:
    """Give the encoder the prompts of the settings, so that it has them wherever it goes.

    Raises InputError for a name that is none of the model's prompts.
    """
    encoder.use_prompts(config.prompt, config.prompt_name, document_prompt=config.document_prompt)
    chosen = config.prompt is not None or config.prompt_name is not None
    if chosen and config.document_prompt is None:  # before every text of a row
        encoder.use_prompts(document_prompt=_before_anchors(encoder))
    known = [name for name, text in encoder.prompts.items() if text]
    if known and encoder.default_prompt is None and config.document_prompt is None:
        logger.warning(
            "%s has prompts (%s) and none of them is put before the texts that are trained on; "
            "prompt_name=%s (--prompt-name) puts one there",
            *(encoder.name, ", ".join(known), known[0]),
        )


def prompted(rows: Rows, encoder: SentenceEncoder, config: TrainConfig) -> Sequence[str]:
    """The texts of the rows, column by column, each with what is put before it.

    Raises InputError for a prompt of documents where there are none, and for a prompt that the
    model's pooling leaves out.
    """
    if config.document_prompt is not None and rows.kind == "text":
        raise InputError(
            f"{rows.source}: document_prompt is for the positives and negatives of pairs, and "
            "these rows are texts; give prompt"
        )
    first, others = prompts_of(encoder, config)
    if (first or others) and not encoder.include_prompt:
        raise InputError(
            f"{encoder.name!r} leaves its prompts out of pooling, which training does not; set "
            "prompt to '' to train without"
        )
    texts = rows.texts()
    if not first and not others:
        return texts
    if isinstance(texts, JoinedTexts):
        return texts.behind(first, *[others] * (len(rows.columns) - 1))
    return [*_behind(first, texts[: len(rows)]), *_behind(others, texts[len(rows) :])]


def prompts_of(encoder: SentenceEncoder, config: TrainConfig) -> tuple[str, str]:
    """What is put before anchors, and before the other texts of a row."""
    # a data set of several may have a prompt of its own; else it is the encoder's by now
    first = _before_anchors(encoder) if config.prompt is None else config.prompt
    return first, first if config.document_prompt is None else config.document_prompt


def _before_anchors(encoder: SentenceEncoder) -> str:
    return prompt_text(encoder.prompts, encoder.default_prompt, None, None)


def _behind(prompt: str, texts: Iterable[str]) -> Iterable[str]:
    """With the prompt before each text; a hard negative that a row lacks stays none."""
    return (prompt + text if text else "" for text in texts) if prompt else texts
