"""GradCache: chunks give the gradient, the figures and the random stream of the whole batch."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from simcse_kit.compute import memory
from simcse_kit.compute.packing import PackedBatch
from simcse_kit.data.rows import Rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.objectives.info_nce import InfoNCE, info_nce
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.training.model import collapse, grad_cache
from simcse_kit.training.model.building import build_model
from simcse_kit.training.model.collapse import batch_geometry
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.model.grad_cache import chunk_sizes, encode_in_chunks
from simcse_kit.training.run import train
from simcse_kit.training.settings.config import TrainConfig, build_config

objective_module = import_module("simcse_kit.objectives.info_nce")  # the room hands on its function


def build(folder, dropout: float, objective: nn.Module | None = None, **own) -> ContrastiveModel:
    encoder = SentenceEncoder.from_pretrained(
        folder, pooling="mean", device="cpu", precision="fp32", dropout=dropout
    )
    torch.manual_seed(0)
    model = build_model(encoder, TrainConfig(**own))
    if objective is not None:
        model.goals[0].objective = model.objective = objective
    return model.train()


def sequences(rows: int, views: int, seed: int = 0) -> PackedBatch:
    """Token ids of very unequal lengths; the views of a row have lengths of their own."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 24, rows * views)
    return PackedBatch.from_flat(generator.integers(5, 90, lengths.sum()), lengths)


class LearntTemperature(Objective):
    """An objective with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, batch: Embedded) -> Tensor:
        anchors, positives = batch.anchors, batch.positives
        negatives, false_negatives = batch.negatives, batch.false_negatives
        cosines = nn.functional.normalize(anchors) @ nn.functional.normalize(positives).T
        if negatives is not None:
            cosines = cosines - nn.functional.cosine_similarity(anchors, negatives[:, 0])[:, None]
        if false_negatives is not None:
            own = torch.eye(len(anchors), dtype=torch.bool)
            cosines = cosines.masked_fill(false_negatives[:, : len(anchors)] & ~own, -2.0)
        targets = torch.arange(len(anchors))
        return nn.functional.cross_entropy(cosines * self.log_scale.exp(), targets)


def gradients(model: ContrastiveModel) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor], rtol: float = 1e-4) -> None:
    """Equal but for the order in which fp32 sums were made."""
    assert left.keys() == right.keys() and left
    for name, value in left.items():
        if name.endswith("key.bias"):
            continue  # softmax makes its gradient 0, so all there is of it is rounding
        scale = max(value.abs().max().item(), 1e-3)
        torch.testing.assert_close(right[name], value, atol=rtol * scale, rtol=rtol, msg=name)


def step(model: ContrastiveModel, batch: PackedBatch, text_ids: Tensor | None, **over) -> dict:
    """One forward and backward from a fixed random state; the gradients come along."""
    for name, value in over.items():
        setattr(model, name, value)
    torch.manual_seed(7)
    output = model(batch, text_ids)
    output["loss"].backward()
    return output | {"gradients": gradients(model), "random": torch.rand(4)}


def keep_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference: the same chunks in the same order, all their graphs kept."""

    def plainly(encode, batch, chunks, *, padded):
        parts = batch.split(chunk_sizes(batch, chunks, padded))
        return torch.cat([encode(part) for part in parts])[batch.order]

    monkeypatch.setattr("simcse_kit.training.model.contrastive.encode_in_chunks", plainly)
    monkeypatch.setattr(
        "simcse_kit.training.model.masked_lm.replayed", lambda function, *parts: function(*parts)
    )


