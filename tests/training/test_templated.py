"""Templates in training: losses and gradients by Hugging Face forwards, runs, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from methods import assert_alike, some_steps
from resumed_runs import check_resumed
from simcse_kit.encoder import SentenceEncoder, template_of
from simcse_kit.errors import InputError
from simcse_kit.parts import Context
from simcse_kit.training import TrainConfig, train
from simcse_kit.training.in_step import embed_rows
from simcse_kit.training.loading import load_to_train
from simcse_kit.training.model.building import build_model
from simcse_kit.training.rows.batches import Vectors, build_collator
from simcse_kit.training.settings.config import build_config
from training_rows import config, dev_task, pair_rows, sentences, text_rows

ONE, TWO = 'This of "{}" is [MASK].', 'This : "{}" so [MASK] it is.'
PROMPT: dict[str, Any] = {
    "pooling": "mask",
    "template": ONE,
    "positive_template": TWO,
    "template_debias": True,
}


def at_mask(model, tokenizer, template: str, text: str, first: int | None, debias: bool):
    """One text's vector by Hugging Face; `first`: the first token's position, None: relative."""
    opening, closing = tokenizer("")["input_ids"]
    before, after = (
        tokenizer(half, add_special_tokens=False)["input_ids"]
        for half in template.replace("[MASK]", tokenizer.mask_token).split("{}")
    )
    own = tokenizer(text, add_special_tokens=False)["input_ids"]
    head, tail = [opening, *before], [*after, closing]
    mask = len(head) + len(own) + tail.index(tokenizer.mask_token_id)
    whole = model(input_ids=torch.tensor([[*head, *own, *tail]])).last_hidden_state[0, mask]
    if not debias:
        return whole
    if first is None:  # no attention to the text, which leaves positions as they are
        seen = torch.tensor([[*[1] * len(head), *[0] * len(own), *[1] * len(tail)]])
        ids = torch.tensor([[*head, *own, *tail]])
        return whole - model(input_ids=ids, attention_mask=seen).last_hidden_state[0, mask]
    places = [*range(len(head)), *range(len(head) + len(own), mask + len(tail))][
        : len(head) + len(tail)
    ]
    empty = model(
        input_ids=torch.tensor([[*head, *tail]]),
        position_ids=torch.tensor([places]) + first,
    )
    return whole - empty.last_hidden_state[0, mask - len(own)]


@pytest.mark.parametrize(
    ("family", "first", "debias", "passes"),
    [
        ("bert", 0, True, 1),
        ("bert", 0, True, 2),
        ("bert", 0, False, 1),
        ("roberta", 2, True, 1),
        ("mpnet", None, True, 1),
    ],
)
def test_loss_and_gradients_equal_those_by_hand(
    tiny_encoder, tmp_path, family, first, debias, passes
):
    own = PROMPT | {"template_debias": debias, "head": "none", "dropout": 0.0}
    settings = config(tmp_path, **own)
    encoder = load_to_train(str(tiny_encoder(family)), settings)
    rows = text_rows(6)
    model = build_model(encoder, settings)
    if passes == 2:  # as with another dropout for positives
        model.positive_dropout = 0.0
    model.train()
    collator = build_collator(model, rows, settings, Context(rows=6), Vectors())
    found = model(**collator(list(range(6))))
    found["loss"].backward()

    plain = AutoModel.from_pretrained(tiny_encoder(family), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder(family))
    cut = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in sentences(6)}
    assert max(map(len, cut.values())) <= 30 and len({len(ids) for ids in cut.values()}) > 1
    z1, z2 = (
        torch.stack(
            [at_mask(plain, tokenizer, template, text, first, debias) for text in sentences(6)]
        )
        for template in (ONE, TWO)
    )
    logits = F.normalize(z1.double(), dim=-1) @ F.normalize(z2.double(), dim=-1).T / 0.05
    loss = F.cross_entropy(logits, torch.arange(6))
    loss.backward()
    torch.testing.assert_close(found["loss"].double(), loss, atol=1e-4, rtol=1e-4)
    theirs = dict(plain.named_parameters())
    for name, parameter in model.encoder.backbone.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=2e-3, rtol=2e-3)


def test_hard_negatives_have_the_positives_template(tiny_encoder, tmp_path):
    settings = config(tmp_path, **PROMPT, head="none", dropout=0.0)
    encoder = load_to_train(str(tiny_encoder("bert")), settings)
    rows, model = pair_rows(4, negatives=True), build_model(encoder, settings)
    collator = build_collator(model, rows, settings, Context(rows=4), Vectors())
    made = collator([2, 0])
    ((empty, numbers),) = made["emptied"]
    assert numbers.shape == (2, 3) and len(empty) <= 6
    plain = AutoModel.from_pretrained(tiny_encoder("bert"), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    with torch.no_grad():
        got = encoder.eval()(made["batch"]).view(2, 3, -1) - encoder(empty)[numbers]
        for place, row in enumerate([2, 0]):
            for column, texts in enumerate(rows.columns.values()):
                template = TWO if column else ONE
                expected = at_mask(plain, tokenizer, template, texts[row], 0, debias=True)
                torch.testing.assert_close(got[place, column], expected, atol=1e-5, rtol=1e-4)


def test_cut_offs_are_of_the_text_and_leave_the_template_whole(tiny_encoder, tmp_path):
    """Each side loses what it loses without a template; the two templates differ in length."""

    def lost(**own):
        views = {"anchor_view": cut, "positive_view": {"name": "compose", "views": ["crop", cut]}}
        settings = config(tmp_path, head="none", **views, **own)
        model = build_model(load_to_train(str(tiny_encoder("bert")), settings), settings)
        made = build_collator(model, text_rows(6), settings, Context(rows=6), Vectors())
        batch = made(list(range(6)))["batch"]
        lengths = np.repeat(*np.array(batch.groups, dtype=np.int64).T[::-1])
        tokens, kept = (
            np.split(values.numpy().reshape(-1), np.cumsum(lengths)[:-1])
            for values in (batch.input_ids, batch.kept.tokens)
        )
        found = [tokens[n][~kept[n]].tolist() for n in batch.order.tolist()]
        return found, made.templates

    cut = {"name": "token_cutoff", "rate": 0.5}
    plain, _ = lost()
    framed, templates = lost(**PROMPT)
    assert framed == plain and all(framed)
    assert templates.anchor.added != templates.others.added


def test_features_are_cut_off_in_every_token_of_prompt_template_and_text(tiny_encoder, tmp_path):
    """They are columns of the whole matrix, as ConSERT's: what the encoder is given has them 0."""
    cut = {"name": "feature_cutoff", "rate": 0.25}
    own = {"pooling": "mask", "template": ONE, "prompt": "one happy story : ", "head": "none"}
    settings = config(tmp_path, anchor_view=cut, **own)
    encoder = load_to_train(str(tiny_encoder("bert")), settings)
    model = build_model(encoder, settings)
    made = build_collator(model, text_rows(6), settings, Context(rows=6), Vectors())
    batch, given = made(list(range(6)))["batch"], []
    encoder.backbone.embeddings.register_forward_hook(lambda _, __, out: given.append(out[0]))
    with torch.no_grad():
        encoder.eval()(batch)
    lengths = np.repeat(*np.array(batch.groups, dtype=np.int64).T[::-1])
    assert lengths.min() > 10  # [CLS], prompt, template, text, [SEP]
    parts = torch.split(given[0][: lengths.sum()], lengths.tolist())
    zeros = [(part == 0).numpy() for part in (parts[n] for n in batch.order.tolist())]
    for anchor, positive in zip(zeros[::2], zeros[1::2], strict=True):
        assert anchor[0].sum() == 32 // 4 and (anchor == anchor[0]).all()
        assert not positive.any()
    assert len({tuple(anchor[0]) for anchor in zeros[::2]}) > 1


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_chunks_give_the_gradient_of_the_whole_batch(tiny_encoder, tmp_path, family):
    encoder = str(tiny_encoder(family))
    settings = config(tmp_path, **PROMPT, dropout=0.0, positive_view="deletion")
    whole = some_steps(encoder, settings, "text", steps=2)
    parts = some_steps(encoder, settings.model_copy(update={"mini_batch_size": 3}), "text", steps=2)
    assert_alike(parts, whole, 5e-4)


