"""Tiny random models of the families that people bring, each with a tokenizer of its kind.

Beside those of `tests/conftest.py`, which most tests stand on: the folders here serve the table of
families (`tests/encoder/test_families.py`).
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

WORDS = (
    *("the", "a", "an", "of", "to", "in", "and", "is", "are", "was", "on", "at", "by", "man"),
    *("woman", "girl", "boy", "dog", "cat", "horse", "plays", "runs", "eats", "sleeps", "guitar"),
    *("piano", "red", "blue", "big", "small", "one", "two", "three", "four", "five"),
)
MAX_TOKENS = 64

_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": MAX_TOKENS,
    "initializer_range": 0.2,  # wide enough that texts differ clearly
}
_GATED = {**_SHAPE, "num_key_value_heads": 2, "head_dim": 8}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4}
_BART = {
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": MAX_TOKENS,
    "init_std": 0.2,
}
_XLNET = {"d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 64, "initializer_range": 0.2}
_GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": MAX_TOKENS}
_GPT2 |= {"initializer_range": 0.2}
_DEBERTA = {**_SHAPE, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
_DISTIL = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64, "initializer_range": 0.2}

#: Each family: its configuration's class, the tokenizer's kind, the configuration's settings.
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "BERT": ("BertConfig", "wordpiece", _SHAPE),
    "RoBERTa": ("RobertaConfig", "bytes", _SHAPE | {"max_position_embeddings": MAX_TOKENS + 2}),
    "XLM-RoBERTa": (
        *("XLMRobertaConfig", "bytes"),
        _SHAPE | {"max_position_embeddings": MAX_TOKENS + 2},
    ),
    "CamemBERT": (
        *("CamembertConfig", "bytes"),
        _SHAPE | {"max_position_embeddings": MAX_TOKENS + 2},
    ),
    "DistilBERT": (
        *("DistilBertConfig", "wordpiece"),
        _DISTIL | {"max_position_embeddings": MAX_TOKENS},
    ),
    "ELECTRA": ("ElectraConfig", "wordpiece", _SHAPE | {"embedding_size": 16}),
    "ModernBERT": (
        *("ModernBertConfig", "wordpiece"),
        _SHAPE | {"global_attn_every_n_layers": 2, "local_attention": 16},
    ),
    "MPNet": ("MPNetConfig", "bytes", _SHAPE | {"max_position_embeddings": MAX_TOKENS + 2}),
    "DeBERTa": ("DebertaConfig", "wordpiece", _DEBERTA | {"type_vocab_size": 0}),
    "DeBERTa-v2": ("DebertaV2Config", "wordpiece", _DEBERTA | {"type_vocab_size": 0}),
    "ALBERT": ("AlbertConfig", "wordpiece", _SHAPE | {"embedding_size": 16}),
    "X-MOD": (
        *("XmodConfig", "bytes"),
        _SHAPE
        | {"max_position_embeddings": MAX_TOKENS + 2, "languages": ["en_XX"]}
        | {"default_language": "en_XX"},
    ),
    "MobileBERT": (
        *("MobileBertConfig", "wordpiece"),
        _SHAPE | {"embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16},
    ),
    "Nomic": ("NomicBertConfig", "wordpiece", _SHAPE),
    "Longformer": (
        *("LongformerConfig", "bytes"),
        _SHAPE | {"attention_window": 8, "max_position_embeddings": MAX_TOKENS + 2},
    ),
    "ConvBERT": ("ConvBertConfig", "wordpiece", _SHAPE | {"embedding_size": 16}),
    "FNet": ("FNetConfig", "wordpiece", _SHAPE),
    "Nyströmformer": ("NystromformerConfig", "wordpiece", _SHAPE | {"conv_kernel_size": 5}),
    "XLNet": ("XLNetConfig", "xlnet", _XLNET),
    "T5": ("T5Config", "ends", _T5 | {"initializer_factor": 2.0}),
    "mT5": ("MT5Config", "ends", _T5 | {"initializer_factor": 2.0}),
    "BART": ("BartConfig", "bytes", _BART),
    "Pegasus": ("PegasusConfig", "ends", _BART),
    "GPT-2": ("GPT2Config", "bare", _GPT2),
    "GPT-2, BERT's tokens": ("GPT2Config", "wordpiece", _GPT2),
    "LLaMA": ("LlamaConfig", "begins", _GATED),
    "Qwen2": ("Qwen2Config", "bare", _GATED),
    "Qwen3": ("Qwen3Config", "ends", _GATED),
    "Gemma": ("GemmaConfig", "begins", _GATED),
}

#: What a tokenizer puts around a text, token types included.
_AROUND = {
    "wordpiece": "[CLS]:0 $A:0 [SEP]:0",
    "bytes": "[CLS]:0 $A:0 [SEP]:0",
    "xlnet": "$A:0 [SEP]:0 [CLS]:2",
    "ends": "$A:0 [SEP]:0",
    "begins": "[CLS]:0 $A:0",
}
_SPECIAL = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")  # RoBERTa's order: pad is 1


def tokenizer_of(kind: str, family: str = "") -> hf.PreTrainedTokenizerFast:
    """A tokenizer that puts around a text what the kind says, and gives its inputs."""
    vocab = {name: index for index, name in enumerate(_SPECIAL)}
    for piece in (*WORDS, *string.ascii_lowercase, *string.digits, *string.punctuation):
        vocab.setdefault(piece, len(vocab))
    for letter in (*string.ascii_lowercase, *string.digits):
        vocab.setdefault(f"##{letter}", len(vocab))
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    if kind != "bare":
        backend.post_processor = processors.TemplateProcessing(
            single=_AROUND[kind],
            pair=None,
            special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")],
        )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if kind in ("wordpiece", "bytes", "xlnet"):
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    else:
        names |= {"eos_token": "[SEP]"}
    inputs = ["input_ids", "attention_mask"]
    if kind in ("wordpiece", "xlnet"):
        inputs.insert(1, "token_type_ids")
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=inputs, model_max_length=MAX_TOKENS, **names
    )


def config_of(family: str) -> Any:
    kind, tokenizer, settings = FAMILIES[family]
    ids = {"vocab_size": len(tokenizer_of(tokenizer)), "pad_token_id": 1}
    ids |= {"bos_token_id": 0, "eos_token_id": 2}
    if kind in ("T5Config", "MT5Config", "BartConfig", "PegasusConfig"):
        ids["decoder_start_token_id"] = 1
    return getattr(hf, kind)(**ids, **settings)


def build(family: str, folder: Path) -> Path:
    """Write the family's plain Hugging Face folder: config, weights, tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = hf.AutoModel.from_config(config_of(family))
        with torch.no_grad():
            for name, each in model.named_parameters():
                if each.ndim == 1 and "norm" in name.lower():
                    each.add_(0.1 * torch.randn_like(each))  # norms that are not the identity
    model.save_pretrained(folder)
    tokenizer_of(FAMILIES[family][1]).save_pretrained(folder)
    return folder
