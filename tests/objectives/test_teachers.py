"""What a student learns of a teacher, against loops, scipy and sentence-transformers' losses."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from sentence_transformers.cross_encoder.losses import ListMLELoss, ListNetLoss
from sentence_transformers.sentence_transformer.losses import (
    DistillKLDivLoss,
    EmbedDistillLoss,
    MSELoss,
    MultipleNegativesRankingLoss,
)
from torch.nn import functional as F

from simcse_kit.errors import InputError
from simcse_kit.objectives import (
    Embedded,
    list_mle,
    list_net,
    ranking_consistency,
    shuffled_groups,
    similarity_kl,
    teacher_contrast,
    teacher_cosine,
    teacher_mse,
)
from simcse_kit.parts import Context, spec_of


def similarities(rows=4, columns=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(rows, columns, generator=generator, dtype=torch.float64) - 1


def gradients(loss, expected, ours, loop):
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, loop.grad)


# ---- the functions ------------------------------------------------------------------------------


@pytest.mark.parametrize("leave_out", [False, True])
def test_kl_and_list_net_equal_the_formulas(leave_out):
    teacher = similarities(seed=1)
    mask = torch.eye(4, 5, dtype=torch.bool) if leave_out else None
    kept = [[j for j in range(5) if not (leave_out and i == j)] for i in range(4)]
    for loss in (similarity_kl, list_net):
        ours, loop = (similarities().requires_grad_() for _ in range(2))
        total = 0
        for i, columns in enumerate(kept):
            wanted = (teacher[i, columns] / 0.2).exp()
            found = (loop[i, columns] / 0.1).exp()
            wanted, found = wanted / wanted.sum(), found / found.sum()
            entropy = (wanted * wanted.log()).sum() if loss is similarity_kl else 0
            total = total + entropy - (wanted * found.log()).sum()
        value = loss(ours, teacher, temperature=0.1, teacher_temperature=0.2, leave_out=mask)
        gradients(value, total / 4, ours, loop)


class Given(torch.nn.Module):
    """A model of theirs that gives the embeddings it is given."""

    def forward(self, features):
        return features


def test_kl_and_mse_are_those_of_sentence_transformers():
    mine, other = (
        [similarities(6, 8, seed=s).requires_grad_() for s in range(4)] for _ in range(2)
    )
    scores = similarities(6, 3, seed=9)
    theirs = DistillKLDivLoss(Given(), similarity_fct=F.cosine_similarity, temperature=0.5)
    expected = theirs([{"sentence_embedding": x} for x in other], scores)
    found = torch.stack([F.cosine_similarity(mine[0], each) for each in mine[1:]], 1)
    loss = 0.5**2 * similarity_kl(found, scores, temperature=0.5)  # theirs times T²
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=0)
    teacher = similarities(6, 8, seed=5)
    expected = MSELoss(Given())([{"sentence_embedding": other[0]}], teacher)
    assert teacher_mse(mine[0], teacher).item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(("ours", "metric"), [(teacher_mse, "mse"), (teacher_cosine, "cosine")])
def test_vectors_are_followed_as_by_sentence_transformers(ours, metric):
    mine, other = (3 * similarities(6, 8) for _ in range(2))
    mine.requires_grad_(), other.requires_grad_()
    teacher = similarities(6, 8, seed=5)
    expected = EmbedDistillLoss(Given(), metric)([{"sentence_embedding": other}], teacher)
    loss = ours(mine, teacher)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=0)


def test_a_student_like_its_teacher_is_at_its_best():
    teacher = similarities()
    assert similarity_kl(teacher, teacher).item() == pytest.approx(0, abs=1e-12)
    assert similarity_kl(similarities(seed=2), teacher).item() > 0
    entropy = torch.distributions.Categorical(logits=teacher / 0.05).entropy().mean()
    best = list_net(teacher, teacher, temperature=0.05, teacher_temperature=0.05)
    torch.testing.assert_close(best, entropy)


@pytest.mark.parametrize("leave_out", [False, True])
def test_list_mle_is_the_chance_of_the_teachers_order(leave_out):
    teacher = similarities(seed=1)
    mask = torch.eye(4, 5, dtype=torch.bool) if leave_out else None
    ours, loop = (similarities().requires_grad_() for _ in range(2))
    total = 0
    for i in range(4):
        columns = [j for j in range(5) if not (leave_out and i == j)]
        columns.sort(key=lambda j: -teacher[i, j].item())
        weights = (loop[i, columns] / 0.1).exp()
        for place in range(len(columns)):
            total = total - (weights[place] / weights[place:].sum()).log()
    loss = list_mle(ours, teacher, temperature=0.1, leave_out=mask)
    gradients(loss, total / 4, ours, loop)


class Scored(torch.nn.Module):
    """A cross-encoder of theirs that gives the pair "i", "j" the score in row i and column j."""

    num_labels, device = 1, torch.device("cpu")

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.given = scores

    def preprocess(self, pairs, **_):
        return {"places": torch.tensor([[int(i), int(j)] for i, j in pairs])}

    def forward(self, tokens):
        return {"scores": self.given[tuple(tokens["places"].T)]}


@pytest.mark.parametrize("loss_of", [list_net, list_mle])
def test_rankings_are_followed_as_by_sentence_transformers_cross_encoders(loss_of):
    ours, theirs = (similarities().requires_grad_() for _ in range(2))
    teacher = similarities(seed=1)
    inputs = [[str(i) for i in range(4)], [[str(j) for j in range(5)] for _ in range(4)]]
    if loss_of is list_net:
        labels = [*(teacher / 0.2)]
        expected = ListNetLoss(Scored(theirs / 0.1))(inputs, labels)
        loss = list_net(ours, teacher, temperature=0.1, teacher_temperature=0.2)
    else:
        model = Scored(theirs / 0.1)
        expected = ListMLELoss(model, respect_input_order=False)(inputs, [*teacher])
        loss = list_mle(ours, teacher, temperature=0.1)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=0)


def test_two_rankings_diverge_by_jensen_and_shannon():
    one, other = similarities(5, 5), similarities(5, 5, seed=1)
    shares = [F.softmax(each / 0.1, dim=1).numpy() for each in (one, other)]
    expected = np.mean([jensenshannon(p, q) ** 2 for p, q in zip(*shares, strict=True)])
    assert ranking_consistency(one, other, temperature=0.1).item() == pytest.approx(expected)
    assert ranking_consistency(one, one).item() == pytest.approx(0, abs=1e-12)
    apart = [torch.eye(2), torch.eye(2).flip(1)]  # a 1e-7 in the logarithm would bound it
    assert ranking_consistency(*apart, temperature=0.001).item() == pytest.approx(math.log(2))


def test_vectors_by_difference_and_by_direction():
    student, teacher = similarities(), similarities(seed=1)
    expected = float(((student - teacher) ** 2).mean())
    assert teacher_mse(student, teacher).item() == pytest.approx(expected)
    cosine = F.cosine_similarity(student, teacher).mean().item()
    assert teacher_cosine(5 * student, teacher).item() == pytest.approx(1 - cosine)


def test_contrast_with_the_teacher_is_sentence_transformers_ranking_of_multiple_negatives():
    """With the teacher's vectors for positives."""
    mine, other = (similarities(5, 6).requires_grad_() for _ in range(2))
    teacher = similarities(5, 6, seed=1)
    theirs = MultipleNegativesRankingLoss(None, scale=10.0)
    expected = theirs.compute_loss_from_embeddings([other, teacher], None)
    loss = teacher_contrast(mine, teacher, temperature=0.1)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=0)


