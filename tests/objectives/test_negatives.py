"""Further negatives, what objectives say that they look at, and what they do look at."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from simcse_kit.objectives import Embedded, InfoNCE, Negatives, info_nce
from simcse_kit.objectives.negatives.noise import Noise, moved_noise
from simcse_kit.parts import Context, find_part, part_names


def test_noise_goes_uphill_as_a_gradient_says():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 6, generator=generator)
    anchors = torch.randn(5, 6, generator=generator)
    given = {"step_size": 0.3, "temperature": 0.2}
    x = F.normalize(noise.double(), dim=-1)
    h = F.normalize(anchors.double(), dim=-1)
    for _ in range(3):
        moved = []
        for each in x:
            each = each.clone().requires_grad_()
            cosines = [(one @ each) / each.norm() for one in h]
            torch.stack([c / 0.2 for c in cosines]).logsumexp(0).backward()
            step = each.detach() + 0.3 * each.grad / each.grad.norm()
            moved.append(step / step.norm())
        x = torch.stack(moved)
    found = moved_noise(noise, anchors, moves=3, **given)
    torch.testing.assert_close(found.double(), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        moved_noise(noise, anchors, moves=0, **given), F.normalize(noise, dim=-1)
    )


def test_where_nothing_is_uphill_a_direction_stays():
    here = torch.tensor([[1.0, 0.0]])
    given = {"moves": 2, "step_size": 0.5, "temperature": 0.1}
    assert torch.equal(moved_noise(here, here.repeat(2, 1), **given), here)
    assert torch.equal(moved_noise(here, torch.zeros(2, 2), **given), here)  # zero vectors


def test_noise_is_of_seed_step_and_batch():
    batch = Embedded(torch.randn(2, 8), torch.randn(2, 8))

    def drawn(seed, step):
        noise = Noise(Context(seed=seed), count=3)
        noise.begin_step(step, 9)
        return noise(batch), noise(batch)

    (first, second), again = drawn(1, 4), drawn(1, 4)
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    assert not torch.equal(first, second)
    assert not torch.equal(first, drawn(1, 5)[0]) and not torch.equal(first, drawn(2, 4)[0])


class Given(Negatives):
    def __init__(self, vectors):
        super().__init__()
        self.vectors = vectors

    def forward(self, batch):
        return self.vectors


def test_they_stand_behind_the_queue_and_are_masked_for_no_row():
    anchors, positives = torch.randn(2, 3, 8)
    queue, mask = torch.randn(4, 8), torch.rand(3, 4) < 0.5
    further = torch.randn(2, 8, requires_grad=True)
    batch = Embedded(anchors, positives, queue=queue, queue_false_negatives=mask)
    added = Given(further).added_to(batch)
    loss = InfoNCE(temperature=0.3)(added)
    terms = []
    for i in range(3):
        near = [torch.cosine_similarity(anchors[i], each, dim=0) / 0.3 for each in positives]
        near += [
            torch.cosine_similarity(anchors[i], queue[j], dim=0) / 0.3
            for j in range(4)
            if not mask[i, j]
        ]
        near += [torch.cosine_similarity(anchors[i], each, dim=0) / 0.3 for each in further]
        terms.append(torch.stack(near).logsumexp(0) - near[i])
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    loss.backward()
    assert further.grad is not None and further.grad.abs().sum() > 0

    alone = Given(further.detach()).added_to(Embedded(anchors, positives))
    assert alone.queue_false_negatives is None
    expected = info_nce(anchors, positives, temperature=0.3, queue=further.detach())
    torch.testing.assert_close(InfoNCE(temperature=0.3)(alone), expected)
    assert Given(torch.zeros(0, 8)).added_to(batch) is batch
    half = Given(further.detach()).added_to(batch.map_embeddings(torch.Tensor.bfloat16))
    assert half.queue.dtype == torch.bfloat16 and len(half.queue) == 6


#: Settings under which an objective looks at all that it says.
LOOKING = {name: {"compared": "pairs"} for name in ("list_net", "list_mle", "similarity_kl")}


@pytest.mark.parametrize("name", part_names("objective"))
def test_an_objective_looks_at_what_it_says_and_at_nothing_else(name):
    torch.manual_seed(1)
    context = Context(width=8, rows=100, steps=4, batch_size=6, classes=3, teacher_widths=(5,))
    part = find_part("objective", name)
    settings = {"clusters": [3]} if part.REFRESHES else LOOKING.get(name, {})
    objective = part(context, **settings)
    if part.REFRESHES:
        objective.refresh(torch.randn(100, 8).numpy(), torch.arange(100).numpy())
    plain = Embedded(
        *torch.randn(2, 6, 8),
        labels=torch.tensor([0, 0, 1, 1, 2, 2]),
        scores=torch.tensor([0.1, 0.9, 0.3, 0.7, 0.5, 0.2]),
        teachers=(torch.randn(6, 3, 5),),
    )
    with_two = replace(plain, teachers=(plain.teachers[0][:, :2],))

    def loss(batch):
        objective.begin_step(1, 4)
        return objective(batch).item()

    there = {
        "queue": replace(with_two, queue=torch.randn(4, 8)),
        "negatives": replace(plain, negatives=torch.randn(6, 1, 8)),
    }
    unseen = loss(with_two)  # but for rounding: prototypes are made unit vectors again each time
    looked_at = {
        name for name, each in there.items() if not math.isclose(loss(each), unseen, rel_tol=1e-5)
    }
    assert math.isfinite(unseen) and looked_at == part.USES
