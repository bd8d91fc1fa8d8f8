"""Every option of InfoNCE, and options together, against loops of the papers' formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from contrast_loop import Loop
from simcse_kit.errors import InputError
from simcse_kit.objectives import Embedded, InfoNCE
from simcse_kit.parts import Context

module = import_module("simcse_kit.objectives.info_nce")  # the room hands on its function


def batch_of(rows=5, given=0, queue=0, masked=True, guide=False, seed=0) -> Embedded:
    """Positives near their anchors; where masked, a third of all candidates are no negatives."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def chance(*shape):
        return torch.rand(*shape, generator=generator) < 0.3

    anchors = draw(rows, 6)
    return Embedded(
        anchors=2 * anchors,
        positives=anchors + 0.7 * draw(rows, 6),
        negatives=draw(rows, given, 6) if given else None,
        false_negatives=chance(rows, rows * (1 + given)) if masked else None,
        between_anchors=chance(rows, rows) if masked else None,
        queue=draw(queue, 6) if queue else None,
        queue_false_negatives=chance(rows, queue) if masked and queue else None,
        guide=draw(rows, 2 + given, 4) if guide else None,
    )


def with_gradients(loss_of, batch: Embedded):
    """The value, and the gradients for anchors, positives and given negatives."""
    given = {"anchors": batch.anchors, "positives": batch.positives, "negatives": batch.negatives}
    leaves = {
        name: value.clone().requires_grad_() for name, value in given.items() if value is not None
    }
    loss = loss_of(replace(batch, **leaves))
    loss.backward()
    return [loss.detach(), *(leaf.grad for leaf in leaves.values())]


def assert_as_the_loop(batch: Embedded, seed=0, **own):
    torch.manual_seed(seed)
    wanted = with_gradients(lambda b: Loop(b, **own).loss(), batch)
    torch.manual_seed(seed)
    found = with_gradients(InfoNCE(**own), batch)
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right, atol=1e-9, rtol=1e-8)


OPTIONS = {
    "as it is": {},
    "all": {"negatives": "all"},
    "symmetric": {"symmetric": True},
    "same side": {"same_side": True},
    "decoupled": {"decoupled": True},
    "margin": {"margin": 10.0},
    "focal": {"focal": 2.0},
    "focal below 1": {"focal": 0.5},
    "self-paced": {"self_paced": 0.3},
    "debiased": {"debiased": 0.1, "temperature": 1.0},
    "debiased to the floor": {"debiased": 0.9},
    "hardness": {"hardness": 1.0},
    "hardness and prior": {"hardness": 0.5, "debiased": 0.1, "temperature": 1.0},
    "mixed": {"mixed": 0.2},
    "gaussian": {"gaussian": 7},
    "threshold": {"threshold": 0.2},
    "guide": {"guide_margin": 0.0},
    "guide with a margin": {"guide_margin": 0.2},
    "guide of both sides": {"guide_margin": 0.1, "same_side": True},
    "guide with a relative margin": {"guide_margin": 0.2, "guide_relative": True},
    "guide by threshold": {"guide_threshold": 0.4},
    "adaptive to negatives": {"adaptive_temperature": 0.8, "adaptive_origin": 0.1},
    "adaptive to alignment": {"adaptive_temperature": 0.5, "adaptive_to": "alignment"},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_its_formula(option, masked):
    own = {"temperature": 0.1, "hard_negative_weight": 2.5} | OPTIONS[option]
    guide = option.startswith("guide")
    for extra in (0, 2):
        batch = batch_of(given=extra, queue=3 * masked, masked=masked, guide=guide, seed=extra)
        assert_as_the_loop(batch, **own)


def combinations():
    """Settings that agree with each other."""

    def agree(own: dict) -> bool:
        try:
            InfoNCE.Settings(**own)
        except ValueError:
            return False
        return True

    def maybe(value, default):
        return st.one_of(st.just(default), value)

    return st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.05, 0.2, 1.0]),
            "hard_negative_weight": st.sampled_from([1.0, 0.5, 3.0]),
            "negatives": st.sampled_from(["positives", "all"]),
            "symmetric": st.booleans(),
            "same_side": st.booleans(),
            "decoupled": st.booleans(),
            "margin": maybe(st.floats(1, 30), 0.0),
            "focal": maybe(st.floats(0.5, 3), 0.0),
            "self_paced": maybe(st.floats(0, 1), None),
            "debiased": maybe(st.floats(0.01, 0.5), 0.0),
            "hardness": maybe(st.floats(0.1, 2), 0.0),
            "mixed": maybe(st.floats(0.1, 0.5), 0.0),
            "gaussian": maybe(st.integers(1, 5), 0),
            "threshold": maybe(st.floats(0, 0.9), None),
            "guide_margin": maybe(st.floats(-0.3, 0.3), None),
            "adaptive_temperature": maybe(st.floats(0.1, 1), 0.0),
        }
    ).filter(agree)


@given(
    own=combinations(),
    rows=st.integers(2, 5),
    given=st.integers(0, 2),
    queue=st.integers(0, 3),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
def test_options_together_are_their_formulas(own, rows, given, queue, masked, seed):
    batch = batch_of(rows, given, queue, masked, guide=True, seed=seed)
    assert_as_the_loop(batch, seed, **own)


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"hard_negative_weight": 3.0},
        {"negatives": "all", "hardness": 1.0, "debiased": 0.1, "threshold": 0.5},
        {"symmetric": True, "decoupled": True, "mixed": 0.2, "adaptive_temperature": 0.5},
        {"same_side": True, "mixed": 0.2, "margin": 10.0},
    ],
)
def test_blocks_of_rows_are_the_whole_batch(monkeypatch, own):
    batch = batch_of(11, 2, 5)
    whole = with_gradients(InfoNCE(**own), batch)
    monkeypatch.setattr(module, "_AT_A_TIME", 4 * 40)
    for left, right in zip(with_gradients(InfoNCE(**own), batch), whole, strict=True):
        torch.testing.assert_close(left, right, atol=1e-12, rtol=1e-10)


