"""The contrastive loss in all its forms, as loops over texts written from the papers' formulas."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from simcse_kit.objectives import Embedded
from simcse_kit.objectives.draws import BatchDraws


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.pow(2).sum().sqrt() * b.pow(2).sum().sqrt())


class Loop:
    """Of a float64 batch and the settings that differ from the defaults.

    A candidate is (vector, whether it is left out, weight).
    """

    def __init__(
        self, batch: Embedded, temperature: float | Tensor = 0.05, **settings: Any
    ) -> None:
        self.batch = batch
        self.tau = temperature
        self.of: dict[str, Any] = {
            "hard_negative_weight": 1.0,
            "negatives": "positives",
            "symmetric": False,
            "same_side": False,
            "decoupled": False,
            "margin": 0.0,
            "focal": 0.0,
            "self_paced": None,
            "debiased": 0.0,
            "hardness": 0.0,
            "mixed": 0.0,
            "gaussian": 0,
            "threshold": None,
            "guide_margin": None,
            "guide_relative": False,
            "guide_threshold": None,
            "adaptive_temperature": 0.0,
            "adaptive_to": "negatives",
            "adaptive_origin": 0.0,
        } | settings
        noise = (self.of["gaussian"], batch.anchors.shape[1])
        self.noise = torch.randn(noise, generator=BatchDraws(0).next()).double()
        if self.of["adaptive_to"] == "alignment":
            pairs = zip(batch.anchors, batch.positives, strict=True)
            aligned = sum(cosine(a, p).item() for a, p in pairs) / len(batch.anchors)
            self.tau = self.adapted(aligned)
            self.of["adaptive_temperature"] = 0.0

    def adapted(self, by: float) -> float | Tensor:
        k, origin = self.of["adaptive_temperature"], self.of["adaptive_origin"]
        return self.tau * max(0.1, 1 + k * (by - origin))

    # -- which texts

    def by_guide(self, i: int, side: int, j: int, view: int) -> bool:
        """Whether the guide takes text (j, view) for no negative of text (i, side)."""
        guide = self.batch.guide
        margin, least = self.of["guide_margin"], self.of["guide_threshold"]
        if guide is None or (margin is None and least is None):
            return False
        found = cosine(guide[i, side], guide[j, view]).item()
        positive = cosine(guide[i, 0], guide[i, 1]).item()
        bar = math.inf
        if margin is not None:
            bar = positive - margin * (abs(positive) if self.of["guide_relative"] else 1)
        return found > bar or (least is not None and found >= least)

    def masked(self, name: str, i: int, column: int) -> bool:
        mask = getattr(self.batch, name)
        return mask is not None and column < mask.shape[1] and bool(mask[i, column])

    def same_text(self, i: int, side: int, j: int, view: int) -> bool:
        """By the masks of the batch: is text (j, view) no negative of text (i, side)?"""
        if (side, view) == (0, 1):
            return self.masked("false_negatives", i, j)
        if (side, view) == (0, 0):
            return self.masked("between_anchors", i, j)
        if (side, view) == (1, 0):
            return self.masked("false_negatives", j, i) or self.masked("between_anchors", i, j)
        return self.masked("false_negatives", i, j) or self.masked("false_negatives", j, i)

    def others(self, i: int, side: int, view: int) -> list[tuple[Tensor, bool, float]]:
        texts = self.batch.positives if view else self.batch.anchors
        return [
            (
                texts[j],
                self.same_text(i, side, j, view) or self.by_guide(i, side, j, view),
                1.0,
            )
            for j in range(len(texts))
            if j != i
        ]

    def given(self, i: int, side: int) -> list[tuple[Tensor, bool, float]]:
        if self.batch.negatives is None:
            return []
        rows, k = self.batch.negatives.shape[:2]
        return [
            (
                self.batch.negatives[j, n],
                self.masked("false_negatives", i, rows + j * k + n)
                or self.by_guide(i, side, j, 2 + n),
                self.of["hard_negative_weight"] if j == i else 1.0,
            )
            for j in range(rows)
            for n in range(k)
        ]

    def further(self, i: int) -> list[tuple[Tensor, bool, float]]:
        keys = () if self.batch.queue is None else self.batch.queue
        queue = [
            (key, self.masked("queue_false_negatives", i, q), 1.0) for q, key in enumerate(keys)
        ]
        return queue + [(vector, False, 1.0) for vector in self.noise]

    # -- the loss

    def loss(self) -> Tensor:
        terms = []
        for i in range(len(self.batch.anchors)):
            forward = self.others(i, 0, 1) + self.given(i, 0) + self.further(i)
            if self.of["negatives"] == "all":
                back = self.others(i, 1, 0) + self.given(i, 1) + self.further(i)
                terms.append(self.term(i, 0, forward + self.others(i, 0, 0)))
                terms.append(self.term(i, 1, back + self.others(i, 1, 1)))
                continue
            if self.of["same_side"]:
                own = self.batch.positives[i]  # which these are compared with, not the anchor
                beside = [(*each, own) for each in self.others(i, 1, 1)]
                forward = forward + self.others(i, 0, 0) + beside
            terms.append(self.term(i, 0, forward))
            if self.of["symmetric"]:
                terms.append(self.term(i, 1, self.others(i, 1, 0)))
        counted = [term for term in terms if term is not None]
        nothing = 0 * self.batch.anchors.sum() + 0 * self.batch.positives.sum()
        if self.batch.negatives is not None:
            nothing = nothing + 0 * self.batch.negatives.sum()
        return sum(counted, nothing) / max(1, len(counted))

    def term(self, i: int, side: int, candidates: list) -> Tensor | None:
        views = (self.batch.anchors, self.batch.positives)
        anchor, positives = views[side][i], views[1 - side]
        rows = len(positives)
        negatives = []
        for vector, left_out, weight, *other in candidates:
            found = cosine(other[0] if other else anchor, vector)
            if left_out or (self.of["threshold"] is not None and found > self.of["threshold"]):
                continue
            negatives.append((found, weight))
        j = (i + 1) % rows
        if self.of["mixed"] and j != i:
            others = [k for k in range(rows) if k != i]
            vector, left_out, _ = candidates[others.index(j)]
            close = (
                self.of["threshold"] is not None and cosine(anchor, vector) > self.of["threshold"]
            )
            if not left_out and not close:
                share = self.of["mixed"]
                own, other = (x / x.pow(2).sum().sqrt() for x in (positives[i], positives[j]))
                mix = (share * own + (1 - share) * other).detach()
                negatives.append((cosine(anchor, mix), 1.0))
        if not negatives:
            return None if self.of["decoupled"] else torch.zeros((), dtype=torch.float64)
        return self.of_cosines(cosine(anchor, positives[i]), negatives)

    def of_cosines(self, positive: Tensor, negatives: list[tuple[Tensor, float]]) -> Tensor:
        tau = self.tau
        if self.of["adaptive_temperature"]:
            fixed = float(tau)
            force = [math.exp(s.item() / fixed) for s, _ in negatives]
            hard = sum(f * s.item() for f, (s, _) in zip(force, negatives, strict=True))
            tau = self.adapted(hard / sum(force))
        m = self.of["self_paced"]
        if m is not None:
            positive = positive * positive
            negatives = [(s * (s + m), weight) for s, weight in negatives]
        if self.of["margin"]:
            positive = torch.cos(torch.acos(positive) + math.radians(self.of["margin"]))
        own = torch.exp(positive / tau)
        each = [weight * torch.exp(s / tau) for s, weight in negatives]
        n, beta = len(each), self.of["hardness"]
        weights = [e**beta for e in each]
        mean = sum(weights) / n
        total = sum(w * e for w, e in zip(weights, each, strict=True)) / mean
        prior = self.of["debiased"]
        if prior:
            total = (total - n * prior * own) / (1 - prior)
            least = n * torch.exp(-torch.ones((), dtype=torch.float64) / tau)
            total = total if total > least else least
        if self.of["decoupled"]:
            return -torch.log(own / total)
        p = own / (own + total)
        return -((1 - p) ** self.of["focal"]) * torch.log(p)
