"""InfoNCE against a float64 double loop written from the paper's formula."""

from __future__ import annotations

import math

import pytest
import torch

from simcse_kit.objectives.false_negatives import equal_text_mask
from simcse_kit.objectives.info_nce import InfoNCE, info_nce
from simcse_kit.objectives.objective import Embedded


def by_the_paper(anchors, positives, negatives=None, *, tau, alpha=1.0, masked=None):
    """Mean of -log( e^{s_ii/tau} / (sum_j e^{s_ij/tau} + sum_jk alpha^{[j=i]} e^{s-_ijk/tau}) )."""

    def cosine(a, b):
        return (a * b).sum() / (a.pow(2).sum().sqrt() * b.pow(2).sum().sqrt())

    rows = len(anchors)
    losses = []
    for i in range(rows):
        denominator = torch.zeros((), dtype=torch.float64)
        column = 0
        for j in range(rows):
            if j == i or masked is None or not masked[i][column]:
                denominator = denominator + torch.exp(cosine(anchors[i], positives[j]) / tau)
            column += 1
        for j in range(rows if negatives is not None else 0):
            for k in range(negatives.shape[1]):
                if masked is None or not masked[i][column]:
                    weight = alpha if j == i else 1.0
                    term = torch.exp(cosine(anchors[i], negatives[j, k]) / tau)
                    denominator = denominator + weight * term
                column += 1
        own = torch.exp(cosine(anchors[i], positives[i]) / tau)
        losses.append(-torch.log(own / denominator))
    return torch.stack(losses).mean()


def embeddings(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


CASES = [
    {"rows": 7, "negatives": 0, "tau": 0.05, "alpha": 1.0},
    {"rows": 2, "negatives": 0, "tau": 1.0, "alpha": 1.0},
    {"rows": 5, "negatives": 1, "tau": 0.05, "alpha": 1.0},
    {"rows": 5, "negatives": 1, "tau": 0.1, "alpha": 2.5},
    {"rows": 4, "negatives": 3, "tau": 0.07, "alpha": 0.5},
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_equal_the_reference(case, dtype, masked):
    rows, k = case["rows"], case["negatives"]
    given = [embeddings(rows, 6, seed=1), embeddings(rows, 6, seed=2)]
    if k:
        given.append(embeddings(rows, k, 6, seed=3))
    mask = None
    if masked:
        mask = torch.rand(rows, rows * (1 + k), generator=torch.Generator().manual_seed(4)) < 0.3

    reference = [x.clone().requires_grad_() for x in given]
    expected = by_the_paper(
        *reference, tau=case["tau"], alpha=case["alpha"], masked=None if mask is None else mask
    )
    expected.backward()

    ours = [x.to(dtype).requires_grad_() for x in given]
    loss = info_nce(
        *ours,
        temperature=case["tau"],
        hard_negative_weight=case["alpha"],
        false_negatives=mask,
    )
    loss.backward()

    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    assert loss.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    for got, wanted in zip(ours, reference, strict=True):
        torch.testing.assert_close(
            got.grad.double(), wanted.grad, atol=tolerance, rtol=20 * tolerance
        )


def test_constant_embeddings_give_the_log_of_the_candidates():
    constant = torch.ones(8, 5)
    assert info_nce(constant, constant).item() == pytest.approx(math.log(8), abs=1e-6)
    both = info_nce(constant, constant, constant.unsqueeze(1))
    assert both.item() == pytest.approx(math.log(16), abs=1e-6)


def test_weight_moves_only_the_own_hard_negative():
    anchors, positives = embeddings(3, 4, seed=1), embeddings(3, 4, seed=2)
    own = torch.eye(3, 4, dtype=torch.float64)
    logits = (
        torch.nn.functional.normalize(anchors)
        @ torch.nn.functional.normalize(torch.cat([positives, own])).T
        / 0.05
    )
    logits[torch.arange(3), 3 + torch.arange(3)] += math.log(2.0)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(3))
    got = info_nce(anchors, positives, own, hard_negative_weight=2.0)
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)


def test_negatives_may_come_without_their_own_axis():
    a, p, n = embeddings(4, 6, seed=1), embeddings(4, 6, seed=2), embeddings(4, 6, seed=3)
    assert info_nce(a, p, n).item() == info_nce(a, p, n.unsqueeze(1)).item()


