"""A setting that several have for a while, in any order of coming and going."""

from __future__ import annotations

import itertools
import logging
from contextlib import ExitStack

import pytest

from simcse_kit.compute import logger_level
from simcse_kit.compute.shared_setting import SharedSetting


def orders(people: int) -> list[tuple[tuple[str, int], ...]]:
    """Every order in which so many come and go, each coming before it goes."""
    steps = [(what, who) for who in range(people) for what in ("in", "out")]
    return [
        order
        for order in itertools.permutations(steps)
        if all(order.index(("in", who)) < order.index(("out", who)) for who in range(people))
    ]


@pytest.mark.parametrize("order", orders(3))
def test_it_is_as_the_last_one_within_wants_and_at_the_end_as_it_was(
    order: tuple[tuple[str, int], ...],
) -> None:
    now = ["the program's"]
    setting = SharedSetting(lambda: now[0], lambda value: now.__setitem__(0, value))
    people, within = [ExitStack() for _ in range(3)], []
    for what, who in order:
        if what == "in":
            people[who].enter_context(setting.held(f"{who}'s"))
            within.append(who)
        else:
            people[who].close()
            within.remove(who)
        assert now == ([f"{within[-1]}'s"] if within else ["the program's"])
        assert setting.chosen == "the program's"
    now[0] = "another"
    with setting.held("mine"):
        assert setting.chosen == "another"
    assert now == ["another"]


def test_it_is_put_back_after_an_error() -> None:
    level = logger_level("of.a.test")
    with pytest.raises(ZeroDivisionError), level.held(logging.ERROR):
        1 / 0  # noqa: B018
    assert logging.getLogger("of.a.test").level == logging.NOTSET


def test_who_quietens_a_logger_within_another_leaves_it_as_that_one_had_it() -> None:
    """A run of a trial says warnings, and saves meanwhile, of which nothing is said."""
    logger = logging.getLogger("of.a.test")
    assert logger_level("of.a.test") is logger_level("of.a.test")
    with logger_level("of.a.test").held(logging.WARNING):
        with logger_level("of.a.test").held(logging.ERROR):
            assert logger.level == logging.ERROR
        assert logger.level == logging.WARNING
    assert logger.level == logging.NOTSET