# -- what is at the edges

ALONE = [own for name, own in OPTIONS.items() if not name.startswith("guide")]


def edges() -> dict[str, Embedded]:
    one = torch.ones(4, 3)
    a, p = batch_of(2).anchors.float(), batch_of(2).positives.float()
    out = torch.ones(4, 4, dtype=torch.bool)
    spread = torch.eye(4)
    return {
        "all equal": Embedded(one, one.clone()),
        "zero vectors": Embedded(torch.zeros(4, 3), torch.zeros(4, 3)),
        "opposite": Embedded(one, -one),
        "two rows": Embedded(a, p),
        "one row": Embedded(a[:1], p[:1]),
        "no negative": Embedded(spread, spread + 0.1, None, out, out),
        "an empty queue": Embedded(a, p, queue=torch.zeros(0, 6)),
        "far and near": Embedded(spread, spread.clone()),
    }


@pytest.mark.parametrize("own", ALONE, ids=str)
@pytest.mark.parametrize("case", edges())
def test_no_batch_gives_anything_but_numbers(own, case):
    for temperature in (0.01, 0.05):
        objective = InfoNCE(**(own | {"temperature": temperature}))
        found = with_gradients(objective, edges()[case])
        assert all(torch.isfinite(each).all() for each in found)


def test_constant_embeddings_give_the_log_of_the_candidates():
    one = Embedded(torch.ones(8, 5), torch.ones(8, 5), torch.ones(8, 2, 5), queue=torch.ones(3, 5))

    def loss(**own):
        return InfoNCE(**own)(one).item()

    assert loss() == pytest.approx(math.log(8 + 16 + 3), abs=1e-5)
    assert loss(decoupled=True) == pytest.approx(math.log(7 + 16 + 3), abs=1e-5)
    assert loss(negatives="all") == pytest.approx(math.log(15 + 16 + 3), abs=1e-5)
    both = (math.log(27) + math.log(8)) / 2
    assert loss(symmetric=True) == pytest.approx(both, abs=1e-5)
    assert loss(hardness=3.0) == pytest.approx(math.log(27), abs=1e-5)
    assert loss(mixed=0.2) == pytest.approx(math.log(28), abs=1e-5)
    assert loss(focal=1.0) == pytest.approx(26 / 27 * math.log(27), abs=1e-5)


def test_decoupled_may_be_below_0_and_leaves_out_rows_without_a_negative():
    spread = torch.eye(3, dtype=torch.float64)
    assert InfoNCE(decoupled=True)(Embedded(spread, spread)).item() == pytest.approx(
        math.log(2) - 20
    )
    alone = torch.zeros(3, 3, dtype=torch.bool)
    alone[0] = True  # whose loss would be minus infinity
    batch = Embedded(spread, spread, None, alone)
    assert InfoNCE(decoupled=True)(batch).item() == pytest.approx(math.log(2) - 20)
    assert InfoNCE()(batch).item() == pytest.approx(2 / 3 * math.log(1 + 2 * math.exp(-20)))


def test_a_margin_makes_the_positive_farther_on_either_side_of_180_degrees():
    angles = torch.linspace(0, math.pi, 50, dtype=torch.float64)
    terms = import_module("simcse_kit.objectives.contrast_terms")
    cosines = angles.cos().requires_grad_()
    turned = terms.with_margin(cosines, 30)
    assert (turned.diff() < 0).all()
    assert turned.diff().abs().max() < 0.09  # no step
    inside = angles < math.radians(150)
    torch.testing.assert_close(turned[inside][1:], (angles[inside] + math.pi / 6).cos()[1:])
    turned.sum().backward()
    assert torch.isfinite(cosines.grad).all()


def test_a_batch_without_a_guide_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="guide model's vectors, and this batch has none"):
        InfoNCE(guide_margin=0.0)(batch_of())


@pytest.mark.parametrize("own", ALONE, ids=str)
def test_half_precision_is_computed_in_fp32(own):
    batch = batch_of(6, 1, 2).map_embeddings(lambda x: x.bfloat16())
    exact = batch.map_embeddings(lambda x: x.double())
    values = []
    for each in (batch, exact):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values.append(InfoNCE(**own)(each))
    assert values[0].dtype == torch.float32
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-4, abs=1e-5)


def test_other_anchors_are_asked_for_where_they_are_candidates():
    assert InfoNCE(negatives="all").wants_between_anchors
    assert InfoNCE(symmetric=True).wants_between_anchors
    assert InfoNCE(same_side=True).wants_between_anchors
    assert not InfoNCE(mixed=0.2).wants_between_anchors


def test_gaussian_directions_are_drawn_anew_and_alike_on_ranks_and_when_resumed():
    batch = batch_of()
    found = []
    for rank in range(2):
        torch.manual_seed(rank)  # each rank's own, for its dropout
        objective = InfoNCE(Context(seed=5), gaussian=10)
        objective.begin_step(3, 10)
        found.append([objective(batch).item() for _ in range(2)])
        assert torch.equal(torch.rand(2), torch.manual_seed(rank) and torch.rand(2))
    assert found[0] == found[1] and found[0][0] != found[0][1]
    objective.begin_step(4, 10)
    assert objective(batch).item() not in found[0]