def test_scale_of_the_embeddings_does_not_matter():
    a, p = embeddings(4, 6, seed=1), embeddings(4, 6, seed=2)
    assert info_nce(a * 100, p / 7).item() == pytest.approx(info_nce(a, p).item(), rel=1e-12)


def test_bf16_embeddings_are_compared_in_fp32():
    a, p = embeddings(16, 32, seed=1).bfloat16(), embeddings(16, 32, seed=2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(a, p)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        by_the_paper(a.double(), p.double(), tau=0.05).item(), rel=1e-5
    )


def test_equal_texts_are_masked_by_text():
    # rows: (a, b), (c, a), (a, d) with hard negatives e, b, e
    ids = torch.tensor([[0, 1, 4], [2, 0, 1], [0, 3, 4]])
    expected = torch.tensor(
        [
            # b      a      d      e      b      e
            [True, True, False, False, True, False],  # anchor a, positive b
            [False, True, False, False, False, False],  # anchor c, positive a
            [False, True, True, False, False, False],  # anchor a, positive d
        ]
    )
    assert torch.equal(equal_text_mask(ids), expected)


def test_masked_duplicates_do_not_push_apart():
    """Two equal rows and one other: the duplicate must not count as a negative."""
    z = embeddings(3, 6, seed=1)
    z[1] = z[0]
    ids = torch.tensor([[0, 0], [0, 0], [1, 1]])
    got = info_nce(z, z, temperature=1.0, false_negatives=equal_text_mask(ids))
    other = math.exp(torch.cosine_similarity(z[0], z[2], dim=0).item() - 1)
    rows = [math.log(1 + other), math.log(1 + other), math.log(1 + 2 * other)]
    assert got.item() == pytest.approx(sum(rows) / 3, rel=1e-12)


@pytest.mark.parametrize("negatives", [0, 2])
def test_a_queue_is_further_negatives(negatives):
    rows, earlier = 4, 3
    a, p, queue = embeddings(rows, 6, seed=1), embeddings(rows, 6, seed=2), embeddings(3, 6, seed=4)
    n = embeddings(rows, negatives, 6, seed=3) if negatives else None
    columns = rows * (1 + negatives)
    mask = torch.rand(rows, columns + earlier, generator=torch.Generator().manual_seed(5)) < 0.3
    # the reference has no queue, so each key is one more row, of whose negatives no one has any
    more_a, more_p = torch.cat([a, queue]), torch.cat([p, queue])
    more_n = None if n is None else torch.cat([n, torch.ones(earlier, negatives, 6).double()])
    wide = torch.ones(rows + earlier, (rows + earlier) * (1 + negatives), dtype=torch.bool)
    wide[:rows, :rows] = mask[:, :rows]
    wide[:rows, rows : rows + earlier] = mask[:, columns:]
    start = rows + earlier
    wide[:rows, start : start + rows * negatives] = mask[:, rows:columns]
    expected = by_the_paper(more_a, more_p, more_n, tau=0.1, alpha=2.0, masked=wide)
    got = info_nce(
        *(a, p, n),
        temperature=0.1,
        hard_negative_weight=2.0,
        false_negatives=mask[:, :columns],
        queue=queue,
        queue_false_negatives=mask[:, columns:],
    )
    # whose own losses are 0, for they have no negative
    assert got.item() == pytest.approx(expected.item() * (rows + earlier) / rows, rel=1e-10)


def test_module_binds_its_settings():
    a, p, n = embeddings(4, 6, seed=1), embeddings(4, 6, seed=2), embeddings(4, 2, 6, seed=3)
    mask = torch.rand(4, 12, generator=torch.Generator().manual_seed(5)) < 0.3
    queue, of_queue = embeddings(3, 6, seed=4), mask[:, :3]
    module = InfoNCE(temperature=0.1, hard_negative_weight=3.0)
    batch = Embedded(a, p, n, mask, queue=queue, queue_false_negatives=of_queue)
    expected = info_nce(
        *(a, p, n),
        temperature=0.1,
        hard_negative_weight=3.0,
        false_negatives=mask,
        queue=queue,
        queue_false_negatives=of_queue,
    )
    assert module(batch) == expected
    assert not list(module.parameters())