def test_contrast_with_the_teacher_leaves_equal_texts_out():
    ours, loop = (similarities(5, 6).requires_grad_() for _ in range(2))
    teacher = similarities(5, 6, seed=1)
    teacher[3] = 2 * teacher[0]  # the same text again
    there = torch.tensor([True, True, False, True, True])
    unit = F.normalize(loop, dim=1) @ F.normalize(teacher, dim=1).T / 0.1
    total = 0
    for i in (0, 1, 3, 4):
        others = [j for j in (0, 1, 3, 4) if j == i or {i, j} != {0, 3}]
        total = total - unit[i, i] + unit[i, others].logsumexp(0)
    loss = teacher_contrast(ours, teacher, temperature=0.1, there=there)
    gradients(loss, total / 4, ours, loop)
    same = teacher[:1].expand(5, 6)
    assert teacher_contrast(similarities(5, 6), same).item() == 0


def test_a_row_of_nothing_teaches_nothing():
    student = similarities().requires_grad_()
    everything = torch.zeros(4, 5, dtype=torch.bool)
    everything[0] = True
    for loss in (similarity_kl, list_net, list_mle):
        student.grad = None
        value = loss(student, similarities(seed=1), leave_out=everything)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(student.grad).all()
        assert student.grad[0].abs().sum() == 0 and student.grad[1:].abs().sum() > 0