def test_a_run_is_resumed_and_its_folder_pools_at_the_mask_everywhere(
    tiny_encoder, tmp_path, monkeypatch
):
    from sentence_transformers import SentenceTransformer

    settings = config(tmp_path, **PROMPT, max_steps=4, bf16=True, mini_batch_size=4)
    start = tiny_encoder("bert")
    whole = check_resumed(
        start, text_rows(24), settings, tmp_path, monkeypatch, at=3, dev=dev_task()
    )
    texts = sentences(5)
    ours = SentenceEncoder.from_pretrained(
        tmp_path / "whole", device="cpu", precision="fp32"
    ).encode(texts)
    theirs = SentenceTransformer(str(tmp_path / "whole"), device="cpu").encode(texts)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    assert template_of(whole.encoder.tokenizer).told(whole.encoder.tokenizer).count("{}") == 1
    assert "Template" in (tmp_path / "whole" / "README.md").read_text()


def test_clusters_are_of_texts_in_their_template(tiny_encoder, tmp_path):
    settings = config(tmp_path, pooling="mask", template=ONE, head="none")
    encoder = load_to_train(str(tiny_encoder("bert")), settings)
    model = build_model(encoder, settings)
    collator = build_collator(model, text_rows(6), settings, Context(rows=6), Vectors())
    found = embed_rows(model, collator, np.array([4, 1]))
    np.testing.assert_allclose(
        found, encoder.encode([sentences(6)[n] for n in (4, 1)], normalize=False), atol=1e-5
    )


