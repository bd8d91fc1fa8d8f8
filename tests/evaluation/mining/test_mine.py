"""Mining a file: against sentence-transformers, a plain loop, and a run that was left alone."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mining as pairs
from simcse_kit.data import read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError, TextError
from simcse_kit.evaluation.mining import NoNegatives, blocks, mine_hard_negatives, vectors
from simcse_kit.evaluation.mining.outcome import outcome_cells, outcome_sentences
from simcse_kit.evaluation.mining.rules import Rules
from simcse_kit.evaluation.mining.workplace import workplace_of

Triplets = set[tuple[str, str, str]]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Callable[[str], Path]) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", precision="fp32")


@pytest.fixture(scope="module")
def guide(tiny_encoder: Callable[[str], Path]) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        tiny_encoder("electra"), pooling="mean", precision="fp32"
    )


def triplets(path: Path) -> Triplets:
    """Every anchor, positive and negative of a file."""
    rows = read_rows(path)
    columns = rows.columns
    return {
        (a, p, n)
        for name in columns
        if name.startswith("negative")
        for a, p, n in zip(columns["anchor"], columns["positive"], columns[name], strict=True)
        if n
    }


# ---- oracles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", ["n-tuple", "triplet"])
@pytest.mark.parametrize(
    "rules",
    [
        {"num_negatives": 3},
        {"num_negatives": 2, "range_min": 2, "range_max": 9},
        {"num_negatives": 4, "absolute_margin": 0.01, "range_max": 35},
        {"num_negatives": 3, "relative_margin": 0.005, "max_score": 0.94, "range_max": 35},
        {"num_negatives": 2, "min_score": 0.9, "max_score": 0.95, "range_min": 1, "range_max": 35},
    ],
    ids=str,
)
def test_the_candidates_are_those_of_sentence_transformers(
    encoder: SentenceEncoder,
    tmp_path: Path,
    rules: dict[str, Any],
    output_format: Any,
) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    encoder.save_pretrained(tmp_path / "model")
    rows, corpus = pairs.pair_rows(), pairs.texts(15, 2)
    theirs = mine_hard_negatives(
        Dataset.from_dict(dict(rows.columns)),
        SentenceTransformer(str(tmp_path / "model"), device="cpu"),
        corpus=corpus,
        output_format=output_format,
        verbose=False,
        **rules,
    )
    expected = {
        (row["anchor"], row["positive"], text)
        for row in theirs
        for name, text in row.items()
        if name.startswith("negative")
    }
    output = tmp_path / "ours.parquet"
    how = {"rows": rows, "corpus": corpus, "output_format": output_format}
    mined = pairs.mine(encoder, output, Rules(**rules), **how)
    assert expected and triplets(output) == expected
    assert mined.rows == len(theirs)


def naive(encoder: SentenceEncoder, guide: SentenceEncoder, rules: Rules) -> Triplets:
    rows = pairs.pair_rows()
    both = list(zip(rows.columns["anchor"], rows.columns["positive"], strict=True))
    candidates = list(dict.fromkeys(rows.columns["positive"]))

    vectors = {
        (model.name, text): vector.astype(np.float64)
        for model in (encoder, guide)
        for texts in [list(dict.fromkeys(rows.texts()))]
        for text, vector in zip(texts, model.encode(texts), strict=True)
    }

    def score(model: SentenceEncoder, a: str, b: str) -> float:
        first, second = vectors[model.name, a], vectors[model.name, b]
        return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))

    found = set()
    for anchor in dict.fromkeys(rows.columns["anchor"]):
        own = [p for a, p in both if a == anchor]
        bound = min(score(guide, anchor, p) for p in own) - rules.guide_margin
        lowest = min(score(encoder, anchor, p) for p in own)
        left = sorted(
            (-score(encoder, anchor, c), candidates.index(c)) for c in set(candidates) - {*own}
        )
        kept = [
            candidates[place]
            for minus, place in left
            if -minus <= lowest - rules.relative_margin * abs(lowest)
            and score(guide, anchor, candidates[place]) <= bound
        ]
        found |= {(anchor, p, n) for p in own for n in kept[: rules.num_negatives]}
    return found


def test_a_guide_and_a_margin_are_the_naive_loop(
    encoder: SentenceEncoder, guide: SentenceEncoder, tmp_path: Path
) -> None:
    rules = Rules(3, relative_margin=0.0, guide_margin=0.02)
    output = tmp_path / "rows.jsonl"
    mined = pairs.mine(encoder, output, rules, guide=guide, output_format="triplet")
    assert triplets(output) == naive(encoder, guide, rules)
    assert mined.taken_out["guide"] > 0 and mined.taken_out["relative_margin"] > 0


@pytest.mark.parametrize("strategy", ["top", "random"])
def test_blocks_of_one_and_blocks_of_all_give_one_file(
    encoder: SentenceEncoder, tmp_path: Path, strategy: Any
) -> None:
    rules = Rules(2, range_min=1, sampling_strategy=strategy, seed=3)
    files = [tmp_path / f"{block}.csv" for block in (1, 1000)]
    outcomes = [pairs.mine(encoder, file, rules, block=int(file.stem)) for file in files]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert outcomes[0].scores == outcomes[1].scores


def test_queries_and_documents_get_their_prompts(encoder: SentenceEncoder, tmp_path: Path) -> None:
    asked: dict[str, list[str]] = {"the ": [], "a ": []}

    class Told(SentenceEncoder):
        def encode(self, texts: Any, **settings: Any) -> Any:
            asked[settings["prompt"]] += texts
            return super().encode(texts, **settings)

    told = Told.__new__(Told)
    told.__dict__ = dict(encoder.__dict__)
    told.prompts = {"query": "the ", "document": "a "}
    mined = pairs.mine(told, tmp_path / "rows.csv")
    rows = pairs.pair_rows()
    assert asked["the "] == list(dict.fromkeys(rows.columns["anchor"]))
    assert asked["a "] == list(dict.fromkeys(rows.columns["positive"]))
    assert (mined.protocol["query_prompt"], mined.protocol["document_prompt"]) == ("the ", "a ")


# ---- the report ----------------------------------------------------------------------------------


def test_the_report_counts_every_candidate_once(encoder: SentenceEncoder, tmp_path: Path) -> None:
    rules = Rules(2, range_min=1, range_max=14, absolute_margin=0.0, max_score=0.96)
    mined = pairs.mine(encoder, tmp_path / "rows.csv", rules)
    assert mined.looked_at == 14 * mined.anchors == 168
    assert sum(mined.taken_out.values()) + mined.taken == mined.looked_at
    assert list(mined.taken_out) == ["absolute_margin", "max_score", "range_min", "not_needed"]
    rows = read_rows(tmp_path / "rows.csv")
    assert mined.rows == len(rows) == mined.pairs - mined.pairs_left_out
    assert mined.short > 0 and mined.repeated == 43 - mined.pairs
    whole = tmp_path / "whole.parquet"
    again = pairs.mine(encoder, whole, rules, output_format="list")
    assert again.pairs_left_out <= mined.pairs_left_out
    assert again.rows == mined.pairs - again.pairs_left_out
    (_, counts), (_, scores) = outcome_cells(mined)
    assert counts.rows[0][1][0].figure == "168" and counts.rows[0][1][1].figure == "100.0%"
    assert [name for name, _ in scores.rows] == ["positive", "negative", "difference"]
    assert f"{mined.short} of 12 anchors got fewer than 2" in " ".join(outcome_sentences(mined))
    assert mined.to_json()["protocol"]["rules"]["range_max"] == 14


def test_no_negatives_at_all_are_no_file(encoder: SentenceEncoder, tmp_path: Path) -> None:
    output = tmp_path / "rows.csv"
    with pytest.raises(NoNegatives) as raised:
        pairs.mine(encoder, output, Rules(3, max_score=-0.9))
    assert raised.value.rule == "max_score" and raised.value.problem.startswith("no negatives: max")
    assert repr(pickle.loads(pickle.dumps(raised.value))) == repr(raised.value)
    assert ": no negatives: --max-score took out 197 of 197 candid" in raised.value.command_line
    with pytest.raises(InputError) as raised:
        pairs.mine(encoder, output, Rules(18))
    assert "no anchor has 18 negatives, the most is 17: there are only 20 candidates; give a" in (
        str(raised.value)
    )
    assert not output.exists()


def test_the_data_are_not_written_over(encoder: SentenceEncoder, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text('{"anchor": "the man", "positive": "a boy"}\n' * 2)
    (tmp_path / "link.jsonl").symlink_to(data)
    for output in (data, tmp_path / "link.jsonl"):
        with pytest.raises(InputError, match="it holds the texts that are mined"):
            mine_hard_negatives(encoder, read_rows(data), output)
    assert data.read_text().count("boy") == 2


def test_what_is_not_its_own_stays_in_the_folder_of_finished_work(
    encoder: SentenceEncoder, tmp_path: Path
) -> None:
    output = tmp_path / "rows.csv"
    notes, old = workplace_of(output) / "notes.txt", workplace_of(output) / f"vectors-{'0' * 16}"
    old.mkdir(parents=True)
    notes.write_text("mine")
    pairs.mine(encoder, output)
    assert output.is_file() and [*notes.parent.iterdir()] == [notes]
    taken = tmp_path / "taken.csv"
    workplace_of(taken).write_text("a file")
    with pytest.raises(InputError, match="is a file, and a folder of that name"):
        pairs.mine(encoder, taken)
    assert not taken.exists() and workplace_of(taken).read_text() == "a file"


def test_an_index_says_how_many_it_finds(encoder: SentenceEncoder, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    mined = pairs.mine(encoder, tmp_path / "faiss.csv", index="faiss")
    assert mined.protocol["index_recall"] == 1.0
    assert any("found 100.0% of the nearest" in said for said in outcome_sentences(mined))
    pairs.mine(encoder, tmp_path / "exact.csv")
    assert (tmp_path / "faiss.csv").read_bytes() == (tmp_path / "exact.csv").read_bytes()


def test_an_index_without_its_package_is_said(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'simcse-kit\[index\]'"):
        pairs.mine(encoder, tmp_path / "rows.csv", index="faiss")


# ---- interrupted ---------------------------------------------------------------------------------


class Stops:
    """Calls the function so many times and is interrupted then."""

    def __init__(self, function: Callable[..., Any], calls: int) -> None:
        self.function, self.left, self.calls = function, calls, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.calls += 1
        return self.function(*args, **kwargs)


def interrupted(encoder: SentenceEncoder, output: Path) -> None:
    """By Ctrl-C."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(blocks, "_mined", Stops(blocks._mined, pairs.FINISHED))
        pairs.mine(encoder, output)


