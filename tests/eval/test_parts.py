"""What each part costs: the settings are real, and a part is compared within its round."""

from __future__ import annotations

import pytest

from eval.speed.parts import PARTS, PLAIN, chosen, claim, costs
from eval.speed.turns import Turn
from simcse_kit.training import build_config


@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_a_method_other_than_plain(name):
    of_part, plain = (
        build_config(None, ["pooling=mean", "head=none", *PARTS[each].settings])
        for each in (name, PLAIN)
    )
    assert (of_part == plain) == (name == PLAIN)
    assert PARTS[name].over in PARTS


def test_a_round_is_compared_with_itself():
    sides = chosen(["queue of 4,096"])
    assert list(sides) == [PLAIN, "momentum encoder", "queue of 4,096"]
    seconds = {PLAIN: [1, 10, 2], "momentum encoder": [2, 15, 4], "queue of 4,096": [2, 30, 4]}
    turns = {name: [Turn(each, 64) for each in times] for name, times in seconds.items()}
    momentum, queue = costs(sides, turns)
    assert momentum["cost"] == {"median": 2, "min": 1.5, "max": 2, "rounds": [2, 1.5, 2]}
    assert queue["over"] == "momentum encoder" and queue["cost"]["rounds"] == [1, 2, 1]
    assert "momentum encoder 2.00×, queue of 4,096 1.00× (of the momentum encoder)" in claim(
        [momentum, queue], "bf16"
    )