CASES = {
    "twins": (2, False, InfoNCE(temperature=0.05)),
    "equal texts": (2, True, InfoNCE(temperature=0.05)),
    "hard negatives": (4, True, InfoNCE(temperature=0.05, hard_negative_weight=2.0)),
    "own parameters": (3, True, LearntTemperature()),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dropout", [0.1, 0.0])
def test_the_gradient_of_the_whole_batch(tiny_encoder, monkeypatch, case, dropout):
    views, with_ids, objective = CASES[case]
    rows = 13
    batch = sequences(rows, views)
    text_ids = torch.arange(rows * views).unflatten(0, (rows, views)) if with_ids else None
    if text_ids is not None:
        text_ids[5], text_ids[8, 1] = text_ids[2], text_ids[3, 0]  # false negatives
    model = build(tiny_encoder("bert"), dropout, objective)
    whole = step(model, batch, text_ids)  # one forward
    ours = step(model, batch, text_ids, mini_batch_size=3)
    keep_graph(monkeypatch)
    reference = step(model, batch, text_ids)
    assert {name.split(".")[0] for name in ours["gradients"]} >= {"encoder", "projection"}
    if case == "own parameters":
        assert ours["gradients"]["objective.log_scale"] != 0
    assert_close(reference["gradients"], ours["gradients"], rtol=1e-5)
    assert torch.equal(ours["loss"], reference["loss"])
    assert torch.equal(ours["figures"], reference["figures"])
    assert torch.equal(ours["random"], reference["random"]), "the stream goes on as after one pass"
    assert ours["rows"] == whole["rows"] == rows
    if dropout == 0:
        assert_close(whole["gradients"], ours["gradients"])
        torch.testing.assert_close(whole["figures"], ours["figures"])
    else:
        assert whole["loss"] != ours["loss"], "dropout is on"


def test_it_is_sentence_transformers_cached_ranking_of_multiple_negatives(tiny_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
    )

    model = build(tiny_encoder("bert"), 0.0, InfoNCE(temperature=0.05), head="none")
    model.encoder.save_pretrained(tmp_path / "saved")
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").train()
    for module in theirs.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    batch = sequences(11, 3)  # anchors, positives, a hard negative each
    ours = step(model, batch, torch.arange(33).unflatten(0, (11, 3)), mini_batch_size=3)

    lengths = np.repeat(*np.array(batch.groups, dtype=np.int64).T[::-1])
    packed = torch.split(batch.input_ids[: lengths.sum()], lengths.tolist())
    rows = [packed[place] for place in batch.order.tolist()]
    features = []
    for view in range(3):
        ids = nn.utils.rnn.pad_sequence(rows[view::3], batch_first=True)
        own = torch.tensor([len(row) for row in rows[view::3]])
        mask = (torch.arange(ids.shape[1]) < own[:, None]).long()
        features.append({"input_ids": ids, "attention_mask": mask})
    loss = CachedMultipleNegativesRankingLoss(theirs, scale=20.0, mini_batch_size=3)(features, None)
    loss.backward()
    assert ours["loss"].item() == pytest.approx(loss.item(), abs=1e-5)
    named = dict(theirs[0].auto_model.named_parameters())
    wanted = {f"encoder.backbone.{name}": each.grad for name, each in named.items()}
    wanted = {name: each for name, each in wanted.items() if each is not None}
    assert_close(wanted, ours["gradients"])


@pytest.mark.parametrize("family", ["roberta", "mpnet", "modernbert"])
def test_other_families_packed_or_padded(tiny_encoder, monkeypatch, family):
    model = build(tiny_encoder(family), 0.1)
    batch = sequences(9, 2)
    ours = step(model, batch, None, mini_batch_size=2)
    keep_graph(monkeypatch)
    assert_close(step(model, batch, None)["gradients"], ours["gradients"], rtol=1e-5)


def test_gradient_checkpointing_inside_the_chunks(tiny_encoder):
    model = build(tiny_encoder("bert"), 0.1, mini_batch_size=2)
    batch = sequences(6, 2)
    plain = step(model, batch, None)
    model.gradient_checkpointing_enable()
    assert_close(plain["gradients"], step(model, batch, None)["gradients"], rtol=1e-5)


@pytest.mark.parametrize("dropout", [0.1, 0.0])
def test_the_masked_lm_is_the_mean_over_the_whole_batch(tiny_encoder, monkeypatch, dropout):
    # so few that a chunk may have none
    model = build(tiny_encoder("bert"), dropout, mlm_weight=10.0, mlm_probability=0.1)
    batch = sequences(7, 2)
    whole = step(model, batch, None)
    ours = step(model, batch, None, mini_batch_size=1)
    assert "masked_lm.head.cls.predictions.transform.dense.weight" in ours["gradients"]
    if dropout == 0:
        torch.testing.assert_close(whole["loss"], ours["loss"])
        assert_close(whole["gradients"], ours["gradients"])
    keep_graph(monkeypatch)
    reference = step(model, batch, None)
    assert_close(reference["gradients"], ours["gradients"], rtol=1e-5)
    assert torch.equal(reference["loss"], ours["loss"])


def test_no_token_chosen_is_a_masked_lm_loss_of_0(tiny_encoder):
    model = build(tiny_encoder("bert"), 0.0, mlm_weight=1.0, mlm_probability=1e-9)
    lm = model.masked_lm
    loss = lm(model.encoder.backbone, sequences(3, 1), 2)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in lm.parameters() if p.requires_grad)


