"""The commands that make tasks of a user's files, and `mteb`: what they print, and complain of."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from invoking import run, succeed
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.evaluation import mteb as ours
from simcse_kit.evaluation import sts
from simcse_kit.evaluation.sts.tasks import PairTask

TEXTS = ["The man plays the guitar", "A dog runs", "She reads a book", "The red car", "One fish"]


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    return result.stderr


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli-search") / "model"
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(folder)
    return folder


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rows = [{"_id": f"q{i}", "text": text.lower()} for i, text in enumerate(TEXTS)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    judged = [f"q{i}\td{i}\t1" for i in range(5)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))
    return folder


def test_retrieval_in_a_folder(model: Path, beir: Path) -> None:
    found = json.loads(succeed("task", "retrieval", model, beir, "--json", "-", "--draws", 200))
    assert found["task"] == "animals"
    assert found["figures"]["recall@1"]["value"] == 100.0
    ends = found["figures"]["recall@1"]["interval"]  # Wilson's, of five of five
    assert (ends["low"], ends["high"]) == (pytest.approx(56.55, abs=0.01), 100.0)
    assert (found["protocol"]["queries"], found["protocol"]["pooling"]) == (5, "mean")
    table = succeed("task", "retrieval", model, beir, "--metrics", "mrr,ndcg@3", "--draws", 200)
    assert [line.split()[0] for line in table.splitlines()[3:5]] == ["mrr", "ndcg@3"]
    assert "5 queries in 5 documents" in table
    written = succeed("task", "retrieval", model, beir, "--markdown", "--draws", 200)
    assert "| ndcg@10 | 100.00 | 56.55 to 100.00 |" in written


def test_retrieval_in_three_files(model: Path, tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("n,question\n1,a dog runs\n2,the red car\n")
    (tmp_path / "texts.csv").write_text("key,body\na,A dog runs\nb,The red car\n")
    (tmp_path / "links.csv").write_text("n,key\n1,a\n2,b\n")
    files = [
        *("--queries", tmp_path / "asked.csv", "--corpus", tmp_path / "texts.csv"),
        *("--relevance", tmp_path / "links.csv"),
    ]
    names = ["query.id=n", "query.text=question", "corpus.id=key", "corpus.text=body"]
    names += ["relevance.query=n", "relevance.corpus=key"]
    columns = [word for name in names for word in ("--column", name)]
    found = json.loads(succeed("task", "retrieval", model, *files, *columns, "--json", "-"))
    assert found["figures"]["mrr@10"]["value"] == 100.0

    assert "has no column _id or id" in refused("task", "retrieval", model, *files)
    (tmp_path / "links.csv").write_text("n,key\n1,c\n2,d\n")
    said = refused("task", "retrieval", model, *files, *columns)
    assert f"{tmp_path / 'links.csv'}: no judgement above 0 is of a document in" in said


def test_retrieval_is_told_where_to_look(model: Path, beir: Path) -> None:
    assert "give a folder in BEIR's layout, or" in refused("task", "retrieval", model)
    said = refused("task", "retrieval", model, beir, "--queries", beir / "queries.jsonl")
    assert "give a folder in BEIR's layout, or" in said
    assert "no metric 'map'" in refused("task", "retrieval", model, beir, "--metrics", "map")
    said = refused("task", "retrieval", model, beir, "--column", "query.txt=a")
    assert "must be one of query.id" in said
    assert "did you mean 'query.text'?" in said
    said = refused("task", "retrieval", model, "other-model", "--pairs", beir / "x.csv")
    assert "'other-model' is taken for a folder in BEIR's layout" in said
    assert "another model is --with other-model" in said


def test_clustering(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    rows = [f"{text} {word}\t{kind}" for kind, text in enumerate(TEXTS) for word in "abcd"]
    path.write_text("\n".join(["headline\ttopic", *rows]))
    columns = ["--column", "text=headline", "--column", "label=topic"]
    command = ["task", "clustering", model, path, *columns]
    found = json.loads(succeed(*command, "--seeds", 3, "--json", "-"))
    assert found["protocol"]["labels"] == 5
    assert len(found["protocol"]["by_seed"]["v_measure"]) == 3
    assert 20 < found["figures"]["v_measure"]["value"] <= 100
    assert "standard deviation over 3 seeds" in succeed(*command, "--seeds", 3)
    said = refused("task", "clustering", model, path)
    assert "give --column text=headline --column label=topic" in said
    said = refused("task", "clustering", model, path, "--column", "lable=topic")
    assert "did you mean 'label'?" in said


def test_duplicates(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    rows = [f"{text},{text.lower()},1" for text in TEXTS]
    rows += [f"{text},{other},0" for text, other in pairwise(TEXTS)]
    path.write_text("\n".join(["sentence1,sentence2,is_duplicate", *rows]))
    command = ["task", "duplicates", model, path, "--column", "label=is_duplicate"]
    found = json.loads(succeed(*command, "--json", "-", "--draws", 200))
    assert found["figures"]["ap"]["value"] == found["figures"]["best_f1"]["value"] == 100.0
    assert -1 <= found["figures"]["f1_threshold"]["value"] < 1
    assert (found["protocol"]["pairs"], found["protocol"]["duplicates"]) == (9, 5)
    assert "5 of them duplicates" in succeed(*command, "--markdown", "--draws", 200)
    assert "no column for label" in refused("task", "duplicates", model, path)
    path.write_text("sentence1,sentence2,label\na,b,2\n")
    assert "questions.csv:2: the label is 2" in refused("task", "duplicates", model, path)


def test_graded_pairs_in_any_language(model: Path, tmp_path: Path) -> None:
    for name in ("deutsch", "suomi"):
        rows = [f"der Hund {i},der Hund {i * (1 + i % 3)},{i % 3}" for i in range(12)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["links,rechts,note", *rows]))
    columns = ["sentence1=links", "sentence2=rechts", "score=note"]
    command = ["task", "pairs", model, tmp_path / "deutsch.csv", tmp_path / "suomi.csv"]
    command += [word for name in columns for word in ("--column", name)]
    found = json.loads(succeed(*command, "--json", "-", "--draws", 500))
    assert list(found["figures"]) == ["deutsch", "suomi", "average"]
    figure = found["figures"]["deutsch"]
    assert figure["interval"]["low"] <= figure["value"] <= figure["interval"]["high"]
    assert found["protocol"]["pairs"] == {"deutsch": 12, "suomi": 12}
    assert "24 pairs" in succeed(*command, "--draws", 500)
    assert "have one name" in refused(*command, tmp_path / "suomi.csv")


def test_outputs_are_checked_before_the_work(model: Path, beir: Path, tmp_path: Path) -> None:
    (model.parent / "broken").mkdir()
    (model.parent / "broken" / "config.json").write_text("{")  # to be found out when it is loaded
    broken = model.parent / "broken"
    said = refused("task", "retrieval", broken, beir, "--json", tmp_path / "no" / "x.json")
    assert "cannot write" in said


def test_mteb_writes_files_that_its_loader_reads(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mteb = pytest.importorskip("mteb")
    facts = mteb.get_task("STSBenchmark").metadata.descriptive_stats["test"]
    n = facts["num_samples"]
    rng = np.random.default_rng(0)
    first, second = ([TEXTS[i] for i in rng.integers(0, 5, size=n)] for _ in range(2))
    gold = rng.uniform(0, 5, size=n)
    gold += facts["label_statistics"]["avg_score"] - gold.mean()
    task = PairTask("STSB", first, second, gold, {}, "test", "made up")
    monkeypatch.setattr(sts, "load_tasks", lambda *_: [task])
    printed = succeed("mteb", model, "--output", tmp_path / "out", "--name", "us/tiny")
    file = tmp_path / "out/results/us__tiny/no_revision_available/STSBenchmark.json"
    assert printed.startswith(f"{file}  ")
    read = mteb.ResultCache(tmp_path / "out").load_results()
    score = read.model_results[0].task_results[0].get_score()
    assert f"{score:.4f}" == printed.split()[-1]

    (tmp_path / "taken").write_text("")
    assert "is a file" in refused("mteb", model, "--output", tmp_path / "taken")
    monkeypatch.setattr(ours, "TASKS", {})
    assert "no task of MTEB's" in refused("mteb", model, "--output", tmp_path / "other")
    assert not (tmp_path / "other").exists()
