"""The table of families in the docs: each row is run here, against sentence-transformers.

Tiny random models: a family is computed as its own code computes one text alone, whatever else is
in the batch. How good it is is not asked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers import AutoModel

from families import FAMILIES, WORDS, build, config_of, tokenizer_of
from simcse_kit.compute import PackedBatch
from simcse_kit.compute.fast_layers import FastLinear
from simcse_kit.compute.taught import Taught
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.encoder.modules import Chain, Head
from simcse_kit.errors import InputError

PAGE = Path(__file__).parents[2] / "docs/files-and-models.md"
TEXTS = [
    "a man plays the guitar",
    "",
    "dog",
    "one two three four five big red horse eats the small blue cat on the guitar " * 3,
    "the cat sleeps",
    "a man plays the guitar",
]
ALONE = {"mean": "mean", "cls": "cls", "last_token": "lasttoken", "max": "max"}


class Family(NamedTuple):
    """What the docs say of a family."""

    batches: str = "padded"
    layers: str = "products in bf16"
    bf16: str = "yes"
    remark: str = ""


WHOLE = Family("packed", "whole layers")
ENCODER = "its encoder alone is loaded"
FROZEN = "its encoder runs; the decoder is kept, frozen"
BY_LENGTH = Family("by length", remark="padding would change its result")
ONLY_FP32 = Family(layers="–", bf16="no: `auto` is fp32")
TABLE = {
    "BERT": WHOLE,
    "RoBERTa": WHOLE,
    "XLM-RoBERTa": WHOLE,
    "ELECTRA": WHOLE,
    "DistilBERT": Family("packed"),
    "ModernBERT": Family("packed"),
    "MPNet": Family(),
    "CamemBERT": Family(),
    "DeBERTa": ONLY_FP32,
    "DeBERTa-v2": Family(remark="DeBERTa-v3 too"),
    "ALBERT": Family(),
    "X-MOD": ONLY_FP32._replace(remark="in its default language"),
    "MobileBERT": Family(),
    "Nomic": Family(),
    "Longformer": Family(),
    "ConvBERT": BY_LENGTH,
    "FNet": BY_LENGTH,
    "Nyströmformer": BY_LENGTH,
    "XLNet": Family(remark="with its token types; no limit of positions"),
    "T5": Family(remark=ENCODER),
    "mT5": Family(remark=ENCODER),
    "BART": Family(remark=FROZEN),
    "Pegasus": Family(remark=FROZEN),
    "GPT-2": Family(layers="–", remark="an empty text is its end-of-text token"),
    "GPT-2, BERT's tokens": Family(layers="–", remark="with token types, as it was made"),
    "LLaMA": Family(),
    "Qwen2": Family(remark="an empty text is its end-of-text token"),
    "Qwen3": Family(),
    "Gemma": Family(),
}


def table() -> str:
    head = "| family | batches | layers on a CPU | bf16 | |\n|---|---|---|---|---|\n"
    rows = (f"| {name} | {' | '.join(row)} |" for name, row in TABLE.items())
    return head + "\n".join(row.replace("|  |", "| |") for row in rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")

    def built(family: str) -> Path:
        place = root / family.replace(" ", "-")
        return place if place.exists() else build(family, place)

    return built


def load(place, **kwargs) -> SentenceEncoder:
    kwargs = {"pooling": "mean", "precision": "fp32", "device": "cpu"} | kwargs
    return SentenceEncoder.from_pretrained(place, **kwargs)


def one_at_a_time(family: str, place: Path, pooling: str, texts: list[str]) -> np.ndarray:
    """What sentence-transformers makes of a plain folder; of BART and Pegasus, of their encoder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(place))
    if TABLE[family].remark == FROZEN:
        transformer.model = AutoModel.from_pretrained(place).get_encoder().eval()
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), ALONE[pooling])]
    model = SentenceTransformer(modules=modules, device="cpu")
    return np.stack([model.encode([text])[0] for text in texts])


def test_every_family_is_in_the_table_and_the_table_on_its_page():
    assert set(TABLE) == set(FAMILIES)
    found = re.search(r"<!-- families -->\n\n(.*?)\n\n<!-- end -->", PAGE.read_text(), re.S)
    assert found and found[1] == table(), f"docs/files-and-models.md is to have\n{table()}"


