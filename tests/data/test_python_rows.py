"""Rows that a program holds, against the same rows in a file."""

from __future__ import annotations

import json
import warnings
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from simcse_kit.data import Rows, read_rows
from simcse_kit.errors import InputError

RECORDS = [
    {"anchor": "a one", "positive": "b one", "id": 7},
    {"anchor": "a two", "positive": "b two", "id": 8},
]
LISTS = [
    {"query": "q one", "pos": ["p one", "p two"], "neg": ["n one"]},
    {"query": "q two", "pos": ["p three"], "neg": []},
]


class Pair(NamedTuple):
    anchor: str
    positive: str


def in_a_file(records: list[Any], folder: Path) -> Rows:
    path = folder / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    return read_rows(path)


def formatted(form: str, records: list[Any]) -> Any:
    return datasets.Dataset.from_list(records).with_format(form)


FORMS = {
    "list": lambda records: records,
    "generator": lambda records: (record for record in records),
    "deque": deque,
    "Dataset": datasets.Dataset.from_list,
    "iterable Dataset": lambda records: datasets.Dataset.from_list(records).to_iterable_dataset(),
    "DatasetDict": lambda r: datasets.DatasetDict(train=datasets.Dataset.from_list(r)),
    **{
        f"Dataset of {form}": partial(formatted, form)
        for form in ("numpy", "torch", "pandas", "arrow")
    },
    "DatasetDict of numpy": lambda r: datasets.DatasetDict(train=formatted("numpy", r)),
    "pyarrow": pa.Table.from_pylist,
    "DataFrame": pd.DataFrame,
    "an index of its own": lambda records: pd.DataFrame(records, index=[5, 5]),
    "columns": lambda records: {name: [each[name] for each in records] for name in records[0]},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("records", [RECORDS, LISTS], ids=["pairs", "lists"])
def test_rows_are_those_of_a_file(tmp_path: Path, form: str, records: list[Any]) -> None:
    rows, expected = read_rows(FORMS[form](records)), in_a_file(records, tmp_path)
    assert (rows.kind, rows.columns, rows.names) == (
        expected.kind,
        expected.columns,
        expected.names,
    )


@pytest.mark.parametrize(
    "texts",
    [["A b", "C"], ("A b", "C"), iter(["A b", "C"]), {"A b": 1, "C": 2}.keys(),
     np.array(["A b", "C"]), list(np.array(["A b", "C"])), pa.array(["A b", "C"]),
     formatted("numpy", [{"text": "A b"}, {"text": "C"}])["text"],
     formatted("torch", [{"text": "A b"}, {"text": "C"}])["text"],
     pd.Series(["A b", "C"], index=[3, 1]), {"text": ["A b", "C"]}],
    ids=lambda texts: type(texts).__name__,
)  # fmt: skip
def test_texts(texts: Any) -> None:
    rows = read_rows(texts)
    assert (rows.kind, rows.columns) == ("text", {"text": ["A b", "C"]})
    assert {type(text) for text in rows.columns["text"]} == {str}


def test_tuples_go_by_position_and_columns_can_be_mapped() -> None:
    for pairs in ([("a", "b"), ("c", "d")], [Pair("a", "b"), Pair("c", "d")]):
        assert read_rows(pairs).columns == {"anchor": ["a", "c"], "positive": ["b", "d"]}
    frame = pd.DataFrame({"ask": ["a"], "say": ["b"], 3: ["x"]})
    rows = read_rows(frame, columns={"anchor": "ask", "positive": "say"})
    assert rows.columns == {"anchor": ["a"], "positive": ["b"]}
    classes = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    held = datasets.Dataset.from_dict({"text": ["A", "B"], "label": [1, 0]}, features=classes)
    for form in (None, "numpy", "torch", "pandas", "arrow"):
        assert read_rows(held.with_format(form)).labels == ["yes", "no"]
    loud = held.with_transform(lambda rows: {**rows, "text": [t.lower() for t in rows["text"]]})
    assert read_rows(loud).columns == {"text": ["a", "b"]}  # what a user makes of them stays


def test_what_pandas_calls_missing_is_a_blank_text() -> None:
    for missing in (None, float("nan"), pd.NA):
        rows = read_rows(pd.DataFrame({"text": ["A", missing, "B"]}))
        assert (rows.columns, rows.blank) == ({"text": ["A", "B"]}, 1)
        assert rows.where(1) == "the DataFrame given, row 3"


BAD = {
    "a set": ({"a", "b"}, r"^the set given: has no order; give a path, a list of texts"),
    "a number": (7, r"^the int given: holds no rows; give a path"),
    "nothing": ([], r"^the list given: holds no rows"),
    "an empty frame": (pd.DataFrame({"text": []}), r"^the DataFrame given: holds no rows"),
    "unequal columns": (
        {"anchor": ["a"], "positive": []}, r"columns differ in length \(anchor 1, positive 0\)",
    ),
    "a text for a column": ({"text": "abc"}, r"the dict given: text is 'abc', not a list of such"),
    "not all texts": (["a", 3], r"^the list given, row 2: text is 3; it must hold text"),
    "a text among records": ([{"text": "a"}, "b"], r"^the list given, row 2: is a string, not an"),
    "empty": ([("a", "b"), ("c", "")], r"^the list given, row 2: positive \(column 2\) is empty"),
    "no such split": (
        datasets.DatasetDict(test=datasets.Dataset.from_list(RECORDS)),
        "the DatasetDict given: has no split 'train'; it has test",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_misfits_are_named(case: str) -> None:
    given, message = BAD[case]
    with pytest.raises(InputError, match=message), warnings.catch_warnings():
        warnings.simplefilter("error")
        read_rows(given)
