"""``evaluate``, ``compare``, ``geometry`` and ``leakage``: what they print and write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from invoking import run, succeed
from mini_senteval import build_tree
from simcse_kit.commands import options
from simcse_kit.encoder.card import with_section
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.evaluation.sts.protocols import ProtocolName
from simcse_kit.evaluation.sts.tasks import PUBLISHED
from simcse_kit.training.runs.seed_folder import SeedFolder

FAST = ("--draws", "200")


def fail(*arguments: object) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (complaint,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return complaint


@pytest.fixture(scope="module")
def room(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, two recipes of seeds, scored pairs, an STS-B test set; only read."""
    root = tmp_path_factory.mktemp("room")
    torch.manual_seed(0)
    for name in ("a", "b", "c", "one/seed-1", "one/seed-2", "two/seed-1", "two/seed-2"):
        encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
        for parameter in encoder.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        encoder.save_pretrained(root / name)
    run_of = {"steps": 4, "best_step": None, "best_score": None, "stopped": None}
    for recipe in ("one", "two"):
        SeedFolder(root / recipe, {}, {1: run_of, 2: run_of}).write()
    build_tree(root / "sts", {"STSB": PUBLISHED["STSB"]})
    lines = (root / "sts/STS/STSBenchmark/sts-test.csv").read_text().splitlines()[:40]
    rows = ["sentence1\tsentence2\tscore"]
    rows += ["\t".join((first, second, gold)) for *_, gold, first, second in map(_split, lines)]
    (root / "pairs.tsv").write_text("\n".join(rows))
    (root / "three.tsv").write_text("\n".join(rows[:4]))
    (root / "texts.txt").write_text("\n".join(row.split("\t")[0] for row in rows[1:]))
    return root


def _split(line: str) -> list[str]:
    return line.split("\t")


def test_the_options_name_every_protocol() -> None:
    hints = get_type_hints(options.STSOptions)
    assert get_args(hints["protocol"]) == get_args(ProtocolName)


# -- evaluate