@pytest.mark.parametrize("family", TABLE)
def test_computes_what_its_own_code_computes(family, folder):
    place, row = folder(family), TABLE[family]
    texts = TEXTS if tokenizer_of(FAMILIES[family][1]).num_special_tokens_to_add() else TEXTS[::2]
    encoder = load(place)
    for pooling in ALONE:
        encoder.pooling = pooling
        expected = one_at_a_time(family, place, pooling, texts)
        np.testing.assert_allclose(
            encoder.encode(texts), expected, atol=3e-6 * max(1, np.abs(expected).max())
        )
    seen = getattr(encoder.backbone, "sees_padding", False)
    runs = "packed" if encoder.packed else "by length" if seen else "padded"
    assert runs == row.batches
    kinds = [type(module) for module in encoder.backbone.modules()]
    whole = any(issubclass(kind, Taught) and kind.__name__.endswith("Layer") for kind in kinds)
    products = FastLinear in kinds and row.bf16 == "yes"
    assert row.layers == ("whole layers" if whole else "products in bf16" if products else "–")


@pytest.mark.parametrize("family", TABLE)
def test_bf16_is_near_or_refused(family, folder, caplog):
    place = folder(family)
    exact = load(place).encode(TEXTS, normalize=True)
    if TABLE[family].bf16 == "yes":
        near = load(place, precision="bf16").encode(TEXTS, normalize=True)
        assert (near * exact).sum(1).min() > 0.995
        assert (near != exact).any()
        return
    with pytest.raises(InputError, match=r"does not run in bf16 .*; use fp32 or auto"):
        load(place, precision="bf16")


