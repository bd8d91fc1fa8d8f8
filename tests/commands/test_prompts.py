"""Prompts and other words of a model's folder, wherever a command names a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from invoking import run, succeed
from simcse_kit.commands.models import split_model
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.evaluation.embedding import model_settings

TEXTS = ["a man plays the guitar", "the dog eats", "the red car", "a happy child sings"]


@pytest.fixture(scope="module")
def room(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with prompts, one whose default it is, texts, scored pairs and a retrieval task."""
    room = tmp_path_factory.mktemp("prompts")
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")
    encoder.prompts = {"query": "the question ", "document": "a book ", "long": "the old king "}
    encoder.save_pretrained(room / "named")
    encoder.default_prompt = "long"
    encoder.save_pretrained(room / "default")
    (room / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    pairs = zip(TEXTS, TEXTS[::-1], range(4), strict=True)
    lines = ["sentence1\tsentence2\tscore", *(f"{a}\t{b}\t{s}" for a, b, s in pairs)]
    (room / "pairs.tsv").write_text("\n".join(lines) + "\n")
    answers = ["query\tdocument", *(f"{a}\t{b} story" for a, b in zip(TEXTS, TEXTS, strict=True))]
    (room / "answers.tsv").write_text("\n".join(answers) + "\n")
    return room


def embedded(room: Path, *arguments: object) -> np.ndarray:
    succeed("embed", *arguments, room / "texts.txt", "--output", room / "out.npy")
    return np.load(room / "out.npy")


def test_a_prompt_stands_before_every_text(room: Path) -> None:
    encoder = SentenceEncoder.from_pretrained(room / "named", device="cpu")
    with_default = encoder.encode([f"the old king {text}" for text in TEXTS])
    np.testing.assert_allclose(embedded(room, room / "default"), with_default, atol=1e-6)
    none = embedded(room, room / "default", "--prompt", "")
    np.testing.assert_allclose(none, encoder.encode(TEXTS), atol=1e-6)
    by_text = embedded(room, room / "named", "--prompt", "one, two: ")
    expected = encoder.encode([f"one, two: {text}" for text in TEXTS])
    np.testing.assert_allclose(by_text, expected, atol=1e-6)
    behind = embedded(room, f"{room / 'named'}@pooling=mean,prompt=one, two: ")
    np.testing.assert_allclose(behind, expected, atol=1e-6)
    by_name = embedded(room, room / "named", "--prompt-name", "long")
    np.testing.assert_allclose(by_name, with_default, atol=1e-6)
    own = embedded(room, f"{room / 'named'}@prompt_name=long", "--prompt", "another ")
    np.testing.assert_allclose(own, with_default, atol=1e-6)


def test_a_template_stands_around_every_text(
    room: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    bert, template = tiny_encoder("bert"), 'so "{}", that is [MASK].'
    encoder = SentenceEncoder.from_pretrained(bert, pooling="mask", device="cpu")
    encoder.use_template(template)
    expected = encoder.encode(TEXTS)
    found = embedded(room, bert, "--pooling", "mask", "--template", template)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    behind = embedded(room, f"{bert}@pooling=mask,template={template}")
    np.testing.assert_allclose(behind, expected, atol=1e-6)
    encoder.save_pretrained(room / "framed")
    assert model_settings(encoder)["template"] == template
    bare = embedded(room, room / "framed", "--pooling", "mean", "--template", "")
    plain = SentenceEncoder.from_pretrained(bert, pooling="mean", device="cpu")
    np.testing.assert_allclose(bare, plain.encode(TEXTS), atol=1e-6)
    for wrong, said in (
        (["--pooling", "mask"], "(--template; training: --set template=…;"),
        (["--pooling", "mask", "--template", "no place"], "must hold {} once"),
    ):
        result = run("embed", bert, *wrong, room / "texts.txt", "--output", room / "no.npy")
        assert result.exit_code == 2 and said in " ".join(result.stderr.split())
        assert not (room / "no.npy").exists()


def test_similarity_and_evaluate_use_it_and_say_it(room: Path) -> None:
    cosine = succeed("similarity", room / "named", *TEXTS[:2], "--prompt-name", "long")
    assert cosine == succeed("similarity", room / "default", *TEXTS[:2])
    assert cosine != succeed("similarity", room / "named", *TEXTS[:2])
    scored = ["--tasks", room / "pairs.tsv", "--json", "-", "--no-intervals"]
    with_it = json.loads(succeed("evaluate", room / "named", "--prompt-name", "long", *scored))
    without = json.loads(succeed("evaluate", room / "named", *scored))
    assert with_it["protocol"]["prompt"] == "the old king "
    assert "prompt" not in without["protocol"]
    assert with_it["geometry"] != without["geometry"]


def test_retrieval_puts_prompts_before_each_side(room: Path) -> None:
    command = ["task", "retrieval", room / "default", "--pairs", room / "answers.tsv"]
    shown = json.loads(succeed(*command, "--json", "-"))["protocol"]
    assert shown["query_prompt_text"] == "the question "
    assert shown["document_prompt_text"] == "a book "
    shown = json.loads(succeed(*command, "--prompt", "x ", "--document-prompt", "", "--json", "-"))
    assert shown["protocol"]["query_prompt_text"] == "x "
    assert shown["protocol"]["document_prompt_text"] is None
    said = succeed(*command, "--prompt-name", "long", "--document-prompt-name", "query")
    assert "'the old king ' before queries, 'the question ' before documents" in " ".join(
        said.split()
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--prompt", "a", "--prompt-name", "query"], "--prompt and --prompt-name both say"),
        (["--prompt-name", "other"], "no prompt named 'other'; the model's prompts: query, doc"),
    ],
)
def test_mistakes_are_one_sentence(room: Path, options: list[str], says: str) -> None:
    result = run("similarity", room / "named", *TEXTS[:2], *options)
    assert result.exit_code == 2 and says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_prompt_behind_the_name_is_all_that_follows() -> None:
    assert split_model("me/run@head=none,prompt= a@b, c=d ") == (
        "me/run",
        {"head": "none", "prompt": " a@b, c=d "},
    )
    assert split_model("run@trust-remote-code=true")[1] == {"trust_remote_code": "true"}