def test_evaluate_shows_how_sure_a_figure_is(room: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    shown = succeed("evaluate", room / "a", "--tasks", room / "pairs.tsv", "--json", out)
    figures = json.loads(out.read_text())
    interval = figures["intervals"]["tasks"]["pairs"]
    assert interval["low"] < figures["tasks"]["pairs"]["spearman"] < interval["high"]
    assert figures["intervals"]["draws"] == 10_000 and figures["intervals"]["level"] == 0.95
    assert f"{interval['low']:.1f}–{interval['high']:.1f}".replace("-", "−") in shown
    assert "95 % interval over" in shown and "protocol senteval-all" in shown
    protocol = figures["protocol"]
    assert protocol["name"] == "senteval-all" and "x 100" in protocol["scale"]
    assert {"pooling", "precision", "max_length"} <= protocol.keys()
    assert figures["tasks"]["pairs"]["n"] == 40


def test_the_same_bytes_twice(room: Path) -> None:
    arguments = ("evaluate", room / "a", "--tasks", room / "pairs.tsv", "--json", "-")
    assert succeed(*arguments) == succeed(*arguments)
    both = ("compare", room / "a", room / "b", "--tasks", room / "pairs.tsv", "--json", "-")
    assert succeed(*both, *FAST) == succeed(*both, *FAST)


def test_evaluate_without_intervals(room: Path) -> None:
    arguments = ("evaluate", room / "a", "--tasks", room / "pairs.tsv", "--no-intervals")
    assert "interval" not in succeed(*arguments)
    assert json.loads(succeed(*arguments, "--json", "-"))["intervals"] is None


def test_clustered_intervals_or_the_reason_why_not(room: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", room / "a", *FAST, "--tasks")
    shown = succeed(*arguments, room / "pairs.tsv", "--clustered")
    assert "pairs that share a sentence taken together" in shown
    shown = succeed(*arguments, room / "pairs.tsv", "--no-clustered")
    assert "pairs that share a sentence taken together" not in shown
    star, pairs = tmp_path / "star.tsv", (room / "pairs.tsv").read_text().splitlines()
    rows = [f"a man\t{row.split(chr(9), 1)[1]}" for row in pairs[1:]]
    star.write_text("\n".join([pairs[0], *rows]))
    shown = " ".join(succeed(*arguments, star, "--clustered").split())
    assert "has no interval on star: One sentence of star is in 40 of 40 pairs" in shown
    widths = []
    for how in ([], ["--no-clustered"]):  # by default as of the two pairs that four sentences make
        found = json.loads(succeed(*arguments, star, *how, "--json", "-"))["intervals"]
        widths.append(found["tasks"]["star"]["high"] - found["tasks"]["star"]["low"])
    assert widths[0] > 3 * widths[1]


@pytest.mark.parametrize("name", get_args(ProtocolName))
def test_every_protocol_stands_beside_its_number(room: Path, name: str) -> None:
    arguments = ("evaluate", room / "a", "--tasks", "STSB", "--data-dir", room / "sts", *FAST)
    figures = json.loads(succeed(*arguments, "--protocol", name, "--json", "-"))
    assert figures["protocol"]["name"] == name
    shown = " ".join(succeed(*arguments, "--protocol", name).split())
    assert f"protocol {name}: " in shown
    assert ("The text is lower-cased, and mteb scores it original case" in shown) == (
        name == "mteb"
    )
    published = {"senteval-all": ["53.87", "76.85"], "wmean": ["59.04", "76.85"]}.get(name, [])
    assert all(score in shown for score in published)
    assert ("Published figures: " in shown) == bool(published)
    assert ("Gao et al. 2021" in shown) == bool(published)


def test_published_rows_can_be_all_or_none(room: Path) -> None:
    arguments = ("evaluate", room / "a", "--tasks", "STSB", "--data-dir", room / "sts", *FAST)
    assert "RoBERTa-large" in succeed(*arguments, "--published", "all")
    assert "SimCSE" not in succeed(*arguments, "--published", "none", "--markdown")
    near = json.loads(succeed(*arguments, "--json", "-"))["published"]
    assert {row["encoder"] for row in near} == {"bert-base"}
    assert all("2104.08821" in row["source"] for row in near)


def test_evaluate_sums_up_the_seeds_of_a_recipe(room: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", room / "one", "--tasks", room / "pairs.tsv", *FAST)
    shown = succeed(*arguments)
    figures = json.loads(succeed(*arguments, "--json", "-"))
    scores = [each["tasks"]["pairs"]["spearman"] for each in figures["runs"]]
    assert figures["tasks"]["pairs"]["spearman"] == pytest.approx(sum(scores) / 2)
    assert figures["intervals"]["seeds"] == 2
    sd = abs(scores[0] - scores[1]) / 2**0.5
    assert figures["intervals"]["sd"]["pairs"] == pytest.approx(sd, abs=1e-9)
    assert f"{sum(scores) / 2:.2f} ± {sd:.2f}" in shown
    assert "name a seed's own" in fail(*arguments, "--plots", tmp_path / "plots")


def test_a_damaged_or_unfinished_folder_of_seeds_is_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    SeedFolder(folder, {}, {1: {}}).write()
    assert "1 finished" in fail("evaluate", folder, "--tasks", "STSB")
    for text in ("{", "[]", '{"runs": {"x": {}}, "settings": {}, "summary": null}'):
        (folder / "seeds.json").write_text(text)
        assert "seeds.json is damaged" in fail("evaluate", folder, "--tasks", "STSB")


# -- the model card


def test_update_card_writes_the_table_once(room: Path, tmp_path: Path) -> None:
    model = tmp_path / "mine"
    SentenceEncoder.from_pretrained(room / "a").save_pretrained(model)
    arguments = ("evaluate", model, "--tasks", room / "pairs.tsv", *FAST, "--update-card")
    card = model / "README.md"
    card.write_text(card.read_text().replace("Made with", "My own words.\n\nMade with"))
    before = card.read_text()
    succeed(*arguments)
    once = card.read_text()
    succeed(*arguments)
    assert card.read_text() == once
    assert once.count("## Measured on STS tasks") == 1 and "95 % interval" in once
    assert "My own words." in once and once.endswith("Made with simcse_kit.\n")
    assert len(once) > len(before)
    assert SentenceEncoder.from_pretrained(model).dimension == 32
    assert "is none" in fail(*arguments[:1], room / "one", *arguments[2:])
    assert "is no folder here" in fail(*arguments[:1], "nobody/model", *arguments[2:])


def test_a_section_is_replaced_where_it_stands() -> None:
    card = "# T\n\n## A\n\nold\n\n## B\n\nkept\n"
    assert with_section(card, "A", "new") == "# T\n\n## A\n\nnew\n\n## B\n\nkept\n"
    assert with_section(card, "C", "new").endswith("kept\n\n## C\n\nnew\n\n")


# -- compare


def test_compare_says_which_differences_are_real(room: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    models = [room / name for name in ("a", "b", "c")]
    arguments = ("compare", *models, "--tasks", room / "pairs.tsv", *FAST)
    shown = succeed(*arguments, "--json", out, "--baseline", models[1])
    found = json.loads(out.read_text())
    comparison = found["comparison"]
    assert comparison["baseline"] == str(models[1])
    assert list(comparison["differences"]) == [str(models[0]), str(models[2])]
    scores = {one["model"]: one["tasks"]["pairs"]["spearman"] for one in found["models"]}
    for model, differences in comparison["differences"].items():
        difference = scores[model] - scores[str(models[1])]
        assert differences["pairs"]["difference"] == pytest.approx(difference)
        assert f"{difference:+.2f}" in shown
        assert f"{model} is {abs(difference):.2f} points" in shown
    assert shown.count("told from zero.") == 2 and "(Holm)" in shown
    assert "other training seeds" in " ".join(shown.split())
    markdown = succeed(*arguments, "--markdown")
    assert markdown.count("| Model |") == 2 and f"\n- {models[1]} is" in markdown
    alone = succeed(*arguments, "--no-intervals")
    assert "told from zero" not in alone


def test_compare_compares_recipes(room: Path) -> None:
    arguments = ("--tasks", room / "pairs.tsv", *FAST)
    shown = succeed("compare", room / "one", room / "two", *arguments)
    assert "over 2 training seeds" in shown and "Welch's t over the seeds" in " ".join(
        shown.split()
    )
    found = json.loads(succeed("compare", room / "one", room / "two", *arguments, "--json", "-"))
    assert found["comparison"]["seeds"] == {str(room / "one"): 2, str(room / "two"): 2}
    assert [len(model["runs"]) for model in found["models"]] == [2, 2]


def test_compare_refuses_before_it_embeds(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentenceEncoder, "encode", None)
    tasks = ("--tasks", room / "pairs.tsv")
    said = fail("compare", room / "a", room / "one", *tasks)
    assert "is one model and" in said and "2 seeds of a recipe" in said
    assert "the baseline among them" in fail(
        "compare", room / "a", room / "b", *tasks, "--baseline", "c"
    )
    assert "--draws" in fail("compare", room / "a", room / "b", *tasks, "--draws", "10")


# -- geometry


def test_geometry_says_what_its_figures_mean(room: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.json"
    shown = succeed("geometry", room / "a", room / "pairs.tsv", "--draws", 100, "--json", out)
    found = json.loads(out.read_text())
    figures = found["space"]["figures"]
    assert {"alignment", "uniformity", "effective_rank", "hubness", "length_bias"} <= set(figures)
    assert f"{figures['uniformity']['value']:.3f}" in shown
    assert "How evenly the sentences cover the sphere" in shown and "gold > 4" in shown
    assert found["precision"] and found["pooling"] == "mean"
    markdown = succeed("geometry", room / "a", room / "texts.txt", "--markdown", "--draws", 100)
    head = "| Figure | value | interval | over | even sphere | meaning | pitfall |"
    assert markdown.startswith(head)
    sphere = found["references"]["even sphere"]["values"]  # of others' sentences nothing is known
    assert list(found["references"]) == ["even sphere"] and set(sphere) >= set(figures)
    assert f"{sphere['uniformity']:.3f} even sphere" in shown
    assert "Alignment may rise while" in " ".join(shown.split())
    assert "Alignment" not in markdown and "drawn at random are" not in markdown


def test_geometry_layer_by_layer(room: Path) -> None:
    arguments = ("geometry", room / "a", room / "texts.txt", "--layers", "--draws", 100)
    found = json.loads(succeed(*arguments, "--json", "-"))
    assert len(found["layers"]) == 4  # three, and the embedding layer
    shown = succeed(*arguments)
    assert "embeddings" in shown and "layer 3" in shown
    last = found["layers"][-1]["figures"]["uniformity"]["value"]
    whole = json.loads(succeed(*arguments[:3], "--draws", 100, "--json", "-"))
    assert whole["space"]["figures"]["uniformity"]["value"] == pytest.approx(last, abs=1e-5)
    assert "| layer 3 |" in succeed(*arguments, "--markdown")


def test_geometry_of_what_has_none(room: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("a man\na dog\n")
    assert "needs at least 3" in fail("geometry", room / "a", few)
    said = fail("geometry", room / "a", room / "pairs.tsv", "--threshold", 9)
    assert "lower the threshold" in said
    both = ("geometry", room / "a", few, "--data-dir", room / "sts")
    assert "leave one out" in fail(*both)
    pairs = tmp_path / "pairs.csv"
    rows = [f"the man plays {i},a man plays {i} songs" for i in range(12)]
    pairs.write_text("\n".join(["anchor,positive", *rows]))
    assert "Alignment" in succeed("geometry", room / "a", pairs, "--draws", 100)


# -- leakage


@pytest.fixture
def training(room: Path, tmp_path: Path) -> Path:
    rows = (room / "pairs.tsv").read_text().splitlines()[1:3]
    planted = [rows[0].split("\t")[0], rows[1].split("\t")[1].upper() + "!"]
    path = tmp_path / "train.txt"
    path.write_text("\n".join(["nothing of it is here", *planted, "nor \x1b[31mhere"]))
    return path


def test_leakage_from_files_and_from_hashes_alike(
    room: Path, tmp_path: Path, training: Path
) -> None:
    out = tmp_path / "l.json"
    options = ("leakage", "--train", training)
    sets = ("--tasks", room / "pairs.tsv", "--save-hashes", tmp_path / "hashes")
    shown = succeed(*options, *sets, "--json", out)
    found = json.loads(out.read_text())
    (leak,) = found["training"]["leaks"]
    assert (leak["rows_exact"], leak["rows_folded"]) == (1, 2)
    assert "2 of 4 rows hold a sentence of pairs" in shown
    assert "row 2, exact" in shown or "row 3, folded" in shown
    hashed = tmp_path / "hashes" / "pairs.safetensors"
    again = json.loads(succeed(*options, "--hashes", hashed, "--json", "-"))
    assert again["training"]["leaks"][0]["rows_folded"] == 2
    assert succeed(*options, "--hashes", hashed, "--markdown").startswith("### Training rows in")


def test_leakage_of_clean_data_and_of_sets_alone(room: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean.txt"
    clean.write_text("quite another sentence\nand one more of them\n")
    shown = succeed("leakage", "--train", clean, "--hashes", room / "pairs.tsv")
    assert "None of 2 training rows holds a sentence" in shown
    shown = succeed("leakage", "--hashes", room / "pairs.tsv", "--hashes", room / "three.tsv")
    shown = " ".join(shown.split())
    assert "Evaluation sets in one another, by rows" in shown and "100.0 %" in shown
    assert "Training rows" not in shown


def test_leakage_shows_no_escape_sequences(tmp_path: Path) -> None:
    sets, texts = tmp_path / "set.txt", tmp_path / "train.txt"
    sets.write_text("the \x1b[31mman\n")
    texts.write_text("the \x1b[31mman\n")
    assert "\x1b" not in succeed("leakage", "--train", texts, "--hashes", sets)


def test_leakage_of_what_cannot_be_read(room: Path, tmp_path: Path) -> None:
    assert "no such file" in fail("leakage", "--hashes", tmp_path / "x.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    assert "broken.safetensors" in fail("leakage", "--hashes", broken)
    files = ("--hashes", room / "pairs.tsv")
    assert "none.txt" in fail("leakage", *files, "--train", tmp_path / "none.txt")
    assert "is a file" in fail("leakage", *files, "--save-hashes", broken)