@pytest.mark.parametrize("family", TABLE)
def test_what_is_saved_is_the_same_here_and_there(family, folder, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder = load(folder(family), pooling="max")
    expected = encoder.encode(TEXTS)
    encoder.save_pretrained(tmp_path)
    scale = np.abs(expected).max()
    again = SentenceEncoder.from_pretrained(tmp_path, precision="fp32", device="cpu")
    np.testing.assert_allclose(again.encode(TEXTS), expected, atol=1e-6 * scale)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    texts = [text for text in TEXTS if text]
    alone = np.stack([theirs.encode([text])[0] for text in texts])
    np.testing.assert_allclose(alone, encoder.encode(texts), atol=3e-6 * max(1, scale))


@pytest.mark.parametrize("family", ["DeBERTa", "X-MOD"])
def test_auto_takes_fp32_where_bf16_fails_and_says_so(family, folder, caplog, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert load(folder(family), precision="auto").precision == "fp32"
    assert "does not run in bf16" in caplog.text
    assert load(folder("ALBERT"), precision="auto").precision == "bf16"


@pytest.mark.parametrize("pooling", [*ALONE, "cls_before_pooler", "first_last_mean", "top2_mean"])
@pytest.mark.parametrize("family", ["GPT-2", "Qwen2"])
def test_an_empty_text_of_a_decoder_has_a_vector_of_its_own(family, folder, pooling):
    encoder = load(folder(family), pooling=pooling)
    alone = encoder.encode("")
    ends = encoder.encode("[SEP]")  # these tokenizers' end of text
    np.testing.assert_allclose(alone, ends, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(["dog", "", "the cat"])[1], alone, atol=1e-5)
    assert np.isfinite(alone).all() and np.linalg.norm(alone) > 0


def test_an_empty_text_without_any_token_is_refused(folder, tmp_path):
    encoder = load(folder("GPT-2"))
    encoder.tokenizer.pad_token = encoder.tokenizer.eos_token = None
    with pytest.raises(InputError, match=r"text 1 is empty, and the tokenizer has no token"):
        encoder.encode(["dog", ""])


@pytest.mark.parametrize("family", ["ConvBERT", "FNet", "Nyströmformer"])
def test_padding_that_would_be_seen_is_said_and_left_out_in_training_too(family, folder, caplog):
    caplog.set_level("INFO")
    encoder = load(folder(family))
    assert "padding changes what" in caplog.text
    sequences = [[5, 6, 7], [8, 9, 10, 11, 12], [5, 6, 7]]
    together = encoder(PackedBatch.from_sequences(sequences))
    apart = [encoder(PackedBatch.from_sequences([each]))[0] for each in sequences]
    torch.testing.assert_close(together, torch.stack(apart), atol=1e-6, rtol=1e-5)
    padded, mask = PackedBatch.from_sequences(sequences).padded(1)
    with torch.no_grad():
        states = encoder.backbone(input_ids=padded, attention_mask=mask.long()).last_hidden_state
    assert (states[mask][:3].mean(0) - together[0]).abs().max() > 0.01, "padding is not seen"


@pytest.mark.parametrize("family", ["BART", "Pegasus"])
def test_a_decoder_is_frozen_and_shared_embeddings_learn(family, folder):
    encoder = load(folder(family))
    learns = {name for name, each in encoder.backbone.named_parameters() if each.requires_grad}
    assert learns and not any(name.startswith("decoder.") for name in learns)
    assert "shared.weight" in learns


def test_a_packed_family_takes_the_token_types_of_its_tokenizer(folder, tmp_path):
    """BERT with special tokens of type 1."""
    place, tokenizer = build("BERT", tmp_path), tokenizer_of("wordpiece")
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:1 $A:0 [SEP]:1", pair=None, special_tokens=special
    )
    tokenizer.save_pretrained(place)
    encoder = load(place)
    assert encoder.packed
    found = encoder.encode(TEXTS)
    np.testing.assert_allclose(found, one_at_a_time("BERT", place, "mean", TEXTS), atol=1e-5)
    encoder.backbone.token_types = None
    assert np.abs(encoder.encode(TEXTS) - found).max() > 0.01


def test_modernbert_drops_at_the_rate_it_was_given(folder):
    """At rate 0 it is made without the module that would drop."""
    encoder = load(folder("ModernBERT"))
    assert type(encoder.backbone.layers[0].attn.out_drop) is torch.nn.Identity
    encoder.set_dropout(0.3)
    dropping = [
        module
        for name, module in encoder.backbone.named_modules()
        if name.endswith(("drop", "out_drop"))
    ]
    assert len(dropping) == 7 and all(module.p == 0.3 for module in dropping)
    assert encoder.dropout_rates() == {0.3}


def test_an_integer_rate_is_a_rate(folder, tmp_path):
    config = config_of("BART")
    config.dropout = config.attention_dropout = config.activation_dropout = 0
    model = AutoModel.from_config(config)
    model.save_pretrained(tmp_path)
    tokenizer_of("bytes").save_pretrained(tmp_path)
    encoder = load(tmp_path)
    encoder.set_dropout(0.3)
    assert encoder.dropout_rates() == {0.3}


@pytest.mark.parametrize(
    ("dtype", "precision"),  # None: the encoder's own, bf16 as it was loaded
    [
        *((torch.bfloat16, "fp32"), (torch.bfloat16, "bf16")),
        *((torch.float16, "fp32"), (torch.float16, None)),
    ],
)
@pytest.mark.parametrize("kind", ["head", "chain"])
@pytest.mark.parametrize("family", ["BERT", "ModernBERT", "MPNet", "T5", "LLaMA"])
def test_a_model_that_is_cast_computes_with_its_head(folder, family, kind, precision, dtype):
    from sentence_transformers.base.modules import Dense

    encoder = load(folder(family))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        encoder.head = Head(32, 16) if kind == "head" else Chain([Dense(32, 16)], 32)
    exact = encoder.encode(TEXTS, normalize=True)
    encoder.precision = precision or "bf16"
    encoder.to(dtype)
    found = encoder.encode(TEXTS, normalize=True, precision=precision)
    assert found.dtype == np.float32
    assert (found * exact).sum(1).min() > 0.99


@pytest.mark.parametrize("seed", range(12))
def test_random_combinations_equal_sentence_transformers_alone(folder, tmp_path, seed):
    """Family × pooling × head × norm × precision × company, against its saved folder over there."""
    from sentence_transformers import SentenceTransformer

    draw = np.random.default_rng(seed)
    family = str(draw.choice([name for name in TABLE if TABLE[name].remark != FROZEN]))
    pooling = str(draw.choice(["cls", "mean", "max", "last_token", "first_last_mean", "top2_mean"]))
    encoder = load(folder(family), pooling=pooling)
    if draw.random() < 0.5:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder.head = Head(32, int(draw.integers(3, 40)))
    encoder.normalize = bool(draw.random() < 0.5)
    encoder.save_pretrained(tmp_path)
    texts = [" ".join(draw.choice(WORDS, int(draw.integers(1, 50)))) for _ in range(9)]
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    alone = np.stack([theirs.encode([text])[0] for text in texts])
    for _ in range(3):
        company = draw.permutation(len(texts))[: int(draw.integers(1, 9))]
        found = encoder.encode(
            [texts[row] for row in company], batch_tokens=int(draw.integers(9, 400))
        )
        scale = max(1.0, float(np.abs(alone).max()))
        np.testing.assert_allclose(found, alone[company], atol=1e-5 * scale)
    if TABLE[family].bf16 == "yes" and encoder.normalize:
        near = encoder.encode(texts, precision="bf16")
        assert (near * alone).sum(1).min() > 0.98


def test_layers_of_an_encoder_with_its_decoder_are_no_folder_s(folder, tmp_path):
    """Over there the decoder's states would be taken; Pegasus' encoder is read alone."""
    with pytest.raises(InputError, match=r"cannot pool several layers of a bart model's encoder"):
        load(folder("BART"), pooling="first_last_mean").save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new/modules.json").exists()
    load(folder("Pegasus"), pooling="first_last_mean").save_pretrained(tmp_path / "other")
