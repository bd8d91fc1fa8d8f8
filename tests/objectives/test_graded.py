"""Graded pairs: sentence-transformers' losses, scipy's correlation, the papers' formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic_core import PydanticCustomError
from scipy import stats
from sentence_transformers.sentence_transformer.losses import (
    AnglELoss,
    CoSENTLoss,
    CosineSimilarityLoss,
)
from torch.nn import functional as F

from simcse_kit.errors import InputError
from simcse_kit.objectives import (
    Embedded,
    angle,
    cosent,
    cosine_mse,
    partners_in_batch,
    pearson,
)
from simcse_kit.objectives.angle import AnglE
from simcse_kit.parts import find_part, spec_of


def pairs(rows=6, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(2)]


SCORES = torch.tensor([5.0, 0.0, 2.5, 2.5, 4.0, 1.0], dtype=torch.float64)


class Given(torch.nn.Module):
    """A model of theirs that gives the embeddings it is given."""

    def forward(self, features):
        return features


@pytest.mark.parametrize("width", [8, 7])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(cosent, CoSENTLoss), (angle, AnglELoss), (cosine_mse, CosineSimilarityLoss)],
)
def test_value_and_gradient_are_those_of_sentence_transformers(ours, theirs, width):
    mine, other = ([x.requires_grad_() for x in pairs(width=width)] for _ in range(2))
    loss = ours(*mine, SCORES)
    reference = theirs(Given())
    expected = reference([{"sentence_embedding": x} for x in other], SCORES)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=0)


def test_cosent_is_the_sum_over_ordered_pairs_and_0_where_nothing_is_ordered():
    left, right = pairs()
    cosine = F.cosine_similarity(left, right)
    total = 1.0
    for i in range(6):
        for j in range(6):
            if SCORES[i] > SCORES[j]:
                total += torch.exp(20 * (cosine[j] - cosine[i]))
    torch.testing.assert_close(cosent(left, right, SCORES), total.log())
    level = left.clone().requires_grad_()
    loss = cosent(level, right, torch.ones(6))
    loss.backward()
    assert loss.item() == 0 and level.grad.abs().sum() == 0


def test_order_alone_counts_for_cosent():
    left, right = pairs()
    torch.testing.assert_close(
        cosent(left, right, SCORES), cosent(left, right, SCORES.exp() * 100 - 3)
    )


def test_pearson_is_scipys_and_defined_where_a_side_is_constant():
    left, right = pairs()
    r = stats.pearsonr(F.cosine_similarity(left, right).numpy(), SCORES.numpy()).statistic
    assert pearson(left, right, SCORES).item() == pytest.approx(1 - r, abs=1e-9)
    assert pearson(left, right, torch.ones(6)).item() == 1
    same = left.clone().requires_grad_()
    loss = pearson(same, same.detach(), SCORES)  # every cosine is 1
    loss.backward()
    assert torch.isfinite(same.grad).all()


def test_cosine_mse_is_the_mean_squared_difference():
    left, right = pairs()
    expected = (F.cosine_similarity(left, right) - SCORES / 5).pow(2).mean()
    torch.testing.assert_close(cosine_mse(left, right, SCORES / 5), expected)


# ---- the parts ----------------------------------------------------------------------------------


def as_batch(rows=6):
    left, right = pairs(rows)
    return Embedded(left, right, scores=SCORES[:rows])


@pytest.mark.parametrize(
    ("name", "function"),
    [("cosent", cosent), ("angle", angle), ("pearson", pearson), ("cosine_mse", cosine_mse)],
)
def test_a_part_is_its_function_with_its_settings(name, function):
    batch = as_batch()
    given = {"highest": 5} if name == "cosine_mse" else {}
    given |= {"scale": 7} if name in ("cosent", "angle") else {}
    part = spec_of("objective", {"name": name} | given).build()
    assert set(part.NEEDS) == {"scores"}
    scores = SCORES / 5 if name == "cosine_mse" else SCORES
    keywords = {"scale": 7} if "scale" in given else {}
    torch.testing.assert_close(
        part(batch), function(batch.anchors, batch.positives, scores, **keywords)
    )
    with torch.autocast("cpu", torch.bfloat16):
        half = part(replace(batch.map_embeddings(torch.Tensor.bfloat16), scores=SCORES))
    assert half.isfinite() and half.dtype in (torch.float32, torch.float64)
    with pytest.raises(InputError, match="needs scores"):
        part(replace(batch, scores=None))


@pytest.mark.parametrize("name", ["cosent", "angle", "pearson", "cosine_mse"])
def test_two_pairs_equal_pairs_and_zero_vectors_are_finite(name):
    part = spec_of("objective", {"name": name} | ({"highest": 5} if name == "cosine_mse" else {}))
    two, level = as_batch(2), as_batch(2)
    level = level.map_embeddings(torch.ones_like)
    zero = as_batch(2).map_embeddings(torch.zeros_like)
    for batch in (two, level, zero):
        anchors = batch.anchors.clone().requires_grad_()
        loss = part.build()(replace(batch, anchors=anchors))
        loss.backward()
        assert loss.isfinite() and anchors.grad.isfinite().all()
        assert part.build()(replace(batch, anchors=anchors * torch.nan)).isnan()


def their_in_batch(anchors, positives, labels, scale):
    """AnglE's in-batch term by a loop: texts of label 1 seek their partner among all others."""
    texts = F.normalize(torch.stack([anchors, positives], 1).flatten(0, 1), dim=-1)
    total = 0
    for i in range(len(texts)):
        if labels[i // 2]:
            partner = i + 1 - i % 2 * 2
            others = [j for j in range(len(texts)) if j != i]
            logits = scale * texts[i] @ texts.T
            total = total - logits[partner] + logits[others].logsumexp(0)
    return total / len(texts)


def test_angles_sum_is_that_of_the_paper():
    batch = as_batch()
    weights = {"angle_weight": 0.02, "cosine_weight": 1, "in_batch_weight": 30}
    part = spec_of("objective", {"name": "angle", "positive_score": 4, **weights}).build()
    mine, other = (
        [batch.anchors.clone().requires_grad_(), batch.positives.clone().requires_grad_()]
        for _ in range(2)
    )
    loss = part(replace(batch, anchors=mine[0], positives=mine[1]))
    expected = 0.02 * angle(*other, SCORES) + cosent(*other, SCORES)
    expected = expected + 30 * their_in_batch(*other, SCORES >= 4, 20.0)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_equal_texts_are_no_negatives_of_the_in_batch_term_but_the_partner_stays():
    left, right = pairs(3)
    left[1] = right[2] = left[0]
    positive = torch.tensor([True, False, True])
    masks = torch.zeros(2, 3, 3, dtype=torch.bool)
    masks[0, 0, 2] = masks[0, 1, 2] = masks[1, 0, 1] = masks[1, 1, 0] = True
    masks[0].fill_diagonal_(True)
    loss = partners_in_batch(left, right, positive, same_as_partner=masks[0], same_side=masks[1])
    unit = F.normalize(torch.cat([left, right]), dim=-1)
    logits = 20 * unit @ unit.T
    kept = {0: [2, 3, 4], 3: [0, 1, 2, 4, 5], 2: [0, 1, 3, 4, 5], 5: [2, 3, 4]}
    total = sum(
        logits[i, others].logsumexp(0) - logits[i, (i + 3) % 6] for i, others in kept.items()
    )
    torch.testing.assert_close(loss, total / 6)
    assert partners_in_batch(left, right, positive & False).item() == 0


def test_wrong_settings_and_scores_are_said():
    for settings, said in (
        ({"name": "cosine_mse", "lowest": 5, "highest": 1}, "lowest must be below highest"),
        ({"name": "angle", "angle_weight": 0}, "are all 0; give one a weight"),
        ({"name": "cosent", "scale": 0}, "objective.scale"),
    ):
        with pytest.raises(PydanticCustomError, match=said):
            spec_of("objective", settings)
    part = find_part("objective", "cosine_mse")
    with pytest.raises(InputError, match=r"a score of 5 asks .* \(now 0 and 1\)"):
        part.check_data(part.Settings(), {"scores": np.array([1.0, 5.0, -1.0])})
    part.check_data(part.Settings(lowest=2, highest=5), {"scores": np.array([5.0, -1.0])})


@pytest.mark.parametrize("name", ["cosent", "angle", "pearson"])
def test_scores_that_rank_no_pair_are_refused(name):
    part = find_part("objective", name)
    with pytest.raises(InputError, match=f"objective {name}: all 4 pairs have the score 3,"):
        part.check_data(part.Settings(), {"scores": np.full(4, 3.0)})
    part.check_data(part.Settings(), {"scores": np.array([3.0, 3.0, 2.0])})


def test_angle_asks_from_which_score_on_pairs_mean_the_same():
    def check(scores, **settings):
        AnglE.check_data(AnglE.Settings(**settings), {"scores": np.array(scores)})

    check([0.0, 0.5, 1.0], in_batch_weight=30)
    check([1.0, 1.0], in_batch_weight=30)  # all alike: each is contrasted with the others
    check([0.0, 5.0])
    check([0.0, 5.0], in_batch_weight=30, positive_score=4)
    check([0.0, 5.0], in_batch_weight=30, positive_score=1)
    with pytest.raises(InputError, match=r"scores go up to 5, .* set objective.positive_score"):
        check([0.0, 5.0], in_batch_weight=30)
    with pytest.raises(InputError, match=r"from the score 6 on .*, and the highest is 5;"):
        check([0.0, 5.0], in_batch_weight=30, positive_score=6)
