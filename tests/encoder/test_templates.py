"""Templates and pooling at the mask: ids by hand, vectors by Hugging Face and ST."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from simcse_kit.compute.packing import PackedBatch
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.encoder.templates import (
    Template,
    parse_template,
    template_of,
    with_template,
    without_template,
)
from simcse_kit.errors import InputError

TEMPLATE = 'This sentence of "{}" means [MASK].'
FAMILIES = ["bert", "roberta", "distilbert", "mpnet", "electra", "xlm-roberta", "modernbert"]
TEXTS = ["a man plays", "", "the lake is blue", "one two three four five six seven " * 9]


def load(folder: Path, **given: str) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        folder, precision="fp32", device="cpu", **{"pooling": "mask", **given}
    )


def ids_by_hand(tokenizer, text: str, max_length: int) -> list[int]:
    """The template's halves and the text tokenised apart; the text cut to what is left."""
    first, last = tokenizer("")["input_ids"]
    before, after = (
        tokenizer(half, add_special_tokens=False)["input_ids"]
        for half in TEMPLATE.replace("[MASK]", tokenizer.mask_token).split("{}")
    )
    own = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    own = own[: max_length - len(before) - len(after) - 2]
    return [first, *before, *own, *after, last]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_folder_pools_at_the_mask_everywhere(tiny_encoder, tmp_path, family):
    from sentence_transformers import SentenceTransformer

    plain = AutoModel.from_pretrained(tiny_encoder(family), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder(family))
    expected = []
    for text in TEXTS:
        ids = torch.tensor([ids_by_hand(tokenizer, text, 64)])
        with torch.no_grad():
            states = plain(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        expected.append(states[ids[0] == tokenizer.mask_token_id][0])
    encoder = load(tiny_encoder(family))
    encoder.use_template(TEMPLATE)
    ours = encoder.encode(TEXTS)
    np.testing.assert_allclose(ours, torch.stack(expected), atol=1e-5)

    encoder.save_pretrained(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    again = load(tmp_path, pooling=None)
    assert again.pooling == "mask" and template_of(again.tokenizer).has(tokenizer.mask_token_id)
    np.testing.assert_allclose(again.encode(TEXTS), ours, atol=1e-6)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    ids = loaded(TEXTS[2], return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(tmp_path).eval()(**ids).last_hidden_state[0]
    at_mask = states[ids["input_ids"][0] == loaded.mask_token_id][0]
    np.testing.assert_allclose(at_mask, ours[2], atol=1e-5)


@pytest.mark.parametrize("layout", ["current", "legacy"])
@pytest.mark.parametrize("pooling", ["mask", "cls", "mean"])
def test_a_template_goes_with_every_layout_head_and_pooling(
    tiny_encoder, tmp_path, pooling, layout
):
    from sentence_transformers import SentenceTransformer

    from simcse_kit.encoder import Head

    encoder = load(tiny_encoder("bert"), pooling=pooling)
    encoder.head, encoder.normalize = Head(32, 16), True
    encoder.use_template(TEMPLATE)
    encoder.use_prompts("topic: ")
    ours = encoder.encode(TEXTS)
    encoder.save_pretrained(tmp_path, layout=layout)
    theirs = SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    np.testing.assert_allclose(load(tmp_path, pooling=None).encode(TEXTS), ours, atol=1e-6)


def test_a_text_with_a_mask_of_its_own_is_pooled_as_sentence_transformers_does(
    tiny_encoder, tmp_path
):
    from sentence_transformers import SentenceTransformer

    encoder = load(tiny_encoder("bert"))
    encoder.use_template(TEMPLATE)
    encoder.save_pretrained(tmp_path)
    texts = ["a [MASK] plays [MASK]", "a man plays"]
    theirs = SentenceTransformer(str(tmp_path), device="cpu").encode(texts)
    np.testing.assert_allclose(theirs, encoder.encode(texts), atol=1e-5)


def test_a_mask_without_template_must_stand_in_the_text(tiny_encoder, tmp_path):
    encoder = load(tiny_encoder("bert"))
    with pytest.raises(InputError, match=r"text 1 has no mask token.*set a template"):
        encoder.encode(["a [MASK]", "a man"])
    encoder.save_pretrained(tmp_path)
    given = load(tmp_path, pooling=None).encode("a [MASK]")
    np.testing.assert_allclose(given, encoder.encode("a [MASK]"), atol=1e-6)


def test_the_mask_is_pooled_alike_laid_out(tiny_encoder):
    encoder = load(tiny_encoder("bert"))
    encoder.use_template(TEMPLATE)
    batch = PackedBatch.from_sequences(encoder.tokenizer(TEXTS[:3])["input_ids"])
    with torch.no_grad():
        got, expected = encoder(batch.laid_out(encoder.pad_id)), encoder(batch)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_a_template_goes_and_another_comes_in_its_place(tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    one = with_template(tokenizer, TEMPLATE)
    two = with_template(one, "a {}")
    assert two("man")["input_ids"] == tokenizer("a man")["input_ids"]
    assert with_template(two, "")("man") == tokenizer("man")
    assert without_template(two)("man") == without_template(tokenizer)("man")
    assert template_of(tokenizer) is None
    assert tokenizer("man")["input_ids"] != one("man")["input_ids"]  # the given one is left alone


def test_ids_are_put_into_the_template():
    template = Template((1,), (10, 11), (12,), (2,))
    ids, lengths = np.array([1, 5, 6, 2, 1, 2, 1, 7, 2]), np.array([4, 2, 3])
    made, longer = template.around(ids, lengths)
    assert made.tolist() == [1, 10, 11, 5, 6, 12, 2, 1, 10, 11, 12, 2, 1, 10, 11, 7, 12, 2]
    assert longer.tolist() == [7, 5, 6]
    assert template.text_lengths(longer).tolist() == [2, 0, 1]
    ids, lengths, shift = template.without_text(np.array([0, 3]))
    assert ids.tolist() == [1, 10, 11, 12, 2] * 2 and lengths.tolist() == [5, 5]
    assert shift.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 3, 3]


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_ids_in_training_are_those_of_the_tokenizer(tiny_encoder, family):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder(family))
    bare = tokenizer(TEXTS)["input_ids"]
    lengths = np.array([len(each) for each in bare])
    made, longer = parse_template(TEMPLATE, tokenizer).around(np.concatenate(bare), lengths)
    expected = with_template(tokenizer, TEMPLATE)(TEXTS)["input_ids"]
    ends = [0, *np.cumsum(longer)]
    assert [made[a:b].tolist() for a, b in pairwise(ends)] == expected


def test_what_no_template_is(tiny_encoder, tmp_path):
    encoder = load(tiny_encoder("bert"))
    with pytest.raises(InputError, match=r"must hold {} once"):
        encoder.use_template("means [MASK].")
    encoder.include_prompt = False
    with pytest.raises(InputError, match="leaves its prompts out of pooling"):
        encoder.use_template(TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    tokenizer.mask_token = None
    with pytest.raises(InputError, match="has no mask token; leave"):
        parse_template(TEMPLATE, tokenizer)
    with pytest.raises(InputError, match=r"kept in tokenizer\.json"):
        parse_template("{}", object())


def test_a_folder_that_weighs_other_tokens_is_refused(tiny_encoder, tmp_path):
    encoder = load(tiny_encoder("bert"))
    encoder.save_pretrained(tmp_path)
    (said,) = tmp_path.glob("*_WordWeights/config.json")
    config = json.loads(said.read_text()) | {"unknown_word_weight": 0.5}
    said.write_text(json.dumps(config))
    with pytest.raises(InputError, match="WordWeights on other tokens than the mask"):
        load(tmp_path, pooling=None)
    types = [each["type"] for each in json.loads((tmp_path / "modules.json").read_text())]
    assert [kind.rsplit(".")[-1] for kind in types] == ["Transformer", "WordWeights", "Pooling"]
