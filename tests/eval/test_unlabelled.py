"""What texts without labels give: variants of a file, teachers of own seeds, on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.quality import unlabelled
from eval.quality.kept_runs import AVERAGE, START
from eval.quality.unlabelled import (
    CHOICE,
    DEV,
    PARAPHRASES,
    TITLES,
    Variant,
    claim,
    paraphrases,
    parse,
    run,
    variants_of,
)
from simcse_kit.errors import InputError
from simcse_kit.training import build_config
from training_rows import dev_task
from unlabelled_work import words, work


def test_students_learn_from_teachers_of_their_own_seeds(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = work(tiny_encoder("bert"), tmp_path)
    asked = parse(words(tmp_path, "--seeds", "1", "2", "--against", "plain"))
    figures = run(asked, work=shared)
    assert set(figures["summary"]) == {START, "plain", "dropout", "student", "mean"}
    student = figures["summary"]["student"]
    assert set(student) == {DEV, TITLES, PARAPHRASES, CHOICE}
    parts = [student[label]["mean"] for label in (DEV, TITLES, PARAPHRASES)]
    assert student[CHOICE]["mean"] == pytest.approx(np.mean(parts))
    assert student[CHOICE]["above plain"]["difference"] == pytest.approx(
        student[CHOICE]["mean"] - figures["summary"]["plain"][CHOICE]["mean"]
    )
    assert json.loads((tmp_path / "json").read_text())["claim"] == claim(figures)
    teachers = sorted(each.name for each in (tmp_path / "output-dir/choice/teachers").glob("*-*"))
    assert teachers == [f"{of}-{seed}" for of in ("dropout", "plain") for seed in
                        (1000, 1001, 2000, 2001)]  # fmt: skip

    def never(*_: object) -> None:
        raise AssertionError("it is finished")

    monkeypatch.setattr(unlabelled, "trained", never)
    assert run(asked, work=shared)["summary"] == figures["summary"]
    with pytest.raises(InputError, match="other settings"):
        run(asked, work=replace(shared, settings=[*shared.settings, "dropout=0.3"]))
    with pytest.raises(InputError, match=r"asked\.json was written by runs of other"):
        run(asked, work=replace(shared, texts=shared.texts[::-1]))
    other = shared.variants | {"dropout": Variant(settings={"dropout": 0.25})}
    with pytest.raises(InputError, match=r"student\.json was written by"):  # of its teacher
        run(parse(words(tmp_path, "--only", "student")), work=replace(shared, variants=other))


def test_the_suite_is_kept_apart_from_the_choice(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    shared = replace(work(tiny_encoder("bert"), tmp_path), suite=[replace(dev_task(), name="own")])
    figures = run(parse(words(tmp_path, "--only", "plain")), work=shared)
    assert AVERAGE in figures["summary"]["plain"] and AVERAGE in claim(figures)
    assert [each.name for each in (tmp_path / "output-dir").iterdir()] == ["suite"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain: {recipes: x}", "plain"),
        ("student: {teachers: {of: [plain]}}", "student: no variant plain stands before it"),
        ("plain: {}\nsoup: {mean: {of: [plain]}, settings: {seed: 1}}", "it takes no settings"),
        ("a: {}\nb: {mean: {of: [a]}}\nc: {mean: {of: [b]}}", "c: b is a mean; name the runs"),
        ("- plain", "a variant a key"),
        ("plain: {", "while parsing"),
    ],
)
def test_a_file_of_variants_says_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "variants.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        variants_of(tmp_path / "variants.yaml")


def test_the_committed_variants_are_settings_that_there_are() -> None:
    found = variants_of(Path(unlabelled.__file__).with_suffix(".yaml"))
    assert "plain" in found
    for variant in found.values():
        build_config(variant.recipe, (), variant.settings)


def test_paraphrases_are_two_columns(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("sentence1\tsentence2\none is here\tone stands here\n")
    queries, texts, own = paraphrases(tmp_path / "pairs.tsv")
    assert (queries, texts, own.tolist()) == (["one is here"], ["one stands here"], [0])
    (tmp_path / "texts.txt").write_text("one is here\n")
    with pytest.raises(InputError, match="two columns"):
        paraphrases(tmp_path / "texts.txt")
