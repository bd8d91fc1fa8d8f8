"""Pairs that documents make of themselves: what each way takes, seeds, counts, bad input."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from sklearn.feature_extraction.text import TfidfVectorizer

from simcse_kit.data import (
    WAYS,
    document_links,
    make_pairs,
    read_rows,
    whole_documents,
    write_pairs,
)
from simcse_kit.data.within_documents import document_of, key_terms, sentences_of
from simcse_kit.data.within_documents.sentences import words_of
from simcse_kit.errors import InputError


def numbered(document: int, sentences: int) -> str:
    """Sentences that all differ, four words each, the last in a paragraph of its own."""
    *most, last = (f"Doc{document} part{n} is w{document}x{n}." for n in range(sentences))
    return " ".join(most) + f"\n\n{last}"


DOCUMENTS = [numbered(d, 3 + d % 4) for d in range(20)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One is here. Two is there! Three?", ["One is here.", "Two is there!", "Three?"]),
        ("See e.g. This, i.e. That by J. R. Smith. Go.", 2),
        ("See Fig. 3 and Eq. 4. Version 3.5 is out. it stays.", 2),
        ("He said “Stop.” Then he went. (He did.) Yes.", 4),
        ("今天天气很好。我们去公园吧！好的？", ["今天天气很好。", "我们去公园吧！", "好的？"]),
        ("次の文「はい。」と言った。終わり！", ["次の文「はい。」と言った。", "終わり！"]),
        ("Привет мир. Как дела? ¿Qué tal? Bien.", 4),
        ("मैं घर जाता हूँ। वह आता है।", 2),
        ("میں گھر جاتا ہوں۔ وہ آتا ہے۔", 2),
        ("Ես տուն եմ գնում։ Նա գալիս է։", 2),
        ("ខ្ញុំទៅផ្ទះ។ គាត់មក។", 2),
        ("ကျွန်ုပ်တို့သည် မြို့သို့ သွားကြသည်။ သူလည်း လာသည်။", 2),
        ("ཁྱེད་རང་གི་མིང་ལ་ག་རེ་ཟེར་གྱི་ཡོད།", 1),
        ("بِسْمِ ٱللَّهِ ٱلرَّحْمَٰنِ ٱلرَّحِيمِ", 1),
        ("สวัสดีครับ วันนี้อากาศดี", 1),
        ("z. B. Hunde und u. a. Katzen. Ende.", 2),
        ("См. рис. 5 и табл. 3. В г. Москва живут. Да.", 3),
        ("قال د. خالد إن الأمر مهم. وهذا صحيح؟ نعم.", 3),
        ("In the U.S. The law holds. At 5 p.m. He left. Ph.D. Students go.", 3),
        ("Justifies a str. The env. Goes on, see the sig. It ends.", 4),
        ("It is x. The rest follows. Learn C. Go on.", 3),
        ("no capitals here. none there, e.g. in chats. so it goes", 3),
        ("2.1. Methods are here. 2. Then that. Done 3. 4.", 3),
        ("你好!我们走吧?好.我们去", ["你好!", "我们走吧?", "好.", "我们去"]),
        (
            "Great! 🎉 Next is here. 👍🏽 Ok 😀 then.",
            ["Great! 🎉", "Next is here. 👍🏽", "Ok 😀 then."],
        ),
        ("|----|====|", []),
        ("", []),
    ],
)
def test_where_sentences_end(text: str, sentences: list[str] | int) -> None:
    found = sentences_of(text)
    assert (len(found) if isinstance(sentences, int) else found) == sentences
    assert "".join("".join(found).split()) in ("".join(text.split()), "")  # nothing is lost


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        (  # a title, wrapped lines, blank lines
            "Returning a parcel\nParcels can be sent back within thirty\ndays of the day they came."
            " Ask us.\n\nMoney comes later.",
            [
                ["Returning a parcel", "Parcels can be sent back within thirty days of the day they"
                 " came.", "Ask us."],
                ["Money comes later."],
            ],
        ),
        (  # Markdown
            "# A head\n\n- item one\n- item two. More.\n\n```\ncode()\n```\n| a | b |\nText.",
            [["A head"], ["item one"], ["item two.", "More."], ["Text."]],
        ),
        ("```a``` is code.\n\nText stays.\n\n```b``` is code, too.", [["```a``` is code."],
                                                       ["Text stays."], ["```b``` is code, too."]]),
        ("````md\n```\na\n```\n````\nText.", [["Text."]]),
        (  # a docstring
            "Compute the mean.\n\nThe average is taken over\nall. It is fast.\n\n>>> mean(a)\n",
            [["Compute the mean."], ["The average is taken over all.", "It is fast."]],
        ),
        ("今天天气很好我们走\n到公园里去。好。", [["今天天气很好我们走到公园里去。", "好。"]]),
        ("one\r\n\r\ntwo", [["one"], ["two"]]),
        ("1234 -- 5678", []),
        (  # reStructuredText, whose underlines are no fences
            "Head\n====\n\nInstallation\n~~~~~~~~~~~~\n\nText is here.\n\nUsage\n~~~~~\n\nMore is.",
            [["Head"], ["Installation"], ["Text is here."], ["Usage"], ["More is."]],
        ),
        ("Name | Value\n---|---\na | b\nText.\n\nNo | table.", [["Text."], ["No | table."]]),
        ("In it:\nName | Value\n:--- | ---:\na \\| c | b\n# Head | tail\n- one | two",
         [["In it:"], ["Head | tail"], ["one | two"]]),
        ("a | b\nTitle\n---\n\nText | and\n--- | --- | ---\n",
         [["a | b", "Title"], ["Text | and"]]),
        ("Text | here\n- | ---\n", [["Text | here"]]),
        ("> Name | Value\n> --- | ---\n> a | b\n\nText.", [["Text."]]),
        ("===  ===\nA    B\n===  ===\na    b\n===  ===\n\nText.", [["Text."]]),
        ("Text.\n\n~~~ py\ncode\n~~~\nMore.\n\n```sh\nnever closed", [["Text."], ["More."],
                                                                   ["never closed"]]),
        ("# Learn C#\n\n## Two ##\n\nText.", [["Learn C#"], ["Two"], ["Text."]]),
        ("short title\na long line in lower case that goes on\nand on. it ends.",
         [["short title", "a long line in lower case that goes on and on.", "it ends."]]),
    ],
)  # fmt: skip
def test_paragraphs_of_prose_docstrings_and_markdown(
    text: str, paragraphs: list[list[str]]
) -> None:
    assert [list(each) for each in document_of(text).paragraphs] == paragraphs


def test_tables_with_and_without_bars_at_their_sides_are_those_of_markdown_it() -> None:
    """On documents of paragraphs and tables, these with bars on both sides, on one, or on none."""
    parser = MarkdownIt().enable("table")
    draws = np.random.default_rng(11)

    def words(count: int) -> str:
        return " ".join(draws.choice(["red", "Dog", "one", "of\\|two", "`a`", "it's"], count))

    def line(cells: list[str], begin: bool, end: bool) -> str:
        gap = " " if draws.random() < 0.7 else ""
        return f"{'|' * begin}{gap}{f'{gap}|{gap}'.join(cells)}{gap}{'|' * end}"

    def table() -> str:
        columns, begin, end = int(draws.integers(2, 5)), *(draws.random(2) < 0.4)
        rows = [[words(int(draws.integers(1, 4))) for _ in range(columns)] for _ in range(4)]
        rule = [str(draws.choice(["---", ":--", "-:", "--", ":-:"])) for _ in range(columns)]
        rule += ["---"] * int(draws.random() < 0.2)  # then it is none
        return "\n".join(line(each, bool(begin), bool(end)) for each in [rows[0], rule, *rows[1:]])

    tables = 0
    for _ in range(300):
        blocks = [table() if draws.random() < 0.5 else f"The {words(5)}." for _ in range(5)]
        text = "\n\n".join(blocks)
        if draws.random() < 0.3:  # a table that a line of prose goes straight before
            text = text.replace(".\n\n", ".\n", 1)
        tokens = parser.parse(text)
        tables += sum(token.type == "table_open" for token in tokens)
        paragraphs = [
            inline.content
            for opening, inline in pairwise(tokens)
            if opening.type == "paragraph_open"
        ]
        found = " ".join(" ".join(each) for each in document_of(text).paragraphs)
        wanted = document_of("\n\n".join(paragraphs))
        assert found == " ".join(" ".join(each) for each in wanted.paragraphs), text
    assert tables > 300


def test_words_are_counted_in_scripts_with_and_without_blanks() -> None:
    assert words_of("It is (really) 3 words, or-more") == 7
    assert words_of("今天天气很好") == 3 and words_of("今a") == 2


@pytest.mark.parametrize("way", WAYS)
def test_sides_come_from_one_document_and_depend_on_the_seed_alone(way: str) -> None:
    made = make_pairs(DOCUMENTS, [way], per_document=2, seed=3, least=1)
    assert make_pairs(DOCUMENTS, [way], per_document=2, seed=3, least=1).rows.columns == (
        made.rows.columns
    )
    again = make_pairs([*DOCUMENTS[:10], *DOCUMENTS[10:]], [way], per_document=2, seed=4, least=1)
    assert way in ("title", "paragraphs") or again.rows.columns != made.rows.columns
    assert made.rows.documents is not None
    pairs = zip(*made.rows.columns.values(), strict=True)
    for (anchor, positive), number in zip(pairs, made.rows.documents, strict=True):
        text = DOCUMENTS[number]
        for side in (anchor, positive):
            for sentence in [] if way == "keywords" and side is anchor else sentences_of(side):
                assert sentence in text
    assert len(set(zip(*made.rows.columns.values(), strict=True))) == len(made)
    assert made.by_way == {way: len(made)}


def test_titles_go_with_what_follows_up_to_whole_sentences() -> None:
    made = make_pairs([numbered(0, 5), numbered(1, 2)], ["title"], words=8)
    assert made.rows.columns == {
        "anchor": ["Doc0 part0 is w0x0.", "Doc1 part0 is w1x0."],
        "positive": ["Doc0 part1 is w0x1. Doc0 part2 is w0x2.", "Doc1 part1 is w1x1."],
    }


def test_a_title_of_one_word_gives_way_to_the_next_sentence() -> None:
    texts = [
        "Introduction\n\nOpen the valve now. Then water comes out.",
        "Valve\n\nIt is open now.",
    ]
    assert make_pairs(texts, ["title"]).rows.columns == {
        "anchor": ["Open the valve now."],
        "positive": ["Then water comes out."],
    }
    made = make_pairs(texts, ["title"], least=1)
    assert made.rows.columns["anchor"] == ["Introduction", "Valve"]


def test_crops_share_no_sentence_and_come_in_either_order() -> None:
    made = make_pairs([numbered(d, 6) for d in range(60)], ["crop"], per_document=2, least=1)
    orders = set()
    for anchor, positive in zip(*made.rows.columns.values(), strict=True):
        one, other = sentences_of(anchor), sentences_of(positive)
        assert not set(one) & set(other)
        orders.add(one[0] < other[0])
    assert orders == {True, False}


def test_a_cloze_is_from_inside_and_mostly_taken_out() -> None:
    made = make_pairs([numbered(d, 6) for d in range(400)], ["cloze"])
    anchors, positives = made.rows.columns.values()
    assert not any("part0 " in anchor for anchor in anchors)
    left = sum(a in p for a, p in zip(anchors, positives, strict=True))
    assert 20 <= left <= 64  # of 400, a tenth


def test_neighbours_follow_each_other() -> None:
    made = make_pairs(DOCUMENTS, ["sentences"], per_document=3)
    for anchor, positive in zip(*made.rows.columns.values(), strict=True):
        places = [int(side.split("part")[1].split()[0]) for side in (anchor, positive)]
        assert places[1] == places[0] + 1
    paragraphs = make_pairs(["The first is here.\n\nAnd the next one."] * 2, ["paragraphs"])
    assert paragraphs.rows.columns["positive"] == ["And the next one."]
    assert paragraphs.repeated == 1


def test_keywords_are_those_of_most_weight() -> None:
    texts = ["The red fox runs fast today.", "The red dog sleeps.", "A bird sings the song."]
    terms = key_terms([document_of(text) for text in texts])
    oracle = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    weights = oracle.fit_transform(texts).toarray()
    for row, found in zip(weights, terms, strict=True):
        known = dict(zip(oracle.get_feature_names_out(), row, strict=True))
        assert set(found) == {name for name, weight in known.items() if weight > 0}
        ordered = [known[name] for name in found]
        assert np.allclose(ordered, sorted(ordered, reverse=True))
    assert key_terms([document_of("今天天气")])[0] == ["今天", "天天", "天气"]
    assert key_terms([document_of("1 2 3")]) == [[]]


def test_what_gives_nothing_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    unsplit = "word " * 80
    texts = [*DOCUMENTS[:4], DOCUMENTS[0], "Too short.", unsplit, ""]
    made = make_pairs(texts, ["title", "sentences"])
    told = made.to_json()
    assert told["documents"] == 8 and told["repeated"] == 1 and told["too_short"] == 2
    assert told["without_a_pair"] == 1 and told["unsplit"] == 1
    assert told["by_way"] == {"title": 4, "sentences": 4} and told["pairs"] == 8
    assert told["documents_without"] == {"title": 1, "sentences": 1}
    assert "1 long documents have no end of a sentence" in caplog.text


def test_pairs_are_read_again_with_their_documents(tmp_path: Path) -> None:
    made = make_pairs(DOCUMENTS, ["title", "crop"])
    for suffix in ("parquet", "jsonl", "csv", "tsv"):
        write_pairs(made, tmp_path / f"pairs.{suffix}")
        rows = read_rows(tmp_path / f"pairs.{suffix}")
        assert rows.columns == made.rows.columns and rows.kind == "pairs"
        assert rows.documents is not None and made.rows.documents is not None
        assert (rows.documents == made.rows.documents).all()


def test_documents_are_rows_or_the_lines_between_blank_ones(tmp_path: Path) -> None:
    plain = tmp_path / "a.txt"
    plain.write_text("A title\nand its text.\n\nAnother one.\n")
    assert whole_documents(read_rows(plain)) == ["A title\nand its text.", "Another one."]
    plain.write_text("One.\nTwo.\n")
    assert whole_documents(read_rows(plain)) == ["One.", "Two."]
    table = tmp_path / "a.csv"
    table.write_text("text,document\nOne.,x\nTwo.,y\nThree.,x\n")
    assert whole_documents(read_rows(table)) == ["One.\n\nThree.", "Two."]
    table.write_text('body\n"One.\n\nTwo."\nThree.\n')
    assert whole_documents(read_rows(table, columns={"text": "body"})) == ["One.\n\nTwo.", "Three."]


def test_texts_of_a_document_are_linked_as_by_a_naive_loop() -> None:
    draws = np.random.default_rng(0)
    documents = draws.integers(0, 6, 40)
    columns = [draws.integers(0, 25, 40) for _ in range(2)]
    wanted = set()
    for number in range(6):
        texts = [int(c[row]) for c in columns for row in np.flatnonzero(documents == number)]
        wanted |= {one * 25 + other for one in texts for other in texts if one != other}
    assert set(document_links(columns, documents, 25).tolist()) == wanted


@pytest.mark.parametrize(
    ("texts", "how", "says"),
    [
        (DOCUMENTS, {"ways": ["titel"]}, "ways: 'titel' must be one of .*did you mean 'title'"),
        (DOCUMENTS, {"ways": []}, "ways must be some of title, .*not none$"),
        (DOCUMENTS, {"ways": ["crop", "crop"]}, "each once"),
        (DOCUMENTS, {"per_document": 0}, "per_document must be 1 or more, not 0"),
        (["Too short."] * 3, {}, "3 documents give no pair by title, .*fewer than 6 words"),
        (["this is one long line without an end"], {"ways": ["title"]}, "two sentences"),
        (
            ["a b", "c d", "the and of to in a the of"],
            {"ways": ["keywords"]},
            "2 have fewer than 6 words, 1 have no three words that tell it",
        ),
        (DOCUMENTS, {"least": 50, "words": 30}, "least 50 is above words 30"),
    ],
)
def test_what_cannot_be_made_is_said(texts: list[str], how: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_pairs(texts, **how)  # type: ignore[arg-type]


def test_rows_that_are_pairs_already_are_no_documents(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("anchor,positive\na,b\n")
    with pytest.raises(InputError, match="are pairs already; train on them"):
        whole_documents(read_rows(path))


def test_a_query_goes_with_the_part_of_a_long_document_that_has_most_of_its_words() -> None:
    draws = np.random.default_rng(0)
    words = [f"{a}{b}{c}o" for a in "bdfgkl" for b in "aeiou" for c in "mnprst"]
    texts = [
        " ".join(f"{' '.join(draws.permutation(words)[:6])}.".capitalize() for _ in range(30))
        for _ in range(6)
    ]
    made = make_pairs(texts, ["keywords"], per_document=4, words=25)
    assert made.rows.documents is not None
    for query, part, number in zip(
        *made.rows.columns.values(), made.rows.documents.tolist(), strict=True
    ):
        sentences = document_of(texts[number]).sentences
        spans = [" ".join(sentences[at : at + 4]) for at in range(len(sentences))]
        found = [len(set(query.split()) & set(re.findall(r"\w+", each.lower()))) for each in spans]
        assert part == spans[found.index(max(found))]


def test_what_most_documents_have_is_passed_over() -> None:
    texts = [f"About us\n\n{numbered(d, 4)}\n\nAll rights are reserved." for d in range(12)]
    made = make_pairs(texts, [*WAYS])
    assert made.common == 2 and made.to_json()["common_sentences"] == 2
    assert not any(
        "us" in t.split() or "rights" in t for c in made.rows.columns.values() for t in c
    )
    assert "more than a quarter of the documents have them: 2." in " ".join(made.sentences())
    bare = make_pairs([numbered(d, 4) for d in range(12)], ["title", "crop", "cloze"])
    again = make_pairs(texts, ["title", "crop", "cloze"])
    assert again.rows.columns == bare.rows.columns  # as if they had none of it
    fewer = make_pairs(texts[:11], ["title"])
    assert fewer.common == 0 and set(fewer.rows.columns["anchor"]) == {"About us"}


def test_documents_of_equal_prose_are_one() -> None:
    text = "A title\n\nFirst is the dog here. Second is the cat there."
    same = [text, text.replace(" ", "  "), text.replace("\n", "\r\n") + "\n\n| a | 1 |\n"]
    made = make_pairs([*same, numbered(0, 3)], ["title", "crop", "cloze"], per_document=3)
    assert made.repeated == 2 and made.rows.documents is not None
    assert set(made.rows.documents.tolist()) == {0, 3}
