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
            "\n".join([QRELS[0], "q1\td9\t1", "q2\td1\t0"]),
            "test.tsv: no judgement above 0 is of a document in .*corpus.json",
        ),
        ("qrels/test.tsv", "\n".join([*QRELS, "q1\td1\t1"]), "test.tsv:6: judges 'd1'.*tsv:3 does"),
        ("qrels/test.tsv", "\n".join([*QRELS, "q3\td1\tyes"]), "test.tsv:6: score is 'yes'"),
        ("qrels/test.tsv", "\n".join([*QRELS, "q3\td1\tnan"]), "test.tsv:6: score is 'nan'"),
        (
            "qrels/test.tsv",
            "query\tcorpus-id\nq1\td1",
            "no column query-id .*'relevance.query': 'query'}$",
        ),
        (
            "qrels/test.tsv",
            "\n".join(QRELS[1:]),
            "no column query-id .*if those are data, give header=False and number the columns",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(
    beir: Path, file: str, content: str, message: str
) -> None:
    (beir / file).write_text(content)
    with pytest.raises(InputError, match=message):
        load_beir(beir)


def test_judgements_of_missing_queries_and_repeated_ones_are_counted_and_said(
    beir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (beir / "qrels" / "test.tsv").write_text("\n".join([*QRELS, "q9\td1\t1", QRELS[2], QRELS[1]]))
    found = load_beir(beir)
    (beir / "qrels" / "test.tsv").write_text("\n".join(QRELS))
    plain = load_beir(beir).relevance
    for ours, expected in zip(
        (found.relevance.query, found.relevance.document, found.relevance.grade),
        (plain.query, plain.document, plain.grade),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, expected)
    assert "test.tsv: 2 judgements stand there already, and count once" in caplog.text
    assert "1 of 5 judgements are of queries that are not in" in caplog.text


@pytest.mark.parametrize("name", ["test.tsv", "test.jsonl"])
def test_judgements_without_a_header_lose_no_row(beir: Path, name: str) -> None:
    """As TREC writes them: query, 0, document, grade; and the same as arrays."""
    cells = [line.split("\t") for line in QRELS[1:]]
    rows = [[query, 0, document, grade] for query, document, grade in cells]
    path = beir / name
    tsv = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    path.write_text(tsv if path.suffix == ".tsv" else lines(rows))
    files = beir / "queries.jsonl", beir / "corpus.jsonl", path
    numbered = {"relevance.query": "1", "relevance.corpus": "3", "relevance.grade": "4"}
    task = load_retrieval(*files, columns=numbered, header=False)
    np.testing.assert_array_equal(task.relevance.grade, load_beir(beir).relevance.grade)
    with pytest.raises(TypeError, match="'format'; there are header, skip_bad_rows, file_format"):
        load_retrieval(*files, columns=numbered, format="tsv")  # type: ignore[call-arg]


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


def test_rows_with_nothing_in_any_column_are_none(tmp_path: Path) -> None:
    path = tmp_path / "qa.csv"
    path.write_text("question,answer,from\na,b,x\n,,\nc,,y\nd,e,\n")
    with pytest.raises(InputError, match=r"qa\.csv:4: the document is empty"):
        load_question_answers(path)
    assert load_question_answers(path, skip_bad_rows=1).queries == ["a", "d"]


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
    wilson = 100 * 2 / (2 + 1.959964**2)  # both of two queries answered is no certainty
    assert (figure.interval.low, figure.interval.high) == pytest.approx((wilson, 100.0))
    ndcg = result.figures["ndcg@10"]
    assert ndcg.interval is not None
    assert 0 < ndcg.interval.low <= ndcg.value <= ndcg.interval.high <= 100


def test_each_side_is_embedded_with_its_own_prompt_and_each_text_once(beir: Path) -> None:
    with (beir / "corpus.jsonl").open("a") as file:
        file.write(lines([{"_id": "d4", "text": "the dog eats a fish"}]))
    model = Letters({"query": "query: ", "passage": "passage: "})
    result = evaluate_retrieval(model, load_beir(beir), encode_kwargs={"show_progress": True})
    (queries, asked), (documents, searched) = model.calls
    assert (len(queries), len(documents)) == (2, 3)
    assert asked == {"prompt_name": "query", "show_progress": True}
    assert searched["prompt_name"] == "passage"
    assert result.protocol["documents"] == 4
    assert result.protocol["document_prompt"] == "passage"


# ---- queries in the corpus, documents that are not ----------------------------------------------

KINDS = {"recall@1": "recall_1", "recall@10": "recall_10", "mrr": "recip_rank",
         "ndcg@10": "ndcg_cut_10"}  # fmt: skip


def write_beir(folder: Path, corpus: list[Any], queries: list[Any], qrels: list[str]) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(lines(corpus))
    (folder / "queries.jsonl").write_text(lines(queries))
    header = "query-id\tcorpus-id\tscore"
    (folder / "qrels" / "test.tsv").write_text("\n".join([header, *qrels]) + "\n")
    return folder


@pytest.fixture
def arguments(tmp_path: Path) -> Path:
    """As ArguAna: every query is a document; some judgements are of none, one query's are 0."""
    rng = np.random.default_rng(2)
    texts = [
        "".join(rng.choice(list("abcdefghij"), size=size)) for size in rng.integers(90, 300, 40)
    ]
    corpus = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    queries = [{"_id": f"d{n}", "text": texts[n]} for n in range(20)]
    others = {n: rng.choice(40, 3, replace=False) for n in range(18)}
    qrels = [f"d{n}\td{d}\t{rng.integers(1, 3)}" for n in others for d in others[n] if d != n]
    qrels += ["d0\tgone\t2", "d3\tlost\t1", "d18\td2\t0", "d19\tlost\t1"]
    return write_beir(tmp_path / "arguments", corpus, queries, qrels)


def trec_evals(folder: Path, *, drop_itself: bool) -> dict[str, float]:
    """The means that BEIR prints: pytrec_eval on the run without identical ids."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rows = {name: [json.loads(line) for line in (folder / f"{name}.jsonl").open()]
            for name in ("queries", "corpus")}  # fmt: skip
    model = Letters()
    unit = {}
    for name, found in rows.items():
        vectors = model.encode([row["text"] for row in found])
        unit[name] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    run = {
        query["_id"]: {
            document["_id"]: float(cosine)
            for document, cosine in zip(rows["corpus"], cosines, strict=True)
            if not (drop_itself and document["_id"] == query["_id"])
        }
        for query, cosines in zip(rows["queries"], unit["queries"] @ unit["corpus"].T, strict=True)
    }
    measures = {"recall.1,10", "ndcg_cut.10", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run).values()
    return {
        ours: 100 * float(np.mean([one[theirs] for one in found])) for ours, theirs in KINDS.items()
    }


@pytest.mark.parametrize("ignored", [True, False])
def test_queries_that_stand_in_the_corpus_are_judged_as_in_beir(
    arguments: Path, ignored: bool
) -> None:
    result = evaluate_retrieval(
        Letters(),
        load_beir(arguments),
        metrics=list(KINDS),
        draws=200,
        ignore_identical_ids=ignored,
    )
    figures = {name: figure.value for name, figure in result.figures.items()}
    assert figures == pytest.approx(trec_evals(arguments, drop_itself=ignored))
    said = "20 of the queries stand in the corpus; such a query is " + (
        "no candidate for itself (BEIR's rule)" if ignored else "a candidate for itself, against"
    )
    assert said in result.summary
    assert result.protocol["ignore_identical_ids"] is ignored
    assert "3 judgement(s) of documents that are not in the corpus count as not" in result.summary
    assert "1 of the queries have no relevant document and count 0" in result.summary
    if not ignored:
        assert figures["recall@1"] == 0.0  # each finds itself first


def test_ids_that_number_two_kinds_of_things_hide_no_answer(tmp_path: Path) -> None:
    """Question 3 and answer 3 are not one thing, though both are called 3."""
    answers = [{"_id": n, "text": letter * 5} for n, letter in enumerate("abcdef")]
    questions = [{"_id": n, "text": letter} for n, letter in enumerate("abcdef")]
    for row in answers:
        row["text"] += "!"
    qrels = [f"{n}\t{n}\t1" for n in range(6)]
    task = load_beir(write_beir(tmp_path / "faq", answers, questions, qrels))
    assert task.itself.tolist() == [-1] * 6
    assert evaluate_retrieval(Letters(), task, draws=200).figures["recall@1"].value == 100.0
    for row, question in zip(answers, questions, strict=True):
        row["text"] = question["text"]  # now they are, and each would find itself
    task = load_beir(write_beir(tmp_path / "same", answers, questions, qrels))
    assert task.itself.tolist() == list(range(6))
    assert evaluate_retrieval(Letters(), task, draws=200).figures["recall@1"].value == 0.0


def test_a_question_that_is_an_answer_elsewhere_does_not_find_itself(tmp_path: Path) -> None:
    path = tmp_path / "duplicates.csv"
    rows = [("aabc", "aabcd"), ("aabcd", "aabc"), ("ghi", "gghi"), ("gghi", "ghi"), ("jj", "jj")]
    path.write_text("query,document\n" + "".join(f"{q},{d}\n" for q, d in rows))
    task = load_question_answers(path)
    assert task.queries == ["aabc", "aabcd", "ghi", "gghi"]  # the last row judges nothing
    assert [task.corpus[row] for row in task.itself] == task.queries
    metrics, model = ["recall@1"], Letters()
    found = evaluate_retrieval(model, task, metrics=metrics, draws=200)
    assert found.figures["recall@1"].value == 100.0
    kept = evaluate_retrieval(model, task, metrics=metrics, draws=200, ignore_identical_ids=False)
    assert kept.figures["recall@1"].value == 0.0
