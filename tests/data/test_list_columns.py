"""Cells that are lists: a row for each positive, with all negatives of its record."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcse_kit.data import Rows, read_rows
from simcse_kit.errors import InputError

BGE = [
    {"query": "q one", "pos": ["p one", "p two"], "neg": ["n one", "n two"], "id": 1},
    {"query": "q two", "pos": ["p three"], "neg": []},
    {"query": "q three", "pos": ["p four"], "neg": ["n three"]},
]
BGE_ROWS = {
    "anchor": ["q one", "q one", "q two", "q three"],
    "positive": ["p one", "p two", "p three", "p four"],
    "negative": ["n one", "n one", "", "n three"],
    "negative_2": ["n two", "n two", "", ""],
}
TEVATRON = {
    "query_id": "7",
    "query": "q",
    "positive_passages": [
        {"docid": "1", "title": "A b", "text": "c"},
        {"docid": "2", "title": "", "text": "d"},
    ],
    "negative_passages": [{"docid": "3", "text": "e"}],
}
TEVATRON_ROWS = {"anchor": ["q", "q"], "positive": ["A b c", "d"], "negative": ["e", "e"]}
PLAIN = {"anchor": ["a", "a"], "positive": ["b", "c"]}

# records -> columns of the rows
READ: dict[str, tuple[list[Any], dict[str, Any], dict[str, list[str]]]] = {
    "BGE": (BGE, {}, BGE_ROWS),
    "Tevatron": ([TEVATRON], {}, TEVATRON_ROWS),
    "DPR": (
        [{"question": "q", "answers": ["x"], "positive_ctxs": [{"title": "T", "text": "p"}],
          "negative_ctxs": [{"text": "m"}], "hard_negative_ctxs": [{"title": "U", "text": "n"}]}],
        {}, {"anchor": ["q"], "positive": ["T p"], "negative": ["m"], "negative_2": ["U n"]},
    ),
    "our own names": (
        [{"anchor": "a", "positive": ["b", "c"], "negative": "n", "negative_2": ["m", "l"]}], {},
        PLAIN | {"negative": ["n", "n"], "negative_2": ["m", "m"], "negative_3": ["l", "l"]},
    ),
    "a text beside lists": ([{"anchor": "a", "positive": "b"}, {"anchor": "a", "positive": ["c"]}],
                            {}, PLAIN),
    "no negatives in some": ([{"query": "a", "pos": ["b"]}, {"query": "a", "pos": ["c"],
                                                             "neg": ["n"]}],
                             {}, PLAIN | {"negative": ["", "n"]}),
    "BGE's further columns": (
        [{"title": "x", "question": "y", "query": "a", "pos": ["b", "c"], "neg": ["n"],
          "pos_scores": [0.5, 1], "neg_scores": [0.1], "pos_id": [1, 2], "neg_id": ["3"],
          "prompt": "z", "type": "symmetric"}],
        {}, PLAIN | {"negative": ["n", "n"]},
    ),
    "none but null": ([{"query": "a", "pos": ["b", "c"], "neg": None}], {}, PLAIN),
    "a text for a list of one": (
        [{"query": "a", "pos": ["b", "c"], "neg": "n"}], {}, PLAIN | {"negative": ["n", "n"]},
    ),
    "lists under our name, a text under another": (
        [{"query": "a", "positive": ["b", "c"], "neg": "n"}], {}, PLAIN | {"negative": ["n", "n"]},
    ),
    "no negatives at all": ([{"query": "a", "pos": ["b", "c"], "neg": []}], {}, PLAIN),
    "arrays": ([["a", ["b", "c"], ["n"]]], {}, PLAIN | {"negative": ["n", "n"]}),
    "mapped": ([{"q": "a", "good": ["b", "c"], "pos": ["x"]}],
               {"columns": {"anchor": "q", "positive": "good"}}, PLAIN),
    "half mapped": ([{"ask": "a", "pos": ["b", "c"]}], {"columns": {"anchor": "ask"}}, PLAIN),
    "mapped by their names": ([{"query": "a", "pos": ["b", "c"], "neg": ["n"]}],
                              {"columns": {"anchor": "query", "positive": "pos"}}, PLAIN),
}  # fmt: skip


def write(folder: Path, records: list[Any], name: str = "a.jsonl") -> Path:
    path = folder / name
    lines = "\n".join(map(json.dumps, records))
    path.write_text(lines if name == "a.jsonl" else json.dumps(records))
    return path


@pytest.mark.parametrize("case", READ)
def test_lists_are_several_positives_and_negatives(tmp_path: Path, case: str) -> None:
    records, options, columns = READ[case]
    rows = read_rows(write(tmp_path, records), **options)
    assert (rows.kind, rows.columns) == ("pairs", columns)
    assert list(rows.columns) == list(columns)


def as_parquet(folder: Path, records: list[Any]) -> Path:
    import pandas as pd

    pd.DataFrame(records).to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def as_dataset(folder: Path, records: list[Any]) -> Path:
    import datasets

    datasets.Dataset.from_list(records).save_to_disk(folder / "saved")
    return folder / "saved"


def as_columns_of_objects(folder: Path, records: list[Any]) -> Path:
    """What `datasets` made of a sequence of objects up to version 3: an object of lists."""
    turned = [
        {
            key: {name: [each.get(name) for each in value] for name in value[0]}
            if isinstance(value, list) and value and isinstance(value[0], dict)
            else value
            for key, value in record.items()
        }
        for record in records
    ]
    return write(folder, turned)


@pytest.mark.parametrize("store", [as_parquet, as_dataset, as_columns_of_objects])
@pytest.mark.parametrize(
    "records, columns", [(BGE, BGE_ROWS), ([TEVATRON], TEVATRON_ROWS)], ids=["BGE", "Tevatron"]
)
def test_wherever_they_are_stored(
    tmp_path: Path, store: Any, records: list[Any], columns: dict[str, list[str]]
) -> None:
    rows = read_rows(store(tmp_path, records))
    assert (rows.kind, rows.columns) == ("pairs", columns)


def places(rows: Rows) -> list[str]:
    return [rows.where(row).removeprefix(rows.source) for row in range(len(rows))]


def test_rows_know_their_record_and_the_log_says_what_became_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "simcse_kit")
    path = write(tmp_path, BGE)
    rows = read_rows(path)
    assert places(rows) == [":1", ":1", ":2", ":3"]
    assert rows.names["anchor"] == "query" and rows.names["negative_2"] == "neg"
    assert (
        "lists of positive and negative: 3 records to a row for each of 4 positives, with all "
        "negatives of the record (0 to 2 a row)"
    ) in caplog.text
    assert caplog.text.count("columns ignored: id") == 1
    rows = read_rows(write(tmp_path, BGE, "a.json"))
    assert places(rows) == [", row 1", ", row 1", ", row 2", ", row 3"]


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1)
_RECORD = st.fixed_dictionaries(
    {"query": _TEXTS, "pos": st.lists(_TEXTS, min_size=1, max_size=3)},
    optional={"neg": st.lists(_TEXTS, max_size=4) | st.none()},
)


@given(st.lists(_RECORD, min_size=1, max_size=6))
def test_nothing_given_is_lost_moved_or_made_up(records: list[dict[str, Any]]) -> None:
    rows = read_rows(records)
    expected = [
        (record["query"], positive, *(record.get("neg") or []))
        for record in records
        for positive in record["pos"]
    ]
    found = [
        tuple(text for text in row if text) for row in zip(*rows.columns.values(), strict=True)
    ]
    assert found == expected
    assert len(rows.columns) == max(map(len, expected))


BAD = {
    "no positive": (
        [{"query": "a", "pos": []}], r":2: positive \(pos\) is \[\]; it must hold text",
    ),
    "null positive": ([{"query": "a", "pos": None}], r":2: positive \(pos\) is empty"),
    "lacking": ([{"query": "a"}], ":2: has no key 'pos'"),
    "blank among them": ([{"query": "a", "pos": ["b", " "]}], r":2: positive \(pos\) is empty"),
    "blank negative": (
        [{"query": "a", "pos": ["b"], "neg": ["n", ""]}], r":2: negative_2 \(neg\) is empty",
    ),
    "numbers": ([{"query": "a", "pos": [3]}], r":2: positive \(pos\) is 3; it must hold text"),
    "ids alone": (
        [{"query": "a", "pos": [{"docid": "7"}]}], r":2: positive \(pos\) is \{'docid': '7'\}",
    ),
    "several anchors": ([{"query": ["a", "b"], "pos": ["c"]}], r":2: anchor \(query\) is \['a', "),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_misfits_are_named(tmp_path: Path, case: str) -> None:
    records, message = BAD[case]
    good = {"query": "q", "pos": ["p"], "neg": ["n"]}
    with pytest.raises(InputError, match=message):
        read_rows(write(tmp_path, [good, *records]))


def test_names_alone_are_not_enough(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give columns=\{'anchor': 'query', 'positive': 'pos'"):
        read_rows(write(tmp_path, [{"query": "a", "pos": "b", "neg": "c"}]))