def test_a_model_with_a_template_is_trained_in_it(tiny_encoder, tmp_path):
    first = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mask", device="cpu")
    first.use_template(ONE)
    first.save_pretrained(tmp_path / "model")
    settings = config(tmp_path, pooling=None, max_steps=1)
    trained = train(tmp_path / "model", text_rows(8), settings, tmp_path / "run").encoder
    assert template_of(trained.tokenizer) == template_of(first.tokenizer)
    settings = config(tmp_path, pooling="cls", template="", max_steps=1)
    trained = train(tmp_path / "model", text_rows(8), settings, tmp_path / "bare").encoder
    assert template_of(trained.tokenizer) is None and trained.pooling == "cls"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"template": "means [MASK]"}, r"template must hold \{\} once"),
        ({"positive_template": "{} {}"}, r"positive_template must hold \{\} once"),
        ({"template": "so: {}"}, "takes the vector at .MASK., and template 'so: {}' has none"),
        ({"mlm_weight": 0.1}, "would have the template's own words"),
        ({"anchor_view": "span_mask"}, "span_mask puts mask tokens into texts"),
        (
            {"positive_view": {"name": "compose", "views": ["crop", "span_mask"]}},
            "compose puts mask tokens into texts",
        ),
        ({"keys": "momentum"}, "template_debias and keys exclude each other"),
        ({"torch_compile": True}, "template_debias and torch_compile exclude each other"),
        (
            {"auxiliaries": [{"name": "prototypes", "clusters": [2]}]},
            "template_debias and objective prototypes exclude each other",
        ),
    ],
)
def test_settings_that_do_not_go_with_templates(settings, said):
    with pytest.raises(ValueError, match=said):
        TrainConfig(**(PROMPT | settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"template": None, "positive_template": None}, "template, and there is none; set"),
        ({"max_length": 60}, r"max_length 60 and the \d+ tokens of a template are over the 64"),
        (
            {"template": None, "positive_template": None, "template_debias": False},
            "text 0 has no mask token",
        ),
    ],
)
def test_what_an_encoder_cannot_be_trained_with(tiny_encoder, tmp_path, settings, said):
    given = config(tmp_path, **(PROMPT | settings))
    with pytest.raises(InputError, match=said):
        train(tiny_encoder("bert"), text_rows(8), given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_recipe_is_promptberts():
    made = build_config("prompt")
    assert (made.pooling, made.template_debias, made.max_length) == ("mask", True, 34)
    assert made.template == 'This sentence of "{}" means [MASK].'
    assert made.positive_template == 'This sentence : "{}" means [MASK].'