def test_what_is_no_number_is_not_hidden():
    broken = similarities()
    broken[1, 2] = torch.nan
    for loss in (similarity_kl, list_net, list_mle):
        assert loss(broken, similarities(seed=1), leave_out=torch.eye(4, 5) > 0).isnan()


# ---- groups of DistillCSE -----------------------------------------------------------------------


def groups_as_released(teacher, share):
    """Ends of the groups of one row without its own entry, as their code counts them."""
    ordered = torch.sort(teacher, descending=True).values
    sums = ordered.softmax(0).cumsum(0)
    count = math.ceil(1 / share)
    ends = [int((sums < (g + 1) * share).sum()) for g in range(count)]
    return [0, *ends[:-1], len(teacher)]


@pytest.mark.parametrize("share", [0.1, 0.15, 0.4, 1.0])
def test_columns_are_shuffled_inside_the_groups_of_the_released_code(share):
    teacher = similarities(30, 30, seed=3)
    own = torch.eye(30, dtype=torch.bool)
    seen = set()
    for seed in range(3):
        order, shuffled = shuffled_groups(
            teacher, share, generator=torch.Generator().manual_seed(seed), leave_out=own
        )
        for i in range(30):
            kept = [j for j in range(30) if j != i]
            expected = sorted(kept, key=lambda j, i=i: -teacher[i, j].item())
            assert order[i].tolist() == [*expected, i]
            assert shuffled[i, -1] == i  # what is left out is not mixed in
            ends = groups_as_released(teacher[i, kept], share)
            for start, end in itertools.pairwise(ends):
                assert set(shuffled[i, start:end].tolist()) == set(expected[start:end])
        seen.add(tuple(shuffled.flatten().tolist()))
    assert len(seen) == 3  # and every draw is another


def test_a_tiny_share_shuffles_nothing_and_the_draw_is_of_the_step():
    batch = taught_batch(teachers=(8,))
    plain, tiny, wide = (
        spec_of("objective", {"name": "similarity_kl", "shuffle": share}).build(CONTEXT)
        for share in (0.0, 1e-6, 1.0)
    )
    torch.testing.assert_close(plain(batch), tiny(batch))
    first = wide(batch)
    assert not torch.isclose(first, wide(batch), rtol=1e-6)  # another batch of the same step
    wide.begin_step(0, 10)
    assert wide(batch) == first
    wide.begin_step(1, 10)
    assert wide(batch) != first


# ---- the parts ----------------------------------------------------------------------------------

CONTEXT = Context(width=6, teacher_widths=(8,), seed=3)


def taught_batch(rows=4, negatives=2, width=6, teachers=(8,)):
    views = 2 + negatives
    flat = similarities(rows * views, width, seed=4).float().unflatten(0, (rows, views))
    said = [
        similarities(rows * views, each, seed=5 + k).float().unflatten(0, (rows, views))
        for k, each in enumerate(teachers)
    ]
    return Embedded(
        flat[:, 0], flat[:, 1], flat[:, 2:] if negatives else None, teachers=tuple(said)
    )


def stacked(batch):
    views = [batch.anchors[:, None], batch.positives[:, None]]
    return torch.cat(views + ([] if batch.negatives is None else [batch.negatives]), 1)


@pytest.mark.parametrize("name", ["similarity_kl", "list_net", "list_mle"])
@pytest.mark.parametrize("compared", ["anchors", "pairs", "all"])
def test_similarities_of_several_teachers_are_those_of_their_unit_vectors_end_to_end(
    name, compared
):
    context = Context(width=6, teacher_widths=(8, 5))
    batch = taught_batch(teachers=(8, 5))
    loss = spec_of("objective", {"name": name, "compared": compared}).build(context)(batch)
    joined = torch.cat([F.normalize(each, dim=-1) for each in batch.teachers], -1)
    sides = []
    for views in (stacked(batch), joined):
        anchors, everything = views[:, 0], views.flatten(0, 1)
        documents = torch.cat([views[:, 1], views[:, 2:].flatten(0, 1)])
        left, right = {
            "anchors": (anchors, anchors),
            "pairs": (anchors, documents),
            "all": (everything, everything),
        }[compared]
        sides.append(F.cosine_similarity(left[:, None], right[None], dim=-1))
    out = torch.zeros_like(sides[0], dtype=torch.bool)
    if compared != "pairs":
        out.fill_diagonal_(True)
    function = {"similarity_kl": similarity_kl, "list_net": list_net, "list_mle": list_mle}[name]
    torch.testing.assert_close(loss, function(*sides, leave_out=out))


