"""Retrieval tasks from files: BEIR's layout, named columns, and what is wrong in them."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcse_kit.errors import InputError
from simcse_kit.evaluation.search.retrieval_data import (
    load_beir,
    load_question_answers,
    load_retrieval,
)
from simcse_kit.evaluation.search.retrieval_task import evaluate_retrieval

QUERIES = [
    {"_id": "q1", "text": "who plays the guitar?", "metadata": {}},
    {"_id": "q2", "text": "what eats the dog?"},
    {"_id": "q3", "text": "nobody judged this"},
]
CORPUS = [
    {"_id": "d1", "title": "Guitar", "text": "the man plays it"},
    {"_id": "d2", "title": "", "text": "the dog eats a fish"},
    {"_id": 3, "title": "Dogs", "text": "they eat"},
]
QRELS = ["query-id\tcorpus-id\tscore", "q2\t3\t1", "q1\td1\t2", "q2\td2\t2", "q1\td2\t0"]


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir-set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(lines(QUERIES))
    (folder / "corpus.jsonl").write_text(lines(CORPUS))
    (folder / "qrels" / "test.tsv").write_text("\n".join(QRELS) + "\n")
    return folder


def test_a_folder_in_beirs_layout(beir: Path) -> None:
    task = load_beir(beir)
    assert task.name == "beir-set"
    assert task.queries == ["who plays the guitar?", "what eats the dog?"]
    assert task.corpus == ["Guitar the man plays it", "the dog eats a fish", "Dogs they eat"]
    judged = zip(task.relevance.query, task.relevance.document, task.relevance.grade, strict=True)
    assert list(judged) == [(1, 2, 1.0), (0, 0, 2.0), (1, 1, 2.0), (0, 1, 0.0)]


def test_other_splits_and_gzipped_files(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").rename(beir / "qrels" / "dev.tsv")
    corpus = (beir / "corpus.jsonl").read_bytes()
    (beir / "corpus.jsonl").unlink()
    (beir / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus))
    assert len(load_beir(beir, split="dev").corpus) == 3
    with pytest.raises(InputError, match=r"test.tsv is missing \(there are the splits dev\)"):
        load_beir(beir)
    (beir / "queries.jsonl").unlink()
    with pytest.raises(InputError, match=r"queries.jsonl is missing: BEIR's layout"):
        load_beir(beir, split="dev")
    with pytest.raises(InputError, match="is no folder"):
        load_beir(beir / "corpus.jsonl.gz")


def test_any_files_with_named_columns(tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text('number,question\n7,"who, exactly?"\n8,what?\n')
    (tmp_path / "texts.tsv").write_text("key\tbody\na\tone\nb\ttwo\n")
    (tmp_path / "links.jsonl").write_text(lines([{"q": 8, "doc": "a"}, {"q": 7, "doc": "b"}]))
    task = load_retrieval(
        *(tmp_path / name for name in ("asked.csv", "texts.tsv", "links.jsonl")),
        columns={
            "query.id": "number",
            "query.text": "question",
            "corpus.id": "key",
            "corpus.text": "body",
            "relevance.query": "q",
            "relevance.corpus": "doc",
        },
    )
    assert (task.name, task.queries, task.corpus) == (
        "asked",
        ["who, exactly?", "what?"],
        ["one", "two"],
    )
    assert task.relevance.grade.tolist() == [1.0, 1.0]
    assert task.relevance.query.tolist() == [1, 0]


def test_documents_without_text_are_kept_and_counted(
    beir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (beir / "corpus.jsonl").open("a") as file:
        file.write(lines([{"_id": "d4", "title": "", "text": ""}]))
    assert load_beir(beir).corpus[3] == ""
    assert "1 documents have no text" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("queries.jsonl", lines([*QUERIES, QUERIES[0]]), "queries.jsonl:4: the id 'q1' .*jsonl:1"),
        ("corpus.jsonl", lines([*CORPUS, {"_id": "3", "text": "x"}]), "corpus.jsonl:4: the id '3'"),
        (
            "queries.jsonl",
            lines([{"_id": "q1", "text": " "}]),
            "queries.jsonl:1: the query is empt",
        ),
        (
            "queries.jsonl",
            lines([{"_id": "q1", "text": 5}]),
            "jsonl:1: text is 5; it must hold tex",
        ),
        ("queries.jsonl", lines([{"_id": "", "text": "x"}]), "queries.jsonl:1: _id is empty"),
        (
            "queries.jsonl",
            lines([{"name": "q1", "text": "x"}]),
            "no column _id or id.*'query.id': 'name'",
        ),
        ("queries.jsonl", "", "queries.jsonl: holds no rows"),
        ("qrels/test.tsv", QRELS[0], "test.tsv: holds no rows"),
        (
            "qrels/test.tsv",
            "\n".join([*QRELS, "q9\td1\t1"]),
            "test.tsv:6: judges 'q9', which is no",
        ),
        (
            "qrels/test.tsv",
            "\n".join([*QRELS, "q1\td9\t1"]),
            "test.tsv:6: judges 'd9'.*corpus.json",
        ),
        ("qrels/test.tsv", "\n".join([*QRELS, "q1\td1\t1"]), "test.tsv:6: judges 'd1'.*tsv:3 does"),
        (
            "qrels/test.tsv",
            "\n".join([*QRELS, "q3\td1\t0"]),
            "test.tsv:6: the query 'q3' has no rel",
        ),
        ("qrels/test.tsv", "\n".join([*QRELS, "q3\td1\tyes"]), "test.tsv:6: score is 'yes'"),
        ("qrels/test.tsv", "\n".join([*QRELS, "q3\td1\tnan"]), "test.tsv:6: score is 'nan'"),
        (
            "qrels/test.tsv",
            "query\tcorpus-id\nq1\td1",
            "no column query-id .*'relevance.query': 'query'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(
    beir: Path, file: str, content: str, message: str
) -> None:
    (beir / file).write_text(content)
    with pytest.raises(InputError, match=message):
        load_beir(beir)


def test_columns_that_are_not_ours_or_not_there(beir: Path) -> None:
    with pytest.raises(InputError, match=re.escape("'query.txt'; did you mean query.text?")):
        load_beir(beir, columns={"query.txt": "x"})
    with pytest.raises(InputError, match=r"has no column headline .*'corpus.title': 'title'"):
        load_beir(beir, columns={"corpus.title": "headline"})
    with pytest.raises(InputError, match="no such file"):
        load_retrieval(beir / "a.csv", beir / "corpus.jsonl", beir / "qrels" / "test.tsv")


def test_questions_and_answers_are_a_task(tmp_path: Path) -> None:
    """Equal questions are one that both answers are right for; equal answers are one document."""
    path = tmp_path / "faq.csv"
    path.write_text(
        "question,answer\nwho,the man\nwhere,the city\nwho,the dog\nwhy,the man\nwho,the man\n"
    )
    task = load_question_answers(path)
    assert (task.name, task.source) == ("faq", str(path))
    assert task.queries == ["who", "where", "why"]
    assert task.corpus == ["the man", "the city", "the dog"]
    judged = zip(task.relevance.query.tolist(), task.relevance.document.tolist(), strict=True)
    assert set(judged) == {(0, 0), (1, 1), (0, 2), (2, 0)}
    assert task.relevance.grade.tolist() == [1, 1, 1, 1]
    mapped = load_question_answers(path, columns={"query": "answer", "document": "question"})
    assert mapped.queries == task.corpus and mapped.corpus == task.queries


def test_questions_without_answers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text('{"q": "who", "answer": "a man"}\n{"q": "where", "answer": ""}\n')
    with pytest.raises(InputError, match=r"no column query or question .*\{'query': 'q'\}"):
        load_question_answers(path)
    with pytest.raises(InputError, match=r"faq.jsonl:2: the document is empty"):
        load_question_answers(path, columns={"query": "q"})
    path.write_text('{"q": "who", "answer": "a man"}\n{"q": "where", "answer": "a man"}\n')
    with pytest.raises(InputError, match="every row has the same document"):
        load_question_answers(path, columns={"query": "q"})
    with pytest.raises(InputError, match="no column of ours is called 'docment'; did you mean doc"):
        load_question_answers(path, columns={"docment": "q"})


class Letters:
    """Embeds a text as its counts of letters; keeps what it was asked."""

    name = "letters"

    def __init__(self, prompts: dict[str, str] | None = None) -> None:
        self.prompts = prompts or {}
        self.calls: list[tuple[list[str], dict[str, Any]]] = []

    def encode(self, texts: list[str], **kwargs: Any) -> np.ndarray:
        self.calls.append((texts, kwargs))
        return np.array([[text.lower().count(c) + 0.01 for c in "abcdefghij"] for text in texts])


def test_a_model_on_a_task(beir: Path) -> None:
    model = Letters()
    result = evaluate_retrieval(model, load_beir(beir), draws=500)
    again = evaluate_retrieval(model, load_beir(beir), draws=500)
    assert result.to_json() == again.to_json()
    assert result.model == "letters"
    assert result.protocol["queries"] == 2
    assert result.protocol["relevant"] == 3
    figure = result.figures["recall@10"]
    assert figure.value == 100.0
    assert figure.interval is not None
    assert (figure.interval.low, figure.interval.high) == (100.0, 100.0)
    ndcg = result.figures["ndcg@10"]
    assert ndcg.interval is not None
    assert 0 < ndcg.interval.low <= ndcg.value <= ndcg.interval.high <= 100


def test_each_side_is_embedded_with_its_own_prompt_and_each_text_once(beir: Path) -> None:
    with (beir / "corpus.jsonl").open("a") as file:
        file.write(lines([{"_id": "d4", "text": "the dog eats a fish"}]))
    model = Letters({"query": "query: ", "passage": "passage: ", "document": ""})
    result = evaluate_retrieval(model, load_beir(beir), encode_kwargs={"show_progress": True})
    (queries, asked), (documents, searched) = model.calls
    assert (len(queries), len(documents)) == (2, 3)
    assert asked == {"prompt_name": "query", "show_progress": True}
    assert searched["prompt_name"] == "passage"
    assert result.protocol["documents"] == 4
    assert result.protocol["document_prompt"] == "passage"
