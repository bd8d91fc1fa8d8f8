"""Shared fixtures: tiny random encoders of each family and their tokenizers, built offline.

``tiny_encoder("bert")`` is the path of a saved Hugging Face folder (weights, config, tokenizer).
Every family speaks the same ``WORDS``; anything else falls apart into single characters, so any
ASCII text works. Three layers, not two, so that "first and last" differs from "top two".
"""

from __future__ import annotations

import os
import string
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Before anything imports huggingface_hub: a test that reaches for the network fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FAMILIES = ("bert", "roberta", "distilbert", "mpnet", "electra", "xlm-roberta", "modernbert")
MAX_TOKENS = 64
_VOCABULARY = """
the a an of to in and is are was on at by for with from that this it he she they we you i not no
man woman girl boy dog cat horse bird child people player musician doctor teacher king city river
house car train plane boat street field beach kitchen guitar piano song book paper story game ball
plays runs eats sleeps reads writes sings rides walks cuts slices opens makes sees buys sells
red blue green black white big small old young happy sad fast slow hot cold new good bad
one two three four five first last
"""
WORDS = _VOCABULARY.split()
ALPHANUMERIC = string.ascii_lowercase + string.digits


def _wordpieces(special: list[str]) -> dict[str, int]:
    inside = [f"##{c}" for c in ALPHANUMERIC]  # punctuation always stands alone
    pieces = [*special, *WORDS, *ALPHANUMERIC, *string.punctuation, *inside]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def _bytelevel_bpe(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level BPE trained on the words: all 256 bytes, then the commonest merges."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _unigrams() -> list[tuple[str, float]]:
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"▁{word}", -4.0) for word in dict.fromkeys(WORDS)]
    characters = [(c, -9.0) for c in ["▁", *string.ascii_letters, *string.digits]]
    characters += [(c, -9.0) for c in string.punctuation]
    return [*special, *words, *characters, ("<mask>", 0.0)]


def _build_tokenizer(family: str) -> PreTrainedTokenizerFast:
    import transformers as hf

    roberta_special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bert_special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    limit: dict[str, Any] = {"model_max_length": MAX_TOKENS}
    if family in ("bert", "electra"):
        return hf.BertTokenizerFast(vocab=_wordpieces(bert_special), **limit)
    if family == "distilbert":
        return hf.DistilBertTokenizerFast(vocab=_wordpieces(bert_special), **limit)
    if family == "mpnet":
        special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
        return hf.MPNetTokenizerFast(vocab=_wordpieces(special), **limit)
    if family == "xlm-roberta":
        return hf.XLMRobertaTokenizerFast(vocab=_unigrams(), **limit)
    if family == "roberta":
        vocab, merges = _bytelevel_bpe(roberta_special)
        return hf.RobertaTokenizerFast(vocab=vocab, merges=merges, **limit)
    if family == "modernbert":
        return _modernbert_tokenizer(bert_special, limit)
    raise ValueError(f"no tiny encoder of family {family!r}; there are {FAMILIES}")


def _modernbert_tokenizer(special: list[str], limit: dict[str, Any]) -> PreTrainedTokenizerFast:
    """ModernBERT has no tokenizer class of its own: byte-level BPE between [CLS] and [SEP]."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab, merges = _bytelevel_bpe(special)
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        **dict(zip(names, special, strict=True)),
        **limit,
    )


def _build_config(family: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    import transformers as hf

    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": MAX_TOKENS,
        # wide enough that different texts get clearly different embeddings
        "initializer_range": 0.2,
    }
    # These count positions from pad_token_id + 1, as the published checkpoints do (514 for 512).
    shifted = {"max_position_embeddings": MAX_TOKENS + tokenizer.pad_token_id + 1}
    ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    if family == "bert":
        return hf.BertConfig(**shape)
    if family == "electra":
        # narrower embeddings, as electra-small: the projection into the body is exercised
        return hf.ElectraConfig(**shape, embedding_size=16)
    if family == "distilbert":
        names = {"hidden_size": "dim", "num_hidden_layers": "n_layers"}
        names |= {"num_attention_heads": "n_heads", "intermediate_size": "hidden_dim"}
        return hf.DistilBertConfig(**{names.get(key, key): value for key, value in shape.items()})
    if family == "mpnet":
        return hf.MPNetConfig(**(shape | shifted | ends))
    if family == "roberta":
        return hf.RobertaConfig(**(shape | shifted | ends | {"type_vocab_size": 1}))
    if family == "xlm-roberta":
        return hf.XLMRobertaConfig(**(shape | shifted | ends | {"type_vocab_size": 1}))
    return hf.ModernBertConfig(
        **shape,
        **ends,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        global_attn_every_n_layers=2,
        local_attention=16,  # shorter than the test sentences may be, so the window matters
    )


@pytest.fixture
def fresh_compiler() -> None:
    """What other tests of this process had compiled is forgotten: counts of graphs depend on it."""
    import torch

    torch.compiler.reset()


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    """A small uncased WordPiece tokenizer, saved to a folder and loaded from it."""
    from transformers import BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-tokenizer")
    _build_tokenizer("bert").save_pretrained(folder)
    return BertTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny_encoder(family)`` -> a folder with a random encoder; one a session, same weights.

    Treat the folder as read-only: other tests share it.
    """
    root = tmp_path_factory.mktemp("tiny-encoders")

    def build(family: str) -> Path:
        import torch
        from transformers import AutoModel

        folder = root / family
        if folder.exists():
            return folder
        tokenizer = _build_tokenizer(family)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20211103)
            model = AutoModel.from_config(_build_config(family, tokenizer))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build