def test_bf16_chunks_add_up_in_fp32(tiny_encoder):
    """Many chunks' half-precision gradients: no farther from fp32's than one batch's are."""
    model = build(tiny_encoder("bert"), 0.0)
    batch = sequences(64, 2)

    def error(gradient: dict[str, Tensor]) -> float:
        named = [name for name in exact if not name.endswith("key.bias")]
        return float(
            sum((gradient[n] - exact[n]).square().sum() for n in named)
            / sum(exact[n].square().sum() for n in named)
        )

    exact = step(model, batch, None)["gradients"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = step(model, batch, None)["gradients"]
        chunks = step(model, batch, None, mini_batch_size=1)["gradients"]
    assert all(gradient.dtype == torch.float32 for gradient in chunks.values())
    assert 0 < error(chunks) < 1.2 * error(whole)


def test_pages_are_given_back_every_some_passes(tiny_encoder, monkeypatch):
    given_back = []
    monkeypatch.setattr(grad_cache, "release_buffers", lambda: given_back.append(1))
    batch = PackedBatch.from_sequences([[5, 6, 7]] * 24)
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", dropout=0.0)
    joined = encode_in_chunks(encoder, batch, 24, padded=False)
    assert len(given_back) == 24 // 16
    joined.sum().backward()  # every chunk is passed a second time
    assert len(given_back) == 48 // 16
    assert memory.release_buffers() is None


def test_outside_of_training_chunks_need_no_graph(tiny_encoder):
    encoder = build(tiny_encoder("bert"), 0.0).encoder
    batch = sequences(5, 2)
    with torch.no_grad():
        torch.testing.assert_close(
            encode_in_chunks(encoder, batch, 3, padded=False), encoder(batch)
        )


# -- chunks


@pytest.mark.parametrize(("rows", "chunks"), [(64, 1), (64, 7), (5, 5), (3, 50), (1, 2)])
def test_chunks_have_equal_shares_of_the_tokens(rows, chunks):
    batch = sequences(rows, 1, seed=rows)
    sizes = chunk_sizes(batch, chunks, padded=False)
    assert sum(sizes) == rows and all(sizes) and len(sizes) <= chunks
    parts = batch.split(sizes)
    assert torch.equal(torch.cat([part.input_ids for part in parts]), batch.input_ids)
    longest = batch.groups[-1][1]
    for part, size in zip(parts, sizes, strict=True):
        assert len(part) == size == sum(count for count, _ in part.groups)
        assert len(part.input_ids) == sum(count * length for count, length in part.groups)
        assert len(part.input_ids) < len(batch.input_ids) / chunks + longest
    lengths = [length for part in parts for _, length in part.groups]
    assert lengths == sorted(lengths)


def test_a_padded_chunk_is_not_padded_to_one_long_sequence():
    batch = PackedBatch.from_sequences([[5] * 3] * 60 + [[5] * 90])
    sizes = chunk_sizes(batch, 2, padded=True)
    assert sum(sizes) == 61 and len(sizes) <= 4
    for part in batch.split(sizes):
        assert len(part) * part.groups[-1][1] <= 2 * len(part.input_ids)
    # 270 tokens; padded to the longest together they would be 61 · 90 = 5,490
    assert sum(len(part) * part.groups[-1][1] for part in batch.split(sizes)) <= 2 * 270


# -- what grows with the square of the batch, taken in blocks


@pytest.mark.parametrize("masked", ["none", "square", "all"])
@pytest.mark.parametrize("negatives", [0, 2])
def test_blocks_of_logits_are_the_whole_matrix(monkeypatch, masked, negatives):
    rows = 11
    torch.manual_seed(0)
    shapes = [(rows, 6), (rows, 6), (rows, negatives, 6)][: 2 + bool(negatives)]
    views = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    width = {"none": 0, "square": rows, "all": rows * (1 + negatives)}[masked]
    mask = torch.rand(rows, width) < 0.3 if width else None

    def loss() -> tuple[Tensor, ...]:
        value = info_nce(*views, hard_negative_weight=3.0, false_negatives=mask)
        return value, *torch.autograd.grad(value, views)

    whole = loss()
    monkeypatch.setattr(objective_module, "_AT_A_TIME", 4 * rows * (1 + negatives))
    for left, right in zip(whole, loss(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-12, rtol=1e-10)


def test_blocks_of_figures_are_the_whole_matrix(monkeypatch):
    x, y = torch.randn(2, 17, 8)
    whole = batch_geometry(x, y)
    monkeypatch.setattr(collapse, "_AT_A_TIME", 3 * 17)
    torch.testing.assert_close(batch_geometry(x, y), whole)


def peak_bytes(model: ContrastiveModel, batch: PackedBatch) -> int:
    """The most that lay in tensors at once during a step, beyond what lay there before it."""
    with torch.profiler.profile(profile_memory=True) as profile:
        model(batch)["loss"].backward()
    changes = [
        (event.start_ns(), event.nbytes())
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    model.zero_grad()
    return int(np.cumsum([size for _, size in sorted(changes)]).max())


def test_a_large_batch_fits_where_a_small_one_does(tiny_encoder, monkeypatch):
    # The tiny encoder's activations are a thousandth of a real one's, so is the bound on logits.
    monkeypatch.setattr(objective_module, "_AT_A_TIME", 1 << 12)
    monkeypatch.setattr(collapse, "_AT_A_TIME", 1 << 12)
    model = build(tiny_encoder("bert"), 0.1)
    small = peak_bytes(model, sequences(16, 2))
    large = peak_bytes(model, sequences(256, 2))
    model.mini_batch_size = 16
    cached = peak_bytes(model, sequences(256, 2))
    assert large > 10 * small
    assert cached < 1.3 * small


# -- the run


def rows_of(kind: str, count: int = 32) -> Rows:
    texts = [f"the {word} {i} reads{' on the street' * (i % 4)}" for i in range(count) for word in
             ("dog", "king", "bird")]  # fmt: skip
    names = ["anchor", "positive", "negative"] if kind == "pairs" else ["text"]
    columns = {name: texts[place::3] for place, name in enumerate(names)}
    return Rows(kind, columns, None, None, kind, 0, 0)


def run(folder, tmp_path, name: str, kind: str = "pairs", **settings):
    base = {
        "pooling": "mean",
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "bf16": False,
        "report_to": [],
        "use_cpu": True,
        "cache_dir": tmp_path / "cache",
        "logging_steps": 1,
        "max_steps": 3,
    }
    result = train(folder, rows_of(kind), TrainConfig(**(base | settings)), tmp_path / name)
    logged = [entry for entry in result.history if "loss" in entry]
    return result.encoder, logged


def test_a_run_logs_and_learns_the_same(tiny_encoder, tmp_path):
    """With accumulation over two batches, hard negatives and the default clipping at norm 1."""
    settings = {"dropout": 0.0, "gradient_accumulation_steps": 2, "head": "none"}
    plain, plain_log = run(tiny_encoder("bert"), tmp_path, "plain", **settings)
    ours, our_log = run(tiny_encoder("bert"), tmp_path, "cached", mini_batch_size=3, **settings)
    assert len(plain_log) == len(our_log) == 3
    for left, right in zip(plain_log, our_log, strict=True):
        assert left.keys() == right.keys()
        for key in left.keys() - {"sentences_per_second"}:
            assert right[key] == pytest.approx(left[key], rel=2e-3, abs=1e-5), key
    assert plain_log[0]["grad_norm"] > 1, "clipping is at work"
    for name, value in plain.named_parameters():
        if not name.endswith("key.bias"):  # nothing but rounding, which Adam enlarges
            torch.testing.assert_close(
                ours.get_parameter(name), value, atol=1e-4, rtol=1e-3, msg=name
            )


def test_a_mini_batch_larger_than_the_batch_changes_nothing(tiny_encoder):
    model = build(tiny_encoder("bert"), 0.1)
    plain = step(model, sequences(5, 2), None)
    ours = step(model, sequences(5, 2), None, mini_batch_size=99)
    for name, value in plain["gradients"].items():
        assert torch.equal(ours["gradients"][name], value), name


def test_a_run_in_bf16_with_the_masked_lm(tiny_encoder, tmp_path):
    _, log = run(
        tiny_encoder("bert"), tmp_path, "b", "text", mlm_weight=0.1, mini_batch_size=2, bf16=True
    )
    assert all(np.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in log)


def test_no_row_at_a_time_is_refused():
    with pytest.raises(InputError, match="mini_batch_size must be greater than or equal to 1"):
        build_config(None, ["mini_batch_size=0"])
    with pytest.raises(InputError, match="it is called mini_batch_size here"):
        build_config(None, ["gc_chunk_size=8"])
