"""Protocols and published tables: data that must agree with itself and with the evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from mini_senteval import MINI, BagOfWords, build_tree
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.protocols import (
    PROTOCOLS,
    ProtocolName,
    departures,
    legend,
    protocol,
    protocol_of,
)
from simcse_kit.evaluation.sts.published import PUBLISHED_ROWS, nearest_encoder, published
from simcse_kit.evaluation.sts.suite import SUITE, evaluate, load_tasks


def test_every_name_is_a_protocol_of_seven_tasks_and_says_what_it_is() -> None:
    assert tuple(PROTOCOLS) == get_args(ProtocolName)
    for name, one in PROTOCOLS.items():
        assert one.name == name and len(one.suite) == 7
        assert one.aggregation in name or name == "mteb"
    lines = legend()
    assert len(lines) == 4 and "9,927" in lines[3] and "4,927" in lines[0]
    with pytest.raises(InputError, match="no protocol 'sum': choose one of senteval-all, mean"):
        protocol("sum")


@pytest.mark.parametrize("name", get_args(ProtocolName))
def test_a_result_knows_its_protocol_and_where_it_departs(tmp_path: Path, name: str) -> None:
    one = protocol(name)
    tasks = load_tasks(build_tree(tmp_path), one.suite, counts=MINI)
    measured = evaluate(BagOfWords(), tasks, aggregation=one.aggregation).protocol
    assert protocol_of(measured) is one
    assert protocol_of(measured | {"name": "mteb"}) is PROTOCOLS["mteb"]
    # The miniature data are lower-cased, as SentEval's are.
    said = departures(measured)
    assert [("lower-cased" in sentence) for sentence in said] == ([True] if name == "mteb" else [])


def test_the_other_sick_is_named(tmp_path: Path) -> None:
    tasks = load_tasks(build_tree(tmp_path), ["STSB", "SICKR-MTEB"], counts=MINI)
    measured = evaluate(BagOfWords(), tasks).protocol | {"name": "senteval-all"}
    assert departures(measured) == ["SICKR-MTEB is not the SICK-R of senteval-all, which is SICKR."]


def test_published_rows_add_up_and_name_their_source() -> None:
    for row in PUBLISHED_ROWS:
        assert row.protocol in PROTOCOLS
        assert "2104.08821" in row.source or row.source.startswith("princeton-nlp/SimCSE")
        if row.scores:
            assert tuple(row.scores) == SUITE
            assert row.average == pytest.approx(np.mean(list(row.scores.values())), abs=0.011)


def test_the_papers_table_is_whole() -> None:
    rows = {(row.method, row.encoder): row.average for row in published("senteval-all")}
    assert rows["first-last", "bert-base"] == 56.70
    for method, averages in (
        ("unsup", (76.25, 78.41, 76.57, 78.90)),
        ("sup", (81.57, 82.21, 82.52, 83.76)),
    ):
        kinds = ("bert-base", "bert-large", "roberta-base", "roberta-large")
        assert tuple(rows[method, kind] for kind in kinds) == averages
    assert [row.average for row in published("wmean")] == [63.69, 76.46, 80.41]
    assert published("mteb") == published("mean") == ()
    assert {row.encoder for row in published("senteval-all", "roberta-large")} == {"roberta-large"}


def test_an_encoder_stands_beside_its_like() -> None:
    assert nearest_encoder("bert", 384) == "bert-base"
    assert nearest_encoder("xlm-roberta", 1024) == "roberta-large"
    assert nearest_encoder("mpnet", 768) == "bert-base"
