"""What `adapt` is worth: its searches, its statistics, runs that go on, on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.quality import adapt
from eval.quality.adapt import claim, parse, run
from eval.quality.held_out_documents import Domain, searches
from eval.quality.kept_runs import AVERAGE, START
from manuals import page_of
from simcse_kit.data import Rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from training_rows import dev_task

TEXTS = [f"The {a} {b} plays. It sees {b} here. A {a} runs there. So it is." for a, b in zip(
    ("dog", "cat", "man", "boy", "girl", "horse", "bird", "king"),
    ("red", "blue", "old", "new", "big", "small", "fast", "slow"), strict=True)]  # fmt: skip


def domain() -> Domain:
    given = Rows("pairs", {"anchor": TEXTS, "positive": TEXTS[::-1]}, None, None, "given", 0, 0)
    return Domain([f"{text} Number {n} ends." for n, text in enumerate(TEXTS * 2)], TEXTS, given)


def test_two_searches_whose_answers_lack_the_query() -> None:
    found = searches([*TEXTS, "Only one sentence is here.", "One is here. Two is here."])
    queries, texts, own = found["title"]
    assert len(queries) == len(texts) == len(TEXTS) + 1 and own.tolist() == list(range(9))
    assert queries[0] == "The dog red plays." and texts[0].startswith("It sees red here.")
    queries, texts, own = found["middle"]
    assert len(texts) == 9 and len(queries) == len(own) == 8  # two sentences have no middle
    for query, number in zip(queries, own, strict=True):
        assert query in TEXTS[number] and query not in texts[number]
        assert set(f"{query} {texts[number]}".split()) == set(TEXTS[number].split())


def test_runs_are_made_once_and_their_figures_written(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    start.save_pretrained(tmp_path / "start")
    (tmp_path / "general.txt").write_text("\n".join(f"number {n}" for n in range(20)))
    words = [
        *("--model", str(tmp_path / "start"), "--output-dir", str(tmp_path / "runs")),
        *("--variants", "given", "pairs+kept", "all+general", "--seeds", "1", "2"),
        *("--general", str(tmp_path / "general.txt"), "--draws", "200"),
        *("--json", str(tmp_path / "adapt.json"), "--set", "use_cpu=true", "max_steps=1"),
        *("per_device_train_batch_size=4", f"cache_dir={tmp_path / 'cache'}"),
    ]
    mine = adapt.NEAREST
    monkeypatch.setattr(adapt, "NEAREST", type(mine)(num_negatives=1))  # a random model's cosines
    figures = run(parse(words), domain=domain(), suite=[dev_task()])
    assert set(figures["summary"]) == {START, "given", "pairs+kept", "all+general"}
    assert {"title recall@1", "middle recall@1", AVERAGE} <= set(figures["summary"]["given"])
    stored = json.loads((tmp_path / "adapt.json").read_text())
    assert stored["claim"] == claim(figures) and stored["made"]["command"]
    folder = tmp_path / "runs" / "docstrings"
    assert not [path for path in folder.iterdir() if path.is_dir()]  # models went

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it is finished")

    monkeypatch.setattr(adapt, "trained", never)
    again = run(parse(words), domain=domain(), suite=[dev_task()])
    assert again["summary"] == figures["summary"]
    with pytest.raises(InputError, match="runs of other settings or texts"):
        run(parse([*words, "learning_rate=1"]), domain=domain(), suite=[dev_task()])


PAGE = r"""'\" t
.TH CP 1
.SH NAME
cp \- copy files and directories
.SH DESCRIPTION
.\" a comment
Copy \fISOURCE\fR to DEST, or many to
.B a directory
that is there.
.PP
It takes care of links, and keeps what it is told to keep\-alive.
.TP
\fB\-a\fR
same as all
.SH AUTHOR
Somebody.
"""


def test_a_manual_page_is_its_name_and_the_prose_it_begins_with() -> None:
    found = page_of("cp-all", PAGE)
    assert found is not None and found.family == "cp"
    assert found.text == (
        "Copy files and directories\n\nCopy SOURCE to DEST, or many to a directory that is there."
        "\n\nIt takes care of links, and keeps what it is told to keep-alive."
    )
    assert page_of("cp", PAGE.replace(".SH DESCRIPTION", ".SH OTHER")) is None
    assert page_of("cp", ".so man1/other.1\n") is None


def test_a_variant_of_other_texts_needs_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--output-dir", "x", "--json", "y", "--variants", "all+general"])
    assert "needs --general FILE" in capsys.readouterr().err
