"""Products in fp32 where a program lets a GPU round them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from simcse_kit.compute import whole_products
from simcse_kit.corpus import PairFinder, exact

PRODUCTS: Any = torch.backends.cuda.matmul
NEW = hasattr(PRODUCTS, "fp32_precision")
WAYS: dict[str, Callable[[], object]] = {
    "as torch is": lambda: None,
    "TF32, as it was allowed once": lambda: setattr(PRODUCTS, "allow_tf32", True),
    "by a word": lambda: torch.set_float32_matmul_precision("high"),
    "fp32": lambda: setattr(PRODUCTS, "allow_tf32", False),
}
if NEW:
    WAYS["TF32"] = lambda: setattr(PRODUCTS, "fp32_precision", "tf32")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def told() -> Any:
    return PRODUCTS.fp32_precision if NEW else PRODUCTS.allow_tf32


@pytest.mark.parametrize("way", WAYS)
def test_what_the_program_chose_stands_afterwards(way: str) -> None:
    WAYS[way]()
    before = told()
    with pytest.raises(KeyError), whole_products():
        assert told() == ("ieee" if NEW else False)
        raise KeyError
    assert told() == before


def test_threads_that_overlap_leave_what_the_program_chose() -> None:
    """One comes in while another is within, and stays longer."""
    torch.set_float32_matmul_precision("high")
    before, whole = told(), "ieee" if NEW else False
    entered, leave, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with whole_products():
            entered.set()
            leave.wait(10)
            seen.append(told())

    thread = threading.Thread(target=other)
    with whole_products():
        thread.start()
        assert entered.wait(10)
    assert told() == whole  # of the other, who is within still
    leave.set()
    thread.join()
    assert seen == [whole] and told() == before


def test_searches_that_are_exact_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_float32_matmul_precision("high")
    seen: list[Any] = []
    plain = torch.Tensor.__matmul__

    def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen.append(told())
        return plain(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    rows = np.eye(3, 4, dtype=np.float32)
    exact._found_on("cpu", rows, rows, 2, exact.Barred.none(), None, 2)
    [*PairFinder(rows, 0.9, np.arange(3), precision="fp32").block_pairs(0)]
    assert len(seen) == 2 and set(seen) == {"ieee" if NEW else False}
    assert told() in ("tf32", True)
