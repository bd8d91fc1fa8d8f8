"""How scripts end: the exit code, and one sentence."""

from __future__ import annotations

import pytest

from eval.ending import ending
from simcse_kit.errors import InputError


def test_mistakes_and_ctrl_c_are_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise InputError("there is no such file")

    def stopped() -> None:
        raise KeyboardInterrupt("plain, seed 44 was interrupted")

    assert ending(lambda: 5) == 0 and capsys.readouterr().err == ""
    assert ending(wrong) == 2
    assert capsys.readouterr().err == "error: there is no such file\n"
    assert ending(stopped) == 130
    assert capsys.readouterr().err == "plain, seed 44 was interrupted; the same command goes on\n"
    with pytest.raises(ValueError, match="a fault of ours"):
        ending(lambda: int("a fault of ours"))
