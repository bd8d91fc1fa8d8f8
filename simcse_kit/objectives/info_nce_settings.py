"""Settings of InfoNCE and its kin, and which of them do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from simcse_kit.errors import key_error
from simcse_kit.objectives.temperature import LEAST_LEARNED, Schedule
from simcse_kit.parts import Float, Int, PartSettings


class ContrastSettings(PartSettings):
    """The defaults are SimCSE's."""

    temperature: Float = Field(
        0.05,
        gt=0,
        description="Cosines are divided by it. Lower weighs the nearest negatives more; "
        "higher forgives negatives that are none.",
    )
    learn_temperature: bool = Field(
        False, description="Learn ln(1/temperature), from that value on; at least 0.01 (CLIP)."
    )
    final_temperature: Float | None = Field(
        None, gt=0, description="Temperature of the last step, which it goes to from the first."
    )
    temperature_schedule: Schedule = Field(
        "linear", description="How it goes there: linear or cosine."
    )
    adaptive_temperature: Float = Field(
        0.0,
        ge=0,
        description="k of temperature · (1 + k (A − adaptive_origin)): softer where A is "
        "large. MACL: 0.5 to 1 with adaptive_to=alignment.",
    )
    adaptive_to: Literal["negatives", "alignment"] = Field(
        "negatives",
        description="A: each row's mean cosine with its negatives, as its gradient weighs "
        "them; or the batch's mean cosine of positives (MACL).",
    )
    adaptive_origin: Float = Field(0.0, ge=-1, le=1, description="A at which k does nothing.")
    hard_negative_weight: Float = Field(
        1.0, gt=0, description="Weight of a row's own given hard negatives."
    )
    negatives: Literal["positives", "all"] = Field(
        "positives",
        description="Anchors against the other rows' positives (SimCSE); all: both views of a "
        "row against every other text of the batch (SimCLR's NT-Xent).",
    )
    symmetric: bool = Field(
        False,
        description="Also positives against the other rows' anchors, averaged with the rest "
        "(CLIP): for pairs of two kinds, such as question and answer.",
    )
    same_side: bool = Field(
        False,
        description="Also in each anchor's sum: its cosines with the other anchors, and its "
        "positive's with the other positives (GISTEmbed).",
    )
    decoupled: bool = Field(
        False,
        description="Leave the positive out of the denominator (DCL). The loss may be below 0.",
    )
    margin: Float = Field(
        0.0,
        ge=0,
        le=90,
        description="Degrees added to the angle of a positive pair (ArcCSE: 10).",
    )
    focal: Float = Field(
        0.0, ge=0, le=10, description="γ: rows weigh (1 − p)^γ, those learnt little."
    )
    self_paced: Float | None = Field(
        None,
        ge=0,
        le=2,
        description="m: cosines are s·s of positives and s·(s + m) of negatives "
        "(Focal-InfoNCE: 0.2 to 0.4).",
    )
    debiased: Float = Field(
        0.0,
        ge=0,
        lt=1,
        description="t⁺: how likely another row is in truth a positive; so much is taken off "
        "the negatives' sum. Published for a temperature of 0.5 (0.1 with ten classes): at 0.05 "
        "a close positive outweighs the sum, and nothing is left to learn from.",
    )
    hardness: Float = Field(
        0.0, ge=0, le=100, description="β: negatives weigh exp(β · logit), in the mean 1 (HCL)."
    )
    mixed: Float = Field(
        0.0,
        ge=0,
        lt=1,
        description="λ: each row gets a hard negative made of λ its positive and 1 − λ "
        "another row's (MixCSE: 0.2). 0: none.",
    )
    gaussian: Int = Field(
        0,
        ge=0,
        description="Random directions that are negatives of every row, drawn anew each step "
        "(GS-InfoNCE: two or three times the batch; of what variance does not matter to a "
        "cosine).",
    )
    threshold: Float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Candidates whose cosine with the anchor is above it are no negatives.",
    )
    guide_margin: Float | None = Field(
        None,
        ge=-2,
        le=2,
        description="Candidates closer to the anchor than its positive less this margin, by "
        "the guide model's cosines, are no negatives (GISTEmbed: 0).",
    )
    guide_relative: bool = Field(
        False, description="guide_margin is a share of the positive's cosine."
    )
    guide_threshold: Float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Candidates whose cosine with the anchor is at least this by the guide "
        "model are no negatives (DCLR: 0.9).",
    )

    @model_validator(mode="after")
    def _agree(self) -> ContrastSettings:
        for is_wrong, key, sentence in _disagreements(self):
            if is_wrong:
                raise key_error(key, f"{key} {sentence}")
        return self

    def is_plain(self) -> bool:
        """Whether the loss is `info_nce`, of some temperature that all rows have in common."""
        changed = {
            name
            for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        }
        by_row = self.adaptive_temperature > 0 and self.adaptive_to == "negatives"
        return changed <= _OF_PLAIN and not by_row


#: What may be set, and the loss is `info_nce` still.
_OF_PLAIN = {
    "temperature",
    "learn_temperature",
    "final_temperature",
    "temperature_schedule",
    "adaptive_temperature",
    "adaptive_to",
    "adaptive_origin",
    "hard_negative_weight",
}


def _disagreements(own: ContrastSettings) -> Iterator[tuple[bool, str, str]]:
    """What does not go together: whether it is so, which setting to change, and why."""
    yield (
        own.learn_temperature and own.final_temperature is not None,
        "final_temperature",
        "and learn_temperature each decide the temperature; set one of them",
    )
    yield (
        own.learn_temperature and own.temperature < LEAST_LEARNED,
        "temperature",
        f"is learned with learn_temperature, which keeps it at {LEAST_LEARNED} or more; "
        f"{own.temperature} is less",
    )
    yield (
        own.temperature_schedule != "linear" and own.final_temperature is None,
        "temperature_schedule",
        "says how the temperature goes to final_temperature; set that, too",
    )
    yield (
        not own.adaptive_temperature and (own.adaptive_to, own.adaptive_origin) != ("negatives", 0),
        "adaptive_temperature",
        "is 0, so adaptive_to and adaptive_origin do nothing; set it, or leave them out",
    )
    yield (
        own.symmetric and own.negatives == "all",
        "symmetric",
        "is one of the directions that negatives=all takes already; leave one of them out",
    )
    yield (
        own.same_side and own.negatives == "all",
        "same_side",
        "adds pairs that negatives=all has already; leave one of them out",
    )
    yield (
        own.decoupled and own.focal > 0,
        "focal",
        "weighs by the positive's probability, and without the positive in the denominator "
        "(decoupled) there is none; leave one of them out",
    )
    yield (
        own.self_paced is not None and own.margin > 0,
        "margin",
        "is added to the angle of a cosine, and self_paced puts its square in its place; leave "
        "one of them out",
    )
    yield (
        own.self_paced is not None and (own.debiased > 0 or own.hardness > 0),
        "self_paced",
        "weighs negatives by their own cosines, which debiased and hardness do, too, from cosines "
        "as they are; leave it or them out",
    )
    yield (
        own.debiased > 0 and (own.mixed > 0 or own.gaussian > 0),
        "debiased",
        "takes negatives for draws of the data, and mixed and gaussian make them up; leave it or "
        "them out",
    )
    yield (
        own.guide_relative and own.guide_margin is None,
        "guide_relative",
        "is about guide_margin, which is not set; set it, or leave guide_relative out",
    )
