"""Templates: tokens that stand around every text, as ``This sentence of "{}" means [MASK].``

Source: Jiang et al., PromptBERT (EMNLP 2022), section 4. What sentence-transformers puts before
texts has no end behind them; so a template lives in the tokenizer, whose post-processor puts its
tokens around a text's beside [CLS] and [SEP]. It stands in tokenizer.json, all who load that give
the same ids, and a text that is too long is cut inside the template.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simcse_kit.data import TokenStore
from simcse_kit.errors import InputError, TextError

#: Where the text goes, and what stands for the tokenizer's mask token.
TEXT, MASK = "{}", "[MASK]"

#: What the post-processor calls the pieces around a text; the outer two are the tokenizer's own.
_PIECES = ("opening", "before_text", "after_text", "closing")


@dataclass(frozen=True)
class Template:
    """Token ids around a text's own.

    Attributes:
        opening, closing: the tokenizer's special tokens, outside of the template.
        before, after: the template's tokens before and after the text.
    """

    opening: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    closing: tuple[int, ...]

    @property
    def added(self) -> int:
        """Tokens that it adds to a text with its special ones."""
        return len(self.before) + len(self.after)

    def has(self, token: int | None) -> bool:
        """Whether a token is one of its own."""
        return token in (*self.before, *self.after)

    def text_lengths(self, lengths: np.ndarray) -> np.ndarray:
        """How many tokens are the text's, int64 ``(B,)``, of so many in the whole sequence."""
        return lengths - (len(self.opening) + self.added + len(self.closing))

    def around(self, ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Texts with their special tokens, end to end, put into the template.

        Args:
            ids: int ``(sum(lengths),)``. lengths: int64 ``(B,)``.

        Returns:
            Their ids ``(sum(lengths) + B · added,)`` and lengths.
        """
        return self.inserted(ids, lengths, self.before, self.after), lengths + self.added

    def inserted(
        self, values: np.ndarray, lengths: np.ndarray, before: Sequence[int], after: Sequence[int]
    ) -> np.ndarray:
        """What is known of texts' tokens, end to end, with what is known of the template's.

        Args:
            values: ``(sum(lengths),)``. lengths: int64 ``(B,)``, of texts with special tokens.
            before, after: a value for each of the template's tokens.
        """
        ends = np.cumsum(lengths)
        places = [
            np.repeat(ends - lengths + len(self.opening), len(before)),
            np.repeat(ends - len(self.closing), len(after)),
        ]
        put = [np.tile(each, len(lengths)) for each in (before, after)]
        made: np.ndarray = np.insert(
            values, np.concatenate(places), np.concatenate(put).astype(values.dtype)
        )
        return made

    def without_text(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The template alone, once for a text of each length.

        Args:
            lengths: int64 ``(N,)``, tokens of the text that is left out.

        Returns:
            ids and lengths of N sequences, end to end, and the shift of each token
            (`simcse_kit.compute.PackedBatch`): what closes the template stands where it stands
            behind the text.
        """
        whole = np.array((*self.opening, *self.before, *self.after, *self.closing), dtype=np.int64)
        behind = np.arange(len(whole)) >= len(self.opening) + len(self.before)
        count = len(lengths)
        shift = (behind * lengths[:, None]).reshape(-1)
        return np.tile(whole, count), np.full(count, len(whole), dtype=np.int64), shift

    def told(self, tokenizer: Any) -> str:
        """As text, about as it was given."""
        before, after = (tokenizer.decode(list(each)) for each in (self.before, self.after))
        return f"{before}{TEXT}{after}"


def parse_template(text: str, tokenizer: Any) -> Template:
    """The token ids of a template, its two halves tokenised apart as PromptBERT does.

    Args:
        text: holds ``{}`` once; ``[MASK]`` is the mask token of any tokenizer.

    Raises:
        InputError: it does not, or the tokenizer cannot have a template.
    """
    if text.count(TEXT) != 1:
        raise InputError(f"template {text!r} must hold {TEXT} once, where the text goes")
    if MASK in text and getattr(tokenizer, "mask_token", None) is None:
        raise InputError(f"template {text!r}: the tokenizer has no mask token; leave {MASK} out")
    opening, closing = _own_tokens(tokenizer)
    spelt = text.replace(MASK, str(getattr(tokenizer, "mask_token", MASK)))
    before, after = (
        tuple(tokenizer(half, add_special_tokens=False)["input_ids"]) if half else ()
        for half in spelt.split(TEXT)
    )
    return Template(opening, before, after, closing)


def _own_tokens(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens before and after a text.

    Raises InputError for a tokenizer that has no post-processor to hold a template.
    """
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise InputError(
            f"a template is kept in tokenizer.json, which a {type(tokenizer).__name__} has not; "
            "leave template out, or take a model with a fast tokenizer"
        )
    probe = tokenizer("a b c", return_special_tokens_mask=True)
    if any(probe.get("token_type_ids", ())):
        raise InputError(
            f"a template's tokens are of type 0, and a {type(tokenizer).__name__} gives a text "
            "others; leave template out"
        )
    ids, special = probe["input_ids"], probe["special_tokens_mask"]
    start, end = special.index(0), len(special) - special[::-1].index(0)
    return tuple(ids[:start]), tuple(ids[end:])


def template_of(tokenizer: Any) -> Template | None:
    """The template that a tokenizer puts around texts, or None."""
    processor = getattr(getattr(tokenizer, "backend_tokenizer", None), "post_processor", None)
    if processor is None:
        return None
    said = json.loads(processor.__getstate__())
    known = said.get("special_tokens", {}) if said["type"] == "TemplateProcessing" else {}
    if not set(_PIECES[1:3]) & set(known):
        return None
    return Template(*(tuple(known.get(name, {"ids": ()})["ids"]) for name in _PIECES))


def without_template(tokenizer: Any) -> Any:
    """The tokenizer as it is without its template; itself where it has none."""
    template = template_of(tokenizer)
    if template is None:
        return tokenizer
    return _with(tokenizer, Template(template.opening, (), (), template.closing))


def with_template(tokenizer: Any, text: str) -> Any:
    """A tokenizer that puts this template around texts, in place of its own; "": none.

    Raises:
        InputError: as `parse_template`, or the template would be lost where the tokenizer is
            loaded again.
    """
    bare = without_template(tokenizer)
    if not text:
        return bare
    made = _with(bare, parse_template(text, bare))
    with tempfile.TemporaryDirectory() as folder:
        from transformers import AutoTokenizer

        made.save_pretrained(folder)
        again = AutoTokenizer.from_pretrained(folder)
    if template_of(again) != template_of(made):
        raise InputError(
            f"template: a {type(tokenizer).__name__} that is loaded again has lost it; leave it out"
        )
    return made


def _with(tokenizer: Any, template: Template) -> Any:
    """A copy with this around texts.

    Of the class without habits of its own: BERT's and RoBERTa's make their post-processor anew
    whenever they are loaded.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    parts = (template.opening, template.before, template.after, template.closing)
    pieces = [(name, list(ids)) for name, ids in zip(_PIECES, parts, strict=True) if ids]
    names = [name for name, _ in pieces]
    split = sum(name in _PIECES[:2] for name in names)
    around = " ".join([*names[:split], "$A", *names[split:]])
    end = " closing" if template.closing else ""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.post_processor = TemplateProcessing(
        single=around,
        pair=f"{around} $B{end}",
        special_tokens=[
            {"id": name, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
            for name, ids in pieces
        ],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=tokenizer.model_max_length,
        model_input_names=list(tokenizer.model_input_names),
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        **tokenizer.special_tokens_map,
    )


def check_masked(store: TokenStore, tokenizer: Any, first: int = 0) -> None:
    """Raise InputError for a text without a mask token, where it is to be pooled.

    Args:
        first: number of the store's first text.
    """
    mask_id = tokenizer.mask_token_id
    if mask_id is None:
        raise InputError("pooling mask needs a tokenizer with a mask token; take another pooling")
    if not len(store):
        return
    there = np.logical_or.reduceat(store.ids == mask_id, store.offsets[:-1])
    bare = np.flatnonzero(~there)
    if len(bare):
        raise TextError(
            first + int(bare[0]),
            "text {} has no mask token, where pooling mask takes the vector; "
            f"set a template, for instance 'This sentence of \"{TEXT}\" means {MASK}.' "
            "(--template; training: --set template=…; in Python encoder.use_template)",
        )
