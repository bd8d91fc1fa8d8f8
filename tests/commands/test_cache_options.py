from __future__ import annotations

import pytest

from simcse_kit.commands.cache_options import bytes_of
from simcse_kit.errors import InputError


@pytest.mark.parametrize(
    ("size", "expected"),
    [("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5G", 15 * 10**8), ("1GiB", 2**30), ("99", 99)],
)
def test_sizes(size, expected):
    assert bytes_of(size) == expected


@pytest.mark.parametrize("size", ["", "GB", "2XB", "-1GB", "2iB", "much"])
def test_what_is_no_size(size):
    with pytest.raises(InputError, match="write it as 500MB or 2GB"):
        bytes_of(size)