def test_a_teacher_may_count_more():
    context, batch = Context(width=6, teacher_widths=(8, 8)), taught_batch(teachers=(8, 8))
    swapped = replace(batch, teachers=batch.teachers[::-1])
    for name in ("similarity_kl", "teacher_mse"):
        made = [
            spec_of("objective", {"name": name, "teacher_weights": weights}).build(context)
            for weights in ([1, 3], [6, 2])
        ]
        if name == "teacher_mse":
            made[1].projections[0].load_state_dict(made[0].projections[1].state_dict())
            made[1].projections[1].load_state_dict(made[0].projections[0].state_dict())
        torch.testing.assert_close(made[0](batch), made[1](swapped))


@pytest.mark.parametrize("name", ["teacher_mse", "teacher_cosine", "teacher_contrast"])
def test_vectors_of_all_views_meet_the_teacher_through_a_learnt_layer(name):
    batch = taught_batch(teachers=(8, 6))
    part = spec_of("objective", name).build(Context(width=6, teacher_widths=(8, 6)))
    weights = dict(part.named_parameters())
    assert {key: tuple(each.shape) for key, each in weights.items()} == {
        "projections.0.weight": (8, 6),
        "projections.0.bias": (8,),
    }
    loss = part(batch)
    flat = stacked(batch).flatten(0, 1)
    function = {
        "teacher_mse": teacher_mse,
        "teacher_cosine": teacher_cosine,
        "teacher_contrast": teacher_contrast,
    }[name]
    first = function(part.projections[0](flat), batch.teachers[0].flatten(0, 1))
    torch.testing.assert_close(loss, (first + function(flat, batch.teachers[1].flatten(0, 1))) / 2)
    loss.backward()
    assert all(each.grad.abs().sum() > 0 for each in weights.values())
    with torch.autocast("cpu", torch.bfloat16):
        half = part(batch.map_embeddings(torch.Tensor.bfloat16))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", ["teacher_mse", "teacher_contrast", "similarity_kl", "list_mle"])
def test_a_text_that_there_is_not_teaches_nothing(name):
    batch = taught_batch()
    batch.teachers[0][1, 3] = 0  # a row that lacks its second hard negative
    negatives = batch.negatives.clone().requires_grad_()
    settings = {"name": name} | ({"compared": "all"} if "teacher" not in name else {})
    part = spec_of("objective", settings).build(CONTEXT)
    part(replace(batch, negatives=negatives)).backward()
    assert negatives.grad[1, 1].abs().sum() == 0 and negatives.grad[1, 0].abs().sum() > 0


def test_ranking_consistency_needs_no_teacher_and_sees_both_ways():
    batch = taught_batch(negatives=0, teachers=())
    part = spec_of("objective", "ranking_consistency").build()
    cosine = F.cosine_similarity(batch.anchors[:, None], batch.positives[None], dim=-1)
    torch.testing.assert_close(part(batch), ranking_consistency(cosine, cosine.T))
    assert not part.NEEDS


@pytest.mark.parametrize("name", ["similarity_kl", "list_net", "list_mle", "teacher_contrast"])
def test_two_rows_and_all_equal_are_finite(name):
    part = spec_of("objective", name).build(CONTEXT)
    two = taught_batch(rows=2, negatives=0)
    level = replace(
        two,
        anchors=torch.ones(2, 6, requires_grad=True),
        positives=torch.ones(2, 6, requires_grad=True),
        teachers=(torch.ones(2, 2, 8),),
    )
    assert torch.isfinite(part(two))
    loss = part(level)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(level.anchors.grad).all()


def test_wrong_use_is_said():
    with pytest.raises(InputError, match="names 3 weights for 1 teacher; give one each"):
        spec_of("objective", {"name": "list_net", "teacher_weights": [1, 2, 3]}).build(CONTEXT)
    part = spec_of("objective", "teacher_mse").build(CONTEXT)
    batch = taught_batch()
    with pytest.raises(InputError, match="whole embeddings of 6 numbers, not with their first 3"):
        part(batch.map_embeddings(lambda each: each[..., :3]))
