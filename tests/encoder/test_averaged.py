"""The mean of encoders' weights: against a loop over tensors, and what has no mean."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from families import build
from simcse_kit.encoder import Head, SentenceEncoder, add_lora, averaged
from simcse_kit.errors import InputError

TEXTS = ["a man plays", "the dog", "two women run in a park"]


@pytest.fixture
def encoder(tiny_encoder: Callable[[str], Path]) -> SentenceEncoder:
    made = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", precision="fp32")
    torch.manual_seed(0)
    made.head = Head(32, 20)
    return made


def trained(encoder: SentenceEncoder, seed: int) -> SentenceEncoder:
    """A copy some way off, as a run with that seed would be."""
    other = copy.deepcopy(encoder)
    other.name = f"run {seed}"
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return other


def test_every_weight_is_the_mean_and_the_folder_loads_elsewhere(
    encoder: SentenceEncoder, tmp_path: Path
) -> None:
    runs = [trained(encoder, seed) for seed in (1, 2, 3)]
    before = runs[0].encode(TEXTS)
    made = averaged(runs)
    for name, weight in made.named_parameters():
        each = [dict(run.named_parameters())[name].double() for run in runs]
        expected = (each[0] + each[1] + each[2]) / 3
        torch.testing.assert_close(weight, expected.float(), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(runs[0].encode(TEXTS), before)  # left as it was
    assert not np.allclose(made.encode(TEXTS), before, atol=1e-3)
    assert not made.training
    made.save_pretrained(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(theirs.encode(TEXTS), made.encode(TEXTS), atol=1e-5)


def test_the_mean_of_copies_is_the_encoder(encoder: SentenceEncoder) -> None:
    made = averaged([encoder, copy.deepcopy(encoder)])
    np.testing.assert_array_equal(made.encode(TEXTS), encoder.encode(TEXTS))


def test_what_is_computed_in_bf16_is_averaged_in_full(encoder: SentenceEncoder) -> None:
    runs = [trained(encoder, seed).to(torch.bfloat16) for seed in (1, 2)]
    made = averaged(runs)
    name, weight = next(iter(made.named_parameters()))
    both = [dict(run.named_parameters())[name].double() for run in runs]
    assert weight.dtype == torch.bfloat16
    torch.testing.assert_close(weight, ((both[0] + both[1]) / 2).bfloat16())


def test_adapters_are_averaged_by_what_they_add(tiny_encoder: Callable[[str], Path]) -> None:
    pytest.importorskip("peft")
    runs = []
    for seed in (1, 2):
        run = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
        torch.manual_seed(seed)
        add_lora(run.backbone, {"r": 2, "target_modules": ["query"]})
        with torch.no_grad():
            for name, weight in run.backbone.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.1)
        runs.append(run)
    made = averaged(runs)
    query = "encoder.layer.0.attention.self.query"
    added = [run.backbone.get_submodule(query).get_delta_weight("default") for run in runs]
    base = runs[0].backbone.get_submodule(f"{query}.base_layer").weight
    expected = base + (added[0] + added[1]) / 2
    torch.testing.assert_close(made.backbone.get_submodule(query).weight, expected)


def test_adapters_on_another_tokenizer_have_no_mean(tiny_encoder: Callable[[str], Path]) -> None:
    pytest.importorskip("peft")
    runs = []
    for _ in range(2):
        run = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
        add_lora(run.backbone, {"r": 2, "target_modules": ["query"]})
        runs.append(run)
    runs[1].tokenizer.add_tokens(["newword"])
    with pytest.raises(InputError, match="another network or tokenizer"):
        averaged(runs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda other: setattr(other, "pooling", "cls"), "run 1 has pooling 'cls'.*'mean'"),
        (lambda other: setattr(other, "max_length", 8), "has max_length 8"),
        (lambda other: setattr(other, "prompts", {"query": "q: "}), "has prompts"),
        (lambda other: setattr(other, "head", None), "have other heads.*head='none'"),
        (lambda other: setattr(other, "head", Head(32, 8)), "have other heads"),
        (lambda other: other.backbone.encoder.layer.pop(-1), "another network or tokenizer"),
        (lambda other: other.tokenizer.add_tokens(["newword"]), "another network or tokenizer"),
    ],
)
def test_encoders_that_are_not_alike_have_no_mean(
    encoder: SentenceEncoder, change: Callable[[SentenceEncoder], object], said: str
) -> None:
    other = trained(encoder, 1)
    change(other)
    with pytest.raises(InputError, match=said):
        averaged([encoder, other])


def test_one_encoder_and_encoders_of_two_starts_have_no_mean(encoder: SentenceEncoder) -> None:
    with pytest.raises(InputError, match="give at least two"):
        averaged([encoder])
    stranger = trained(encoder, 1)
    with torch.no_grad():
        for weight in stranger.parameters():
            weight.copy_(torch.randn_like(weight))
    with pytest.raises(
        InputError, match=r"cosine of -?0\.\d\d: they were not trained from one start"
    ):
        averaged([encoder, stranger])
    with torch.no_grad():
        next(iter(stranger.parameters()))[0, 0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        averaged([encoder, stranger])


def test_one_layer_of_another_start_is_enough(encoder: SentenceEncoder) -> None:
    other = trained(encoder, 1)
    with torch.no_grad():
        other.backbone.encoder.layer[1].output.dense.weight.normal_()
    with pytest.raises(InputError, match=r"layer\.1\.output\.dense\.weight of run 1"):
        averaged([encoder, other])


def test_weights_with_two_names_are_averaged_once(tmp_path: Path) -> None:
    folder = build("BART", tmp_path / "bart")
    start = SentenceEncoder.from_pretrained(folder, pooling="mean", precision="fp32")
    runs = [trained(start, seed) for seed in (1, 2)]
    state = start.state_dict()
    table = next(name for name in state if name.endswith("embed_tokens.weight"))
    names = [name for name in state if state[name].data_ptr() == state[table].data_ptr()]
    assert len(names) > 1
    made = averaged(runs)
    for name in names:
        both = [run.state_dict()[name].double() for run in runs]
        torch.testing.assert_close(made.state_dict()[name], ((both[0] + both[1]) / 2).float())