def killed(encoder: SentenceEncoder, output: Path) -> None:
    """By force, in a process of its own."""
    paths = [str(Path(pairs.__file__).parent), *filter(None, sys.path)]
    ended = subprocess.run(
        [sys.executable, pairs.__file__, encoder.name, str(output)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize("end", [interrupted, pytest.param(killed, marks=pytest.mark.slow)])
def test_a_run_that_ends_early_goes_on_and_ends_as_one_left_alone(
    encoder: SentenceEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[SentenceEncoder, Path], None],
) -> None:
    alone, output = tmp_path / "alone.parquet", tmp_path / "rows.parquet"
    expected = pairs.mine(encoder, alone)
    end(encoder, output)
    assert workplace_of(output).is_dir() and not output.exists()
    monkeypatch.setattr(blocks, "_mined", Stops(blocks._mined, 100))
    monkeypatch.setattr(encoder, "encode", Stops(encoder.encode, 100))
    mined = pairs.mine(encoder, output)
    assert blocks._mined.calls == 4 - pairs.FINISHED
    assert encoder.encode.calls == 0
    assert output.read_bytes() == alone.read_bytes()
    assert mined.scores == expected.scores and mined.taken_out == expected.taken_out
    assert not workplace_of(output).exists() and not workplace_of(alone).exists()


def test_vectors_go_on_after_the_last_part(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "_AT_A_TIME", 6)  # 12 anchors are two parts, 20 candidates four
    alone, output = tmp_path / "alone.csv", tmp_path / "rows.csv"
    pairs.mine(encoder, alone)
    for calls in (1, 2, 1):
        with monkeypatch.context() as patch:
            patch.setattr(encoder, "encode", Stops(encoder.encode, calls))
            with pytest.raises(KeyboardInterrupt):
                pairs.mine(encoder, output)
    monkeypatch.setattr(encoder, "encode", Stops(encoder.encode, 100))
    pairs.mine(encoder, output)
    assert encoder.encode.calls == 2 + 4 - 1 - 2 - 1
    assert output.read_bytes() == alone.read_bytes()


def test_a_text_that_cannot_be_embedded_is_named_by_its_number_among_all(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "_AT_A_TIME", 6)
    plain, calls = encoder.encode, []

    def wrong(texts: list[str], **how: Any) -> Any:
        calls.append(texts)
        if len(calls) == 2:
            raise TextError(1, "the embedding of text {} is not finite")
        return plain(texts, **how)

    monkeypatch.setattr(encoder, "encode", wrong)
    with pytest.raises(InputError, match="the embedding of text 7 is not finite"):
        pairs.mine(encoder, tmp_path / "rows.csv")


def test_other_settings_keep_the_vectors_and_another_model_does_not(
    encoder: SentenceEncoder,
    guide: SentenceEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, output = tmp_path / "alone.csv", tmp_path / "rows.csv"
    pairs.mine(encoder, alone, Rules(2))
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "_mined", Stops(blocks._mined, 2))
        with pytest.raises(KeyboardInterrupt):
            pairs.mine(encoder, output, Rules(3))
    for model, encoded in ((encoder, 0), (guide, 2)):
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "_mined", Stops(blocks._mined, 1))
            patch.setattr(model, "encode", Stops(model.encode, 100))
            with pytest.raises(KeyboardInterrupt):
                pairs.mine(model, output, Rules(2))
            assert model.encode.calls == encoded
    pairs.mine(encoder, output, Rules(2))
    assert output.read_bytes() == alone.read_bytes()
