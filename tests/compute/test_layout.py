"""Batches that are laid out give what packed ones give, in few shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.optim import AdamW

from simcse_kit.compute import fast_layers
from simcse_kit.compute.attention import block_attention, grouped_attention
from simcse_kit.compute.layout import RowLayout, bucket_of
from simcse_kit.compute.packing import PackedBatch
from simcse_kit.encoder.pooling import POOLINGS
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.compiled_update import clip, compile_update
from simcse_kit.training.model.building import build_model
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.run import train
from simcse_kit.training.settings.config import TrainConfig

pytestmark = pytest.mark.usefixtures("fresh_compiler")

FAMILIES = ["bert", "roberta", "distilbert", "mpnet", "electra", "xlm-roberta", "modernbert"]


def batch(lengths: list[int], seed: int = 0) -> PackedBatch:
    ids = np.random.default_rng(seed).integers(5, 90, sum(lengths))
    return PackedBatch.from_flat(ids, np.array(lengths))


def load(folder, pooling: str = "mean") -> SentenceEncoder:
    encoder = SentenceEncoder.from_pretrained(
        folder, pooling=pooling, device="cpu", precision="fp32", dropout=0.0
    )
    return encoder


def learnt(encoder: SentenceEncoder, given: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Embeddings, and the gradient of a fixed function of them for every weight."""
    encoder.zero_grad()
    embeddings = encoder(given)
    (embeddings * torch.linspace(-1, 1, embeddings.numel()).view_as(embeddings)).sum().backward()
    found = {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
    return embeddings.detach(), found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_embeddings_and_gradients_equal_the_packed_ones(tiny_encoder, family, pooling):
    encoder = load(tiny_encoder(family), pooling)
    given = batch([7, 3, 7, 20, 5, 1, 3])
    expected, gradients = learnt(encoder, given)
    got, found = learnt(encoder, given.laid_out(encoder.pad_id))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling(tiny_encoder, pooling):
    encoder = load(tiny_encoder("bert"), pooling).eval()
    given = batch([7, 3, 7, 20, 5, 1, 3])
    with torch.no_grad():
        expected, got = encoder(given), encoder(given.laid_out(encoder.pad_id))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [None, 3])
def test_attention_equals_that_of_the_runs(window):
    given = batch([2, 2, 5, 9, 9, 17])
    layout = RowLayout.of(given.groups, pad_id=0)
    generator = torch.Generator().manual_seed(0)
    tokens = len(given.input_ids)
    states = torch.randn(3, layout.row, 2, 4, generator=generator, dtype=torch.float64)
    how = {"dropout": 0.0, "scaling": None, "window": window}
    got = block_attention(*states, layout, **how)
    expected = grouped_attention(*states[:, :tokens], given.groups, **how)
    torch.testing.assert_close(got[:tokens], expected, atol=1e-12, rtol=1e-12)


def test_dropout_falls_on_the_attention_weights_alone():
    """With values of ones, what comes out is the sum of the weights: 1 in the mean, not always."""
    given = batch([16] * 200)
    layout = RowLayout.of(given.groups, pad_id=0)
    states = torch.randn(2, layout.row, 2, 4)
    torch.manual_seed(0)
    ones = torch.ones(layout.row, 2, 4)
    how = {"dropout": 0.25, "scaling": None, "window": None}
    got = block_attention(*states, ones, layout, **how)[: 200 * 16]
    assert got.std() > 0.05
    assert abs(float(got.mean()) - 1) < 0.01


def test_places_of_a_layout():
    given = batch([3, 1, 3, 2])
    layout = RowLayout.of(given.groups, pad_id=0)
    rows = [row[seen].tolist() for row, seen in zip(layout.places, layout.inside, strict=True)]
    assert rows == [[0], [1, 2], [3, 4, 5], [6, 7, 8]]
    assert layout.bounds.tolist() == [0, 1, 3, 6, 9]
    assert layout.row == bucket_of(9) == 16
    assert layout.position_ids.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2] + [0] * 7
    states = torch.arange(16.0)
    assert torch.equal(layout.unblock(layout.block(states))[:9], states[:9])
    laid = given.laid_out(pad_id=7)
    assert laid.input_ids[9:].tolist() == [7] * 7
    assert [part.tolist() for part in laid.by_length(laid.input_ids)] == [
        part.tolist() for part in given.by_length(given.input_ids)
    ]


