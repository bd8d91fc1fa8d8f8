"""A dev set out of the training rows: what is held out, what it scores, and training with it."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

from simcse_kit.data.rows import Rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.dev import HeldOutPairs
from simcse_kit.training.rows import batches as training
from simcse_kit.training.rows.held_out import hold_out
from simcse_kit.training.run import train
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.seeds import train_seeds
from training_rows import assert_same, config, dev_task, pair_rows, text_rows, weights


def pairs(*rows: tuple[str, ...]) -> Rows:
    names = ("anchor", "positive", "negative")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=False))
    return Rows("pairs", columns, None, None, "pairs.csv", 0, 0)


def linked(count: int, width: int) -> Rows:
    """`count` rows in groups of `width` that share an anchor or, through it, a positive."""
    return pairs(*[(f"q{i // width}", f"a{i}", f"n{i}") for i in range(count)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("size", "held"), [(0.2, 12), (13, 13), (30.0, 30)])
def test_rows_are_held_out_whole_and_share_no_text(seed, size, held):
    rows = linked(60, 1)
    kept, out = hold_out(rows, size, seed)
    assert (len(kept), len(out)) == (60 - held, held)
    both = [list(zip(*part.columns.values(), strict=True)) for part in (kept, out)]
    assert sorted(both[0] + both[1]) == sorted(zip(*rows.columns.values(), strict=True))
    assert both[0] == sorted(both[0], key=lambda row: int(row[0][1:])), "order is kept"
    again = hold_out(rows, size, seed)
    assert [part.columns for part in again] == [kept.columns, out.columns]
    assert hold_out(rows, size, seed + 1)[1].columns != out.columns


def test_negatives_that_rows_lack_do_not_link_them():
    rows = linked(40, 1)
    rows.columns["negative"][:] = [""] * 39 + ["n"]
    kept, out = hold_out(rows, 0.25, 0)
    assert (len(kept), len(out)) == (30, 10)
    assert [rows.where(int(kept.numbers[i])) for i in range(30)] == list(map(kept.where, range(30)))
    assert "" not in HeldOutPairs(out).texts


@pytest.mark.parametrize("seed", range(5))
def test_mined_negatives_do_not_keep_rows_together(seed, caplog):
    """One negative in all rows, and others that are positives or anchors of other rows."""
    caplog.set_level(logging.INFO, "simcse_kit")
    rows = linked(40, 2)
    rows.columns["negative"][:] = [f"a{39 - i}" if i % 3 else f"q{i // 4}" for i in range(40)]
    rows.columns["negative_2"] = ["of all"] * 40
    kept, out = hold_out(rows, 0.25, seed)
    assert (len(kept), len(out)) == (30, 10)
    assert not (set(kept.texts()) & set(out.texts())) - {""}
    given = list(zip(*rows.columns.values(), strict=True))
    for part, other in ((kept, out), (out, kept)):
        positives = {*other.columns["anchor"], *other.columns["positive"]}
        positives |= set(other.texts()) if part is out else set()
        for row, found in enumerate(zip(*part.columns.values(), strict=True)):
            whole = given[part.numbers[row]]
            assert found[:2] == whole[:2]
            assert found[2:] == tuple("" if text in positives else text for text in whole[2:])
    lost = sum(text == "" for column in list(kept.columns.values())[2:] for text in column)
    assert f"; {lost} hard negatives are left out of training" in caplog.text


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_share_a_text_stay_on_one_side(seed):
    # groups of four by their anchors; two of these groups are joined by a negative that is a
    # positive elsewhere, and one by an anchor that is a positive
    rows = linked(40, 4)
    rows.columns["negative"][0] = "a39"
    rows.columns["positive"][8] = "q3"
    kept, out = hold_out(rows, 0.3, seed)
    assert 3 <= len(out) <= 12
    assert not set(kept.texts()) & set(out.texts())
    assert len(kept) + len(out) == 40


def test_what_cannot_be_held_out_is_refused(caplog):
    with pytest.raises(InputError, match="text rows have none; give a dev set"):
        hold_out(text_rows(), 0.1, 0)
    for size in (0.01, 40, 2, 100):
        with pytest.raises(InputError, match="of 40 rows; hold out 3 or more"):
            hold_out(linked(40, 1), size, 0)
    with pytest.raises(InputError, match="40 of 40 rows are linked by texts they share"):
        hold_out(linked(40, 40), 0.2, 0)
    kept, out = hold_out(linked(40, 4), 7, 0)
    assert (len(kept), len(out)) == (36, 4) and "4 rows are held out, not 7" in caplog.text


class Known:
    """An encoder of texts whose vectors are given."""

    def __init__(self, **vectors: list[float]) -> None:
        self.vectors = vectors

    def encode(self, texts):
        return np.array([self.vectors[text] for text in texts], dtype=np.float32)


def test_figures_equal_a_count_by_hand():
    rows = pairs(("q1", "a1", "n1"), ("q2", "a2", "n2"), ("q2", "a3", "n1"), ("q1", "a1", "n2"))
    dev = HeldOutPairs(rows)
    assert len(dev) == 4 and dev.figure == "eval_recall@1"
    east, north, west, south_west = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-0.5, -0.5]
    near_east, near_north = [0.9, 0.1], [0.1, 0.9]
    # q1 finds a1 first; q2 finds n1 first, then a2, and a3 last of its five candidates
    found = dev.score(
        Known(q1=east, a1=near_east, q2=north, n1=near_north, a2=[0.5, 0.5], a3=west, n2=south_west)
    )
    # q1: 1 of 1 at the first place; q2: 0 of 2 there, its first at place 2
    assert found["eval_recall@1"] == pytest.approx(50.0)
    assert found["eval_mrr"] == pytest.approx(100 * (1 + 1 / 2) / 2)
    table = dev.table("mine")
    assert "| mine | 50.00 (" in table and "2 anchors, each among 5 texts, of 4 pairs" in table


def test_an_anchor_does_not_find_itself_among_the_positives():
    there_and_back = pairs(("q1", "a1"), ("a1", "q1"), ("q2", "a2"), ("a2", "q2"), ("x", "x"))
    vectors = {"q1": [1.0, 0.1], "a1": [1.0, 0.2], "q2": [0.1, 1.0], "a2": [0.2, 1.0]}
    dev = HeldOutPairs(there_and_back)
    assert dev.score(Known(**vectors, x=[-1.0, 0.0]))["eval_recall@1"] == 100
    # and what is another's positive still counts: a1 takes a2's place before q2
    vectors["a1"] = [0.15, 1.0]
    assert dev.score(Known(**vectors, x=[-1.0, 0.0]))["eval_recall@1"] == pytest.approx(20)


def test_a_collapsed_space_finds_nothing():
    dev = HeldOutPairs(linked(5, 1))
    same = {text: [1.0, 0.0] for text in linked(5, 1).texts()}
    assert dev.score(Known(**same))["eval_recall@1"] == 0


@pytest.fixture
def _no_pictures(monkeypatch):
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


@pytest.mark.usefixtures("_no_pictures")
def test_held_out_rows_choose_the_step_and_are_never_trained_on(
    tiny_encoder, tmp_path, monkeypatch
):
    rows = pair_rows(40, negatives=True)
    seen: list[str] = []
    build = training.TokenStore.build

    def recorded(texts, *args, **kwargs):
        if "cache_dir" in kwargs:  # and not what is embedded to be judged
            seen.extend(texts)
        return build(texts, *args, **kwargs)

    monkeypatch.setattr(training.TokenStore, "build", recorded)
    settings = config(tmp_path, eval_split=0.2, num_train_epochs=2, learning_rate=1e-2)
    whole = train(tiny_encoder("bert"), rows, settings, tmp_path / "whole")
    _, out = hold_out(rows, 0.2, 0)
    assert not set(seen) & set(out.texts())
    assert set(seen) | set(out.texts()) == set(rows.texts())
    scores = {e["step"]: e["eval_recall@1"] for e in whole.history if "eval_recall@1" in e}
    assert set(scores) == {0, 2, 4, 6, 8} and whole.best_score == max(scores.values())
    assert whole.dev == "held-out pairs recall@1" and scores[whole.best_step] == whole.best_score
    chosen = SentenceEncoder.from_pretrained(tmp_path / "whole", device="cpu", precision="fp32")
    assert HeldOutPairs(out).score(chosen)["eval_recall@1"] == pytest.approx(whole.best_score)
    assert "eval_split: 0.2" in (tmp_path / "whole" / "train_config.yaml").read_text()
    card = (tmp_path / "whole" / "README.md").read_text()
    assert f"| whole | {whole.best_score:.2f} (" in card and "which flatters it" in card

    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for later in ("checkpoint-8", "last"):
        shutil.rmtree(tmp_path / "cut" / later)
    resumed = train(tiny_encoder("bert"), rows, settings, tmp_path / "cut", resume=True)
    assert (resumed.best_step, resumed.best_score) == (whole.best_step, whole.best_score)
    last = [
        SentenceEncoder.from_pretrained(tmp_path / name / "last", device="cpu", precision="fp32")
        for name in ("whole", "cut")
    ]
    assert_same(weights(last[0]), weights(last[1]))


@pytest.mark.usefixtures("_no_pictures")
def test_seeds_hold_out_the_same_rows(tiny_encoder, tmp_path):
    rows, settings = pair_rows(40), config(tmp_path, eval_split=8, max_steps=2)
    found = train_seeds(tiny_encoder("bert"), rows, settings, tmp_path / "seeds", seeds=2)
    scores = [run["best_score"] for run in found.runs.values()]
    assert found.mean is None and found.held_out is not None
    assert found.held_out["mean"] == pytest.approx(np.mean(scores))
    assert found.held_out["sd"] == pytest.approx(np.std(scores, ddof=1))
    stored = json.loads((tmp_path / "seeds" / "seeds.json").read_text())["summary"]
    assert stored == found.held_out and stored["figure"] == "held-out pairs recall@1"


def test_what_contradicts_it_is_refused(tiny_encoder, tmp_path):
    bert, rows = tiny_encoder("bert"), pair_rows(40)
    cases = [
        (text_rows(), {"eval_split": 0.2}, None, "text rows have none"),
        (rows, {"eval_split": 0.2}, dev_task(), "both make a dev set"),
        (rows, {"eval_split": 36}, None, "4 rows do not fill one batch of 8"),
    ]
    for data, changes, dev, says in cases:
        with pytest.raises(InputError, match=says):
            train(bert, data, config(tmp_path, **changes), tmp_path / "r", eval_data=dev)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("size", "said"), [(20, True), (150, False)])
def test_few_held_out_pairs_are_said_to_tell_little(size, said, caplog):
    hold_out(linked(200, 1), size, 0)
    assert ("20 pairs are held out, so one of them is 5.0 points" in caplog.text) == said
