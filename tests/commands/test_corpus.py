"""``simcse-kit index``, ``search`` and ``dedupe``: what they print and write, and each mistake."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import invoking
from simcse_kit.corpus import EmbeddedCorpus, PairFinder, embed_corpus, unit
from simcse_kit.data import read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import TextError

TEXTS = [
    "a man plays the guitar",
    "the dog runs on the beach",
    "a man plays the guitar",
    "a cat sleeps in the kitchen",
    "two people walk in the big city",
    "a man plays the  guitar",
    "the king reads a book",
    "a woman sings a song",
]


@pytest.fixture(scope="module")
def made(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a corpus with ids and texts that it embedded in shards of three rows."""
    root = tmp_path_factory.mktemp("corpus")
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    encoder.prompts["query"] = "find: "
    encoder.save_pretrained(root / "model")
    rows = [{"id": f"n{number}", "text": text} for number, text in enumerate(TEXTS)]
    (root / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = SentenceEncoder.from_pretrained(root / "model")
    embed_corpus(encoder, root / "texts.jsonl", root / "kept", texts=True, shard_rows=3)
    return root


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Path:
    """A copy of the corpus, without an index."""
    import shutil

    return Path(shutil.copytree(made / "kept", tmp_path / "corpus"))


index, search = partial(invoking.succeed, "index"), partial(invoking.succeed, "search")
dedupe = partial(invoking.succeed, "dedupe")


def expected(made: Path, query: str) -> list[int]:
    """The rows by cosine, by numpy from the texts."""
    encoder = SentenceEncoder.from_pretrained(made / "model")
    vectors = unit(encoder.encode(TEXTS, normalize=True)).astype(np.float64)
    asked = unit(encoder.encode(query, prompt="find: ", normalize=True)).astype(np.float64)
    return [int(row) for row in np.argsort(-(vectors @ asked), kind="stable")]


def test_search_gives_the_nearest_with_ids_and_texts(made: Path, corpus: Path) -> None:
    said = search(corpus, "the dog runs", "a king", "--top-k", 3)
    rows = expected(made, "the dog runs")
    assert (
        all(" ".join(TEXTS[row].split()) in said for row in rows[:3]) and said.count("Cosine") == 2
    )
    (found, _) = json.loads(search(corpus, "the dog runs", "a king", "-k", 3, "--json", "-"))
    assert found["query"] == "the dog runs"
    assert [hit["row"] for hit in found["hits"]] == rows[:3]
    assert [hit["id"] for hit in found["hits"]] == [f"n{row}" for row in rows[:3]]
    assert [hit["text"] for hit in found["hits"]] == [TEXTS[row] for row in rows[:3]]
    assert f"| {TEXTS[rows[0]]} | 0." in search(corpus, "the dog runs", "--markdown")
    assert "nothing is near enough" in search(corpus, "the dog runs", "--threshold", 1.5)


def test_queries_of_a_file_and_a_filter_of_ids(made: Path, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "queries.csv").write_text("text\nthe dog runs\na king\n")
    (tmp_path / "ids.txt").write_text("n3\n\nn6\nn4\n")
    said = search(
        *(corpus, "a cat", "--queries", tmp_path / "queries.csv"),
        *("--filter-ids", tmp_path / "ids.txt", "--json", "-"),
    )
    found = json.loads(said)
    assert [each["query"] for each in found] == ["a cat", "the dog runs", "a king"]
    for each in found:
        rows = [row for row in expected(made, each["query"]) if row in (3, 4, 6)]
        assert [hit["row"] for hit in each["hits"]] == rows


def test_an_index_is_built_added_to_and_taken_from(
    made: Path, corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("faiss")
    assert f"{corpus / 'index'}  8 x 32 Flat, finds 100.0 % of the 10 nearest" in index(corpus)
    before = json.loads(search(corpus, "a king", "--json", "-"))
    assert before == json.loads(search(corpus, "a king", "--exact", "--json", "-"))
    (tmp_path / "more.jsonl").write_text('{"id": "new", "text": "a king sings"}\n')
    (tmp_path / "gone.txt").write_text("n6\n")
    figures = json.loads(
        index(
            *(corpus, "--add", tmp_path / "more.jsonl", "--remove-ids", tmp_path / "gone.txt"),
            *("--json", "-"),
        )
    )
    assert figures["rows"] == 8 and figures["added"] == figures["removed"] == 1
    for how in ([], ["--exact"]):
        (found,) = json.loads(search(corpus, "a king sings", "--top-k", 9, "--json", "-", *how))
        ids = [hit["id"] for hit in found["hits"]]
        assert sorted(ids) == ["n0", "n1", "n2", "n3", "n4", "n5", "n7", "new"]
        assert found["hits"][ids.index("new")] | {"score": 0} == {
            "row": 8,
            "id": "new",
            "score": 0,
            "text": "a king sings",
        }
    encoder = SentenceEncoder.from_pretrained(made / "model")
    text, query = unit(encoder.encode(["a king sings", "find: a king sings"]))
    cosine = float(text @ query)
    assert found["hits"][ids.index("new")]["score"] == pytest.approx(cosine, abs=1e-4)
    for more, gone in (("nowhere.jsonl", "gone.txt"), ("more.jsonl", "nowhere.txt")):
        (tmp_path / "gone.txt").write_text("n5\n")
        result = invoking.run(
            *("index", corpus, "--add", tmp_path / more, "--remove-ids", tmp_path / gone)
        )
        assert result.exit_code == 2 and "nowhere" in result.stderr
        assert len(json.loads(search(corpus, "a", "-k", 20, "--json", "-"))[0]["hits"]) == 8
    assert "8 x 32" in index(corpus, "--overwrite", "--factory", "Flat")


def test_a_text_that_cannot_be_added_is_named_by_its_row_among_all(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    index(corpus)
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n{"text": 7}\n{"text": "four"}\n')
    plain = SentenceEncoder.encode

    def wrong(self: SentenceEncoder, texts: list[str], **how: Any) -> Any:
        if "four" in texts:
            raise TextError(texts.index("four"), "the embedding of text {} is not finite")
        return plain(self, texts, **how)

    monkeypatch.setattr(SentenceEncoder, "encode", wrong)
    added = ("--add", tmp_path / "a.txt", "--add", tmp_path / "b.jsonl")
    result = invoking.run("index", corpus, *added, "--skip-bad-rows", 1)
    assert result.exit_code == 2 and "the embedding of text 4 is not finite" in result.stderr


def test_dedupe_writes_what_stays_and_what_goes(corpus: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = dedupe(
        *(corpus, "--threshold", 0.9999, "--output", tmp_path / "kept.jsonl"),
        *("--pairs", tmp_path / "pairs.csv", "--html", page, "--keep", "longest"),
    )
    assert "8 rows: 6 stay, 2 go, in 1 cluster at a cosine of 0.9999" in said
    kept = read_rows(tmp_path / "kept.jsonl", wanted=["text"]).columns["text"]
    assert kept == [TEXTS[row] for row in (1, 3, 4, 5, 6, 7)]  # of two blanks is the longest
    lines = (tmp_path / "pairs.csv").read_text().splitlines()
    assert lines[0] == "row,id,text,kept_row,kept_id,kept_text,cosine"
    assert lines[1] == f"0,n0,{TEXTS[0]},5,n5,{TEXTS[5]},1.000000" and len(lines) == 3
    html = page.read_text()
    assert "2 of 8 rows repeat another" in html and TEXTS[5] in html and "default-src" in html
    figures = json.loads(dedupe(corpus, "--threshold", 0.9999, "--json", "-"))
    assert figures["pairs"] == 3 and figures["largest"] == 3 and figures["keep"] == "first"
    assert not (corpus / ".dedupe").exists()
    assert "| a man plays the guitar | 3 |" in dedupe(corpus, "--threshold", 0.9999, "--markdown")
    again = dedupe(corpus, "--threshold", 0.99, "--html", page)
    assert "at a cosine of 0.99\n" in again and "at a cosine of 0.99:" in page.read_text()


def test_files_that_cannot_be_written_do_not_cost_the_comparison(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("dedupe", corpus, "--threshold", 0.9999, "--html", tmp_path / "page.html")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("simcse_kit.commands.dedupe._write_page", full)
        result = invoking.run(*asked)
        assert result.exit_code == 2 and result.stdout == "" and (corpus / ".dedupe").is_dir()
    monkeypatch.setattr(PairFinder, "block_pairs", lambda self, left: pytest.fail("compared"))
    result = invoking.run(*asked)
    assert "8 rows: 6 stay, 2 go" in result.stdout
    assert not (corpus / ".dedupe").exists() and (tmp_path / "page.html").exists()


def test_dedupe_by_the_index(corpus: Path) -> None:
    pytest.importorskip("faiss")
    index(corpus)
    asked = [corpus, "--threshold", 0.95, "--json", "-"]
    exact, found = json.loads(dedupe(*asked)), json.loads(dedupe(*asked, "--method", "index"))
    assert found == exact | {"exact": False}


def test_a_bare_file_needs_its_model(made: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", EmbeddedCorpus(made / "kept").vectors[:])
    (found,) = json.loads(
        search(tmp_path / "v.npy", "a king", "--model", made / "model", "--json", "-")
    )
    assert [hit["row"] for hit in found["hits"]] == expected(made, "a king")
    assert found["hits"][0]["text"] is None
    assert "Id" in search(tmp_path / "v.npy", "a king", "--model", made / "model")
    assert "2 go" in dedupe(tmp_path / "v.npy", "--threshold", 0.9999)


@pytest.mark.parametrize("columns", [60, 100])
def test_what_is_found_can_be_read_in_a_narrow_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simcse_kit.commands import console
    from simcse_kit.evaluation import Cell, Cells, draw

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    query = "is the office open on Sunday, or [b]only[/b] the shop [/x]?"
    name = "https://example.org/wiki/" + "A" * 60 + "#[/b]"
    texts = ["We open at nine from Monday to Saturday, and on some Sundays.", "星期天关门" * 12]
    rows = [
        (text, [Cell("0.9123"), Cell(each)]) for text, each in zip(texts, ("n0", name), strict=True)
    ]
    cells = Cells(["Cosine", "Id"], rows, [], ["A note. " * 12], "Text", words=("Id",))
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal()
    console.show_table(draw(cells, title=query), shown, wraps=True)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue()).splitlines()
    width = {line: sum(1 + (ord(letter) > 0x2E80) for letter in line) for line in lines}
    assert max(width.values()) <= columns and lines[0].startswith(query[:55])
    start = next(line for line in lines if "Cosine" in line)
    places = start.index("Cosine"), start.index("Id")
    told = [line for line in lines if line.startswith(" ")]
    first = "".join(line[: places[0]].strip() + " " for line in told if "星" not in line)
    assert " ".join(texts[0].split()) in " ".join(first.split())
    assert "…" not in "".join(lines)
    letters = [letter for letter in "".join(lines) if ord(letter) > 0x2E80 and letter.isalpha()]
    assert "".join(letters) == texts[1]
    assert "".join(line.split()[-1] for line in told if "A" in line or "[" in line) in name
    # a narrow table does not make its title narrow
    shown = Terminal()
    console.show_table(draw(Cells(["Cosine"], [("7", [Cell("0.5")])], [], []), title=query), shown)
    assert shown.getvalue().count("\n") < 9


def test_the_backend_is_the_corpus_s_own(
    made: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads((corpus / "manifest.json").read_text())
    told["model"] |= {"backend": "onnx", "precision": "int8", "head": "none"}
    told["model"]["fingerprint"] = "0" * 32
    (corpus / "manifest.json").write_text(json.dumps(told))
    asked: list[dict[str, Any]] = []

    def watched(name: str, **how: Any) -> SentenceEncoder:
        asked.append(how)
        return plain(name, **{**how, "backend": "torch"})

    plain = SentenceEncoder.from_pretrained
    monkeypatch.setattr(SentenceEncoder, "from_pretrained", watched)
    own = {"pooling": "mean", "precision": "auto", "backend": "onnx", "head": "none"}
    for options, expected in (
        ([], own),
        (["--backend", "torch"], own | {"backend": "torch"}),
        (["--precision", "fp32", "--head", "keep"], own | {"precision": "fp32", "head": "keep"}),
    ):
        result = invoking.run("search", corpus, "a", "--model", made / "model", *options)
        assert asked.pop().items() >= expected.items()
        # it was given torch in any case
        assert result.exit_code == 2
        assert "(backend onnx and not torch, precision int8" in result.stderr
    result = invoking.run("search", corpus, "a", "--backend", "onnx")
    assert "--backend: the corpus loads its model as it was embedded" in result.stderr


@pytest.mark.slow
def test_an_export_s_corpus_is_searched_by_the_export(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    encoder.save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    invoking.succeed("export", tmp_path / "model", "--format", "onnx")
    how = ("--backend", "onnx", "--output", tmp_path / "kept")
    invoking.succeed("embed", tmp_path / "model", tmp_path / "texts.txt", *how)
    expected = search(tmp_path / "kept", "a king", "--json", "-")
    assert search(*(tmp_path / "kept", "a king", "--json", "-", "--model", tmp_path / "model")) == (
        expected
    )
    asked = ("search", tmp_path / "kept", "a king", "--model", tmp_path / "model")
    result = invoking.run(*asked, "--backend", "torch")
    assert result.exit_code == 2 and "backend onnx and not torch" in result.stderr


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_corpus_embedded_with_a_template_is_searched_with_it(
    family: str, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = SentenceEncoder.from_pretrained(tiny_encoder(family), pooling="mean")
    encoder.save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    template = "the man , a {} means [MASK] ."
    how = ("--template", template, "--output", tmp_path / "kept")
    invoking.succeed("embed", tmp_path / "model", tmp_path / "texts.txt", *how)
    encoder = SentenceEncoder.from_pretrained(tmp_path / "model")
    encoder.use_template(template)
    vectors = unit(encoder.encode(TEXTS)).astype(np.float64)
    rows = np.argsort(-(vectors @ unit(encoder.encode("a king")).astype(np.float64)), kind="stable")
    for model in ((), ("--model", tmp_path / "model")):
        cache = tmp_path / f"cache{len(model)}"
        arguments = (tmp_path / "kept", "a king", *model, "--cache", cache, "--json", "-")
        (found,) = json.loads(search(*arguments))
        assert [hit["row"] for hit in found["hits"]] == rows.tolist()
        assert [*cache.glob("vectors-*.sqlite")]
    # a template that is the model's own stays, and is taken away where the corpus was without
    encoder.save_pretrained(tmp_path / "own")
    how = ("--template", "", "--output", tmp_path / "bare")
    for name, more in (("with", ("--output", tmp_path / "with")), ("bare", how)):
        invoking.succeed("embed", tmp_path / "own", tmp_path / "texts.txt", *more)
        assert "a king" in search(tmp_path / name, "a king")


def test_folders_that_say_nothing_of_a_template_are_searched(made: Path, corpus: Path) -> None:
    told = json.loads((corpus / "manifest.json").read_text())
    assert told["model"].pop("template") == ""
    (corpus / "manifest.json").write_text(json.dumps(told))
    (found,) = json.loads(search(corpus, "a king", "--json", "-"))
    assert [hit["row"] for hit in found["hits"]] == expected(made, "a king")


def test_each_mistake_is_one_sentence(
    made: Path, corpus: Path, tmp_path: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    other = SentenceEncoder.from_pretrained(tiny_encoder("roberta"), pooling="mean")
    other.save_pretrained(tmp_path / "other")
    np.save(tmp_path / "v.npy", np.ones((3, 5), np.float32))
    (tmp_path / "ids.txt").write_text("n1\nwhat\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    one = ["--output", tmp_path / "a.csv"]
    bad = [
        (["dedupe", corpus, *one, "--pairs", tmp_path / "link.csv"], "--output and --pairs are"),
        (["dedupe", corpus, *one, "--html", tmp_path / "." / "a.csv"], "--output and --html are"),
        (["dedupe", corpus, *one, "--json", tmp_path / "a.csv"], "--output and --json are"),
        (["search", corpus], "there is no query"),
        (["search", tmp_path / "nowhere", "a"], "nowhere"),
        (["search", corpus, "a", "--filter-ids", tmp_path / "ids.txt"], "1 of 2 ids are not in"),
        (["search", corpus, "a", "--model", tmp_path / "other"], "was embedded by"),
        (["search", tmp_path / "v.npy", "a"], "--model"),
        (["search", tmp_path / "v.npy", "a", "--model", made / "model"], "vectors of 5 numbers"),
        (["search", corpus, "a", "--top-k", 0], "--top-k"),
        (["search", corpus, "a", "--template", "x {}"], "--template: the corpus loads its model"),
        (["search", corpus, "a", "--pooling", "cls", "--max-length", 9], "--pooling, --max-length"),
        (["index", corpus, "--factory", "What"], "knows no index 'What'"),
        (["index", corpus, "--add", made / "texts.jsonl"], "has no index"),
        (["index", corpus, "--add", "x", "--overwrite"], "build it first"),
        (["dedupe", corpus, "--threshold", 2], "give a cosine above 0"),
        (["dedupe", corpus, "--method", "index"], "no index"),
        (["dedupe", corpus, "--output", tmp_path / "x.doc"], "the name must end in"),
        (["dedupe", corpus, "--output", tmp_path / "no" / "x.csv"], "does not exist"),
        (["dedupe", tmp_path / "v.npy", "--keep", "longest"], "keeps no texts"),
    ]
    for arguments, said in bad:
        result = invoking.run(*arguments)
        assert result.exit_code == 2 and said in result.stderr, (arguments, result.stderr)
        assert "Traceback" not in result.stderr and result.stdout == ""
    assert not (corpus / "index").exists()


def test_an_index_of_the_corpus_as_it_was_is_refused(made: Path, corpus: Path) -> None:
    pytest.importorskip("faiss")
    index(corpus)
    assert "holds an index" in invoking.run("index", corpus).stderr
    encoder = SentenceEncoder.from_pretrained(made / "model")
    embed_corpus(encoder, made / "texts.jsonl", corpus, shard_rows=4, overwrite=True)
    result = invoking.run("search", corpus, "a king")
    assert result.exit_code == 2 and "other vectors" in result.stderr
    (file,) = (corpus / "index").glob("vectors-*.faiss")
    index(corpus, "--overwrite")
    (file,) = (corpus / "index").glob("vectors-*.faiss")
    file.write_bytes(file.read_bytes()[:-1])
    result = invoking.run("search", corpus, "a king")
    assert result.exit_code == 2 and "damaged" in result.stderr
    assert json.loads((corpus / "manifest.json").read_text())["rows"] == 8