def test_buckets_are_few_and_hold_little_fill():
    sizes = {bucket_of(tokens) for tokens in range(1025, 4097)}
    assert len(sizes) == 16
    assert all(0 <= bucket_of(n) - n < max(8, n / 8) for n in range(1, 5000))
    assert bucket_of(1) == 8


def test_chunks_of_a_laid_out_batch_are_laid_out(tiny_encoder):
    encoder = load(tiny_encoder("bert"))
    laid = batch([7, 3, 7, 20, 5, 1, 3, 4]).laid_out(encoder.pad_id)
    parts = laid.split([5, 3])
    with torch.no_grad():
        whole, joined = encoder(laid), torch.cat([encoder(part) for part in parts])[laid.order]
    assert all(part.layout is not None for part in parts)
    torch.testing.assert_close(joined, whole, atol=1e-5, rtol=1e-5)


def model(folder) -> ContrastiveModel:
    torch.manual_seed(0)
    return build_model(load(folder), TrainConfig(dropout=0.1, head="none")).train()


def assert_learn_alike(
    model: ContrastiveModel,
    other: ContrastiveModel,
    given: PackedBatch,
    text_ids: torch.Tensor | None = None,
    **apart: float,
) -> None:
    """The same loss, figures and gradients from this batch."""
    outputs = []
    for each in (model, other):
        each.zero_grad()
        outputs.append(each(given, text_ids))
        outputs[-1]["loss"].backward()
    for key in ("loss", "figures"):
        torch.testing.assert_close(outputs[0][key], outputs[1][key], **apart)
    found = dict(model.named_parameters())
    for name, parameter in other.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name].grad, parameter.grad, **apart)


@pytest.mark.parametrize("views", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_compiled_it_learns_the_same_from_one_graph_for_all_lengths(
    tiny_encoder, monkeypatch, views
):
    """Batches of the same size of row and few runs of lengths in common: one compilation."""
    monkeypatch.setattr(fast_layers, "kernels", lambda: None)  # a CPU's, which no GPU has
    plain, compiled = model(tiny_encoder("bert")), model(tiny_encoder("bert"))
    counter = CompileCounterWithBackend("aot_eager")
    compiled.compile_step(backend=counter)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    # with hard negatives; a text that two rows share is no negative
    text_ids = None if views == 2 else torch.tensor([[0, 1, 2, 3], [4, 1, 5, 6]])
    for lengths in (
        [7, 3, 7, 20, 5, 1, 3, 4],
        [18, 8, 9, 3, 6, 2, 2, 2],
        [17, 3, 5, 6, 6, 4, 4, 4],
    ):
        given = batch(lengths).laid_out(plain.encoder.pad_id)
        assert_learn_alike(compiled, plain, given, text_ids, atol=1e-5, rtol=1e-4)
    assert counter.frame_count == 1  # no break between the tokens and the loss
    compiled(batch([30] * 8).laid_out(plain.encoder.pad_id), text_ids)  # another size of row
    assert counter.frame_count == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"torch_compile": True}, "torch_compile is for a GPU"),
        ({"torch_compile_mode": "fastest"}, "torch_compile_mode"),
        ({"torch_compile_backend": "inductr"}, "torch_compile_backend.*inductor"),
        ({"torch_compile_mode": "max-autotune"}, "torch_compile is not true"),
        ({"torch_compile": True, "mini_batch_size": 2}, "mini_batch_size exclude each other"),
        (
            {"torch_compile": True, "gradient_accumulation_steps": 2},
            "gradient_accumulation_steps exclude each other",
        ),
    ],
)
def test_what_cannot_be_compiled_is_refused(tiny_encoder, tmp_path, settings, said):
    from simcse_kit.training.settings.config import build_config

    rows = tmp_path / "rows.txt"
    rows.write_text(
        "".join(f"the man plays a {word}\n" for word in ["guitar", "piano", "song", "game"])
    )
    overrides = [f"{key}={str(value).lower()}" for key, value in settings.items()]
    with pytest.raises(InputError, match=said):
        config = build_config(
            overrides=["per_device_train_batch_size=2", "pooling=cls", *overrides]
        )
        train(tiny_encoder("bert"), rows, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
TEXTS = [
    "the man plays a guitar",
    "dog",
    "a woman reads the old book in the garden",
    "she runs",
] * 9


@on_gpu
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-4), ("bf16", 2e-2)])
def test_on_a_gpu_embeddings_are_the_cpus(tiny_encoder, family, precision, apart):
    """bf16 goes through the variable-length kernel, fp32 through the block."""
    folder = tiny_encoder(family)
    expected = load(folder).encode(TEXTS, normalize=True)
    there = SentenceEncoder.from_pretrained(
        folder, pooling="mean", device="cuda", precision=precision
    )
    np.testing.assert_allclose(there.encode(TEXTS, normalize=True), expected, atol=apart)


