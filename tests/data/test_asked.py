"""What is asked about: names near to ours, labels beside pairs, texts that look like a table."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from simcse_kit.data.column_names import close, guess
from simcse_kit.data.odd_texts import doubt
from simcse_kit.data.readers import Table
from simcse_kit.data.rows import read_rows
from simcse_kit.errors import InputError, explain


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def said(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as error:
        read_rows(path, **options)  # type: ignore[arg-type]
    return explain(error.value) or ""


@pytest.mark.parametrize(
    ("header", "typed"),
    [
        ("query,answer", "--column anchor=query --column positive=answer"),
        ("question,answer", "--column anchor=question --column positive=answer"),
        ("answer,question", "--column anchor=question --column positive=answer"),
        ("premise,hypothesis", "--column anchor=premise --column positive=hypothesis"),
        ("title,body", "--column anchor=title --column positive=body"),
        ("Sentence A,Sentence B,relatedness", "--column 'sentence1=Sentence A' "
         "--column 'sentence2=Sentence B' --column score=relatedness"),
        ("query,pos,neg", "--column anchor=query --column positive=pos --column negative=neg"),
        ("review,category", "--column text=review --column label=category"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_ordinary_names_are_asked_about_with_what_to_type(
    tmp_path: Path, header: str, typed: str, form: str
) -> None:
    names = header.split(",")
    cells = ["a man", "a boy runs", "0.5" if len(names) == 3 and "pos" not in header else "x"]
    if form == "csv":
        path = write(tmp_path, "a.csv", f"{header}\n{','.join(cells[: len(names)])}\n")
    else:
        row = ", ".join(f'"{name}": "{cell}"' for name, cell in zip(names, cells, strict=False))
        path = write(tmp_path, "a.jsonl", f"{{{row}}}\n")
    assert said(path).endswith(f"give {typed}")
    columns = {}
    for word in typed.split("--column ")[1:]:
        ours, _, theirs = word.strip().strip("'").partition("=")
        columns[ours] = theirs
    first, *_ = read_rows(path, columns=columns).columns.values()
    assert first == [cells[names.index(next(iter(columns.values())))]]


def test_a_label_beside_a_possible_pair_is_warned_of(tmp_path: Path) -> None:
    for header in ("premise,hypothesis,label", "question1,question2,is_duplicate"):
        path = write(tmp_path, "a.csv", f"{header}\na,b,0\n")
        name = header.split(",")[2]
        assert f"{name} may call some of the pairs different, and those must go first" in said(path)


@pytest.mark.parametrize(
    ("names", "use", "leave"),
    [
        ("anchor,positive,negatives", "negative=negatives", "anchor=anchor positive=positive"),
        ("sent0,sent1,neg", "negative=neg", "anchor=sent0 positive=sent1"),
        ("anchor,positive,hard_negatives", "negative=hard_negatives",
         "anchor=anchor positive=positive"),
        ("anchor,positive,positives", "positive=positives", "anchor=anchor positive=positive"),
        ("text,labels", "label=labels", "text=text"),
        ("text,positive", "anchor=text positive=positive", "text=text"),
        ("sentence1,sentence2,similarity", "sentence1=sentence1 sentence2=sentence2 "
         "score=similarity", "anchor=sentence1 positive=sentence2"),
        ("anchor,positive,label", "sentence1=anchor sentence2=positive score=label",
         "anchor=anchor positive=positive"),
    ],
)  # fmt: skip
def test_a_column_near_to_ours_does_not_go_unused_without_a_word(
    tmp_path: Path, names: str, use: str, leave: str
) -> None:
    cells = ["a man", "a boy", "1"][: names.count(",") + 1]
    path = write(tmp_path, "a.csv", f"{names}\n{','.join(cells)}\n")
    words = [" ".join(f"--column {each}" for each in way.split(" ")) for way in (use, leave)]
    assert said(path).endswith(f"give {words[0]} or {words[1]}")
    kept = dict(each.split("=") for each in leave.split(" "))
    assert list(read_rows(path, columns=kept).columns) == list(kept)


def test_a_label_that_a_mapping_leaves_out_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "a.csv", "question1,question2,is_duplicate,id\na,b,0,7\n")
    caplog.set_level(logging.INFO, "simcse_kit")
    read_rows(path, columns={"sentence1": "question1", "sentence2": "question2"})
    (warned,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warned.startswith(f"{path}: is_duplicate is not read: pairs that it calls different")
    assert caplog.text.count("columns ignored: is_duplicate, id") == 1


def test_hard_negative_is_a_name_of_ours_and_ids_are_no_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "anchor,positive,hard_negative,positive_id,topic\na,b,c,1,x\n")
    assert list(read_rows(path).columns) == ["anchor", "positive", "negative"]
    found = {name: close(name) for name in ("negatives", "pos", "Labels", "sentance1", "context")}
    assert found == {
        "negatives": "negative", "pos": "positive", "Labels": "label", "sentance1": "sentence1",
        "context": None,
    }  # fmt: skip
    assert (guess("context"), guess("title"), guess("url")) == ("positive", "anchor", None)


def test_what_a_command_wants_is_not_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,labels\na man,x\n")
    assert read_rows(path, wanted=["text"]).columns == {"text": ["a man"]}


def test_a_header_that_stands_again_is_doubted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "a.csv", "I like this,text\nwhat a view,image\nso be it,text\n")
    assert "may be none, for 'text' stands in" in said(path) and "a.csv:3 too" in said(path)
    assert len(read_rows(path, header=False)) == 3
    joined = write(tmp_path, "b.csv", "text,label\na man,x\ntext,label\na dog,y\n")
    assert len(read_rows(joined)) == 3
    assert "b.csv:3: is the header again, and is read as a row" in caplog.text


DOUBTED = {
    "bars": (["0||一个人||有人||4", "1||猫||火||0"], "every line holds '||' (0||一个人||有人||4)"),
    "tabs": (["a\tb", "", "c\td"], "every line holds tabs (a\tb), which are taken as text as they "
             "stand; if it is a table, name the file .tsv"),
    "stanford": (["a ||| b", "c d ||| e"], "every line holds '|||'"),
    "json": (['{"text": "a"}', '{"text": "b"}'], "every line is JSON ({\"text\": \"a\"})"),
    "arrays": (['["a", "b"]', '["c", "d"]'], "name the file .jsonl"),
    "table": ([f"a man {row},a boy,{row / 2}" for row in range(9)], "name the file .csv"),
    "semicolons": ([f"{row};a man;a boy" for row in range(9)], "every line holds semicolons"),
}  # fmt: skip


@pytest.mark.parametrize("case", DOUBTED)
def test_a_table_or_json_in_a_txt_is_doubted_with_its_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    caplog.set_level(logging.WARNING, "simcse_kit")
    lines, expected = DOUBTED[case]
    path = write(tmp_path, "a.txt", "\n".join(["", *lines]) + "\n")
    read_rows(path)
    assert f"{path}:2: every line" in caplog.text and expected in caplog.text


@pytest.mark.parametrize(
    "lines",
    [
        ["a, b", "c, d", "e, f"],
        ["Yes; no.", "No; yes."],
        ["(a || b)", "c"],
        ["[1]", "text"],
        ["{a}", "{b}"],
        [f"In {year}, it rained." for year in range(1990, 2000)],
        ["one line || only"],
    ],
)
def test_ordinary_texts_are_not_doubted(lines: list[str]) -> None:
    assert doubt("a.txt", lines) is None


@pytest.mark.parametrize(
    ("cells", "doubted"),
    [
        (['["a", "b"]', '["c"]'], True),
        (["['a', 'it\\'s']", "['c']"], True),
        (["['a' 'b']", "['c']"], True),  # as numpy writes them
        (["[deleted]", "[removed]"], False),
        (["[1]", "[2]"], False),
        (["['a']", "b"], False),
        (["[" * 5000 + "]", "[]"], False),
    ],
)
def test_lists_written_in_the_cells_of_a_table_are_doubted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cells: list[str], doubted: bool
) -> None:
    quoted = [cell.replace('"', '""') for cell in cells]
    table = "anchor,sent1\n" + "".join(f'{row},"{cell}"\n' for row, cell in enumerate(quoted))
    rows = read_rows(write(tmp_path, "a.csv", table))
    assert rows.columns["positive"] == cells
    assert ("every text of sent1 is a list as it is written" in caplog.text) == doubted


def test_a_keyword_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one\ntwo\n")
    with pytest.raises(TypeError, match="'skip_bad_row'; there are header, skip_bad_rows"):
        read_rows(path, skip_bad_row=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="with file_format='csv'"):
        read_rows(write(tmp_path, "a.dat", "one\n"))


def test_a_return_inside_a_line_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\rhalf\r\nthree\r\r\n")
    assert len(read_rows(path)) == 3
    assert f"{path}:2: holds a carriage return inside" in caplog.text
    assert caplog.text.count("carriage") == 1


def test_lines_without_a_header_that_are_said_to_have_one_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "text\none\n")
    with pytest.raises(InputError, match=r"has no header; .* give file_format='csv'"):
        read_rows(path, header=True)
    assert read_rows(path, header=True, file_format="csv").columns == {"text": ["one"]}
    assert read_rows(path, header=False).columns == {"text": ["text", "one"]}
    arrays = write(tmp_path, "a.jsonl", '["text"]\n["one"]\n')
    with pytest.raises(InputError, match="holds arrays, which have no header"):
        read_rows(arrays, header=True)


def test_a_record_without_the_key_is_kept_as_a_blank_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n{}\n{"text": null}\n{"text": "b"}\n')
    rows = read_rows(path, wanted=["text"], blank="keep")
    assert rows.columns == {"text": ["a", "", "", "b"]} and rows.numbers is None
    rows = read_rows(path, wanted=["text"], blank="skip")
    assert rows.numbers is not None and rows.numbers.tolist() == [0, 3]


def test_each_column_is_read_once_to_find_blank_rows() -> None:
    columns, read = [["", "a", None], [None, None, " "]], []

    def cells(index: int) -> list[str | None]:
        read.append(index)
        return columns[index]

    table = Table("memory", 2, cells, ["anchor", "positive"])
    assert table.blank_among(range(3)) == {0, 2} and read == [0, 1]


def test_a_blank_first_row_is_a_row_where_its_commas_are_there(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "\n ,\nb,c\n\n,d\n")
    rows = read_rows(path, wanted=["text"], columns={"text": "1"}, header=False, blank="keep")
    assert rows.columns == {"text": ["", "b", ""]} and rows.blank == 2
    assert rows.lines is not None and rows.lines.tolist() == [2, 3, 5]


def test_no_column_is_offered_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one\ntwo\n")
    with pytest.raises(InputError, match=r"for label \(it has text\); all it has are taken"):
        read_rows(path, wanted=["text", "label"])