@on_gpu
def test_on_a_gpu_captured_graphs_learn_what_single_kernels_do(tiny_encoder):
    plain, captured = (model(tiny_encoder("bert")).cuda() for _ in range(2))
    captured.compile_step(mode="reduce-overhead")
    for seed in range(5):  # the first ones warm up and capture, the last ones replay
        laid = batch([7, 3, 7, 20, 5, 1, 3, 4], seed).laid_out(plain.encoder.pad_id).to("cuda")
        assert_learn_alike(captured, plain, laid, atol=1e-4, rtol=1e-3)


@on_gpu
def test_on_a_gpu_captured_steps_train_what_single_kernels_do(tiny_encoder):
    """Forward, backward, clipping and update, of two sizes of row in turns."""
    models = [model(tiny_encoder("bert")).cuda() for _ in range(2)]
    mode = {"mode": "reduce-overhead"}
    models[1].compile_step(**mode)
    optimizers = [AdamW(each.parameters(), lr=1e-3, eps=1e-3, fused=True) for each in models]
    compile_update(optimizers[1], **mode)
    clippers = [clip, torch.compile(clip, **mode)]
    for step in range(8):
        lengths = [7, 3, 7, 20, 5, 1, 3, 4] if step % 2 else [30, 3, 7, 28, 5, 1, 3, 4]
        laid = batch(lengths, step).laid_out(models[0].encoder.pad_id).to("cuda")
        norms = []
        for each, optimizer, clipper in zip(models, optimizers, clippers, strict=True):
            each(laid)["loss"].backward()
            norms.append(
                float(clipper([p.grad for p in each.parameters() if p.grad is not None], 0.1))
            )
            optimizer.step()
            optimizer.zero_grad()
        assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    for expected, got in zip(*(each.parameters() for each in models), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-3)


def test_predicted_tokens_stay_out_of_the_graph(tiny_encoder, monkeypatch):
    """Their number changes with every batch: the encoder alone is compiled, and that once."""
    monkeypatch.setattr(fast_layers, "kernels", lambda: None)
    torch.manual_seed(0)
    config = TrainConfig(dropout=0.1, head="none", mlm_weight=0.1)
    trained = build_model(load(tiny_encoder("bert")), config).train()
    counter = CompileCounterWithBackend("aot_eager")
    trained.compile_step(backend=counter)
    for seed in range(4):
        given = batch([7, 3, 7, 20, 5, 1, 3, 4], seed).laid_out(trained.encoder.pad_id)
        trained(given)["loss"].backward()
    assert counter.frame_count == 1
