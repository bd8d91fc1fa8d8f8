"""The site asks for nothing from outside, is searched from a folder, and a slip fails its build."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort

import docs_hooks
import fill_pages
from browsing import browser
from simcse_kit.geometry import FIGURES
from simcse_kit.parts import KINDS, find_part, part_names
from simcse_kit.training import TrainConfig, recipe_names, recipe_text

ROOT = Path(__file__).parents[2]
SCRIPTS = ("iframe-worker", "search-options")


def settings(folder: Path, **changed: object) -> MkDocsConfig:
    """The project's own settings for the pages in a folder."""
    places = {"docs_dir": str(folder / "docs"), "site_dir": str(folder / "site")}
    return load_config(str(ROOT / "mkdocs.yml"), **places, strict=True, hooks=[], **changed)


def site(folder: Path, **pages: str) -> Path:
    """A site of these pages by the project's own settings, built strictly."""
    docs = folder / "docs"
    (docs / "javascripts").mkdir(parents=True, exist_ok=True)
    for name in ("extra.css", *(f"javascripts/{name}.js" for name in SCRIPTS)):
        (docs / name).write_bytes((ROOT / "docs" / name).read_bytes())
    for name, text in pages.items():
        (docs / f"{name}.md").write_text(text)
    config = settings(folder, nav=[f"{name}.md" for name in pages])
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder / "site"


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("[x](other.md#there)\n\n::: simcse_kit.geometry.pairs.alignment\n", True),
        ("[x](nowhere.md)", False),
        ("[x](other.md#nowhere)", False),
        ("![x](nowhere.png)", False),
        ("[x](/absolute.md)", False),
        ("::: simcse_kit.geometry.pairs.no_such_figure\n", False),
    ],
)
def test_a_broken_link_or_a_name_that_does_not_exist_fails(
    tmp_path: Path, text: str, passes: bool
) -> None:
    pages = {"index": f"# Start\n\n{text}\n", "other": "# Other\n\n## There\n"}
    if passes:
        assert (site(tmp_path, **pages) / "index.html").exists()
    else:
        with pytest.raises(Abort):
            site(tmp_path, **pages)


def test_a_page_from_a_folder_is_searched_and_asks_for_nothing_outside(tmp_path: Path) -> None:
    wide = "| " + " | ".join(f"column {n}" for n in range(12)) + " |\n|" + "---|" * 12
    words = "# Other\n\nThe sentence holds the word quincunx.\n\n```bash\n" + "x" * 200 + "\n```\n"
    index = site(tmp_path, index=f"# Start\n\n{wide}\n", other=words) / "index.html"
    with browser() as chromium:
        for width in (390, 1280):
            page = chromium.new_page(viewport={"width": width, "height": 800})
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            for name in ("other.html", "index.html"):
                page.goto(index.with_name(name).as_uri())
                page.wait_for_load_state("networkidle")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            if width > 1000:
                page.locator(".md-search__input").press_sequentially("quincunx")
                page.locator(".md-search-result__link").first.wait_for()
                link = page.locator(".md-search-result__link").first.get_attribute("href")
                assert re.search(r"other\.html", str(link))
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            page.close()


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("--eval-split", ["option"]),
        ("--eval-spl", ["option"]),
        ("eval-split", ["option"]),
        ("train --resume", ["option", "other"]),
        ("--data-dir", []),
    ],
)
def test_an_option_is_found_as_it_is_typed(tmp_path: Path, typed: str, found: list[str]) -> None:
    option = "# Options\n\nGive `--eval-split 0.1` to train; `--resume` goes on.\n"
    other = "# Other\n\nTexts are split and embedded; they resume the quincunx.\n"
    site(tmp_path, option=option, other=other)
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto((tmp_path / "site/option.html").as_uri())
        page.locator(".md-search__input").press_sequentially(typed)
        page.locator(".md-search-result__meta", has_text="match").wait_for()
        links = page.locator(".md-search-result__link").all()
        pages = [re.findall(r"(\w+)\.html", str(one.get_attribute("href")))[-1] for one in links]
        assert sorted(set(pages)) == found
        page.close()


def test_a_picture_follows_the_switch_between_light_and_dark(tmp_path: Path) -> None:
    text = docs_hooks.both_pictures((ROOT / "docs/index.md").read_text())
    assert "<picture>" not in text
    shown = re.findall(r"^!\[(.+)\]\((.+)\)$", text, re.MULTILINE)
    assert [url for _, url in shown] == [
        "images/report-dark.png#only-dark",
        "images/report-light.png#only-light",
    ]
    (tmp_path / "docs/images").mkdir(parents=True)
    for name in ("report-dark.png", "report-light.png"):
        (tmp_path / "docs/images" / name).write_bytes((ROOT / "docs/images" / name).read_bytes())
    pictures = "\n".join(f"![{alt}]({url})" for alt, url in shown)
    index = site(tmp_path, index=f"# Start\n\n{pictures}\n") / "index.html"
    with browser() as chromium:
        page = chromium.new_page(color_scheme="light")
        page.goto(index.as_uri())
        for name, other in (("light", "dark"), ("dark", "light")):
            page.locator(f'img[src$="#only-{name}"]').wait_for(state="visible")
            assert not page.locator(f'img[src$="#only-{other}"]').is_visible()
            page.locator(".md-header__option label:visible").click()
        page.close()


def test_a_page_that_would_lie_where_another_file_does_fails(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/report.html").write_text("x")
    with pytest.raises(Abort):
        site(tmp_path, index="# Start\n", report="# Report\n")


def test_make_docs_is_strict() -> None:
    """--quiet would hide warnings from the strictness that counts them."""
    recipe = re.search(r"mkdocs build (.*)", (ROOT / "Makefile").read_text())
    assert recipe
    assert "--strict" in recipe[1]
    assert not re.search(r"-q\b|--quiet", recipe[1])


def test_what_a_docstring_says_of_a_parameter_is_of_one_that_is_there() -> None:
    section = re.compile(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)
    named = re.compile(r"^[ ]{4}(\w[\w, *]*?):", re.MULTILINE)
    checked = 0
    for path in (ROOT / "simcse_kit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            found = section.search(ast.get_docstring(node) or "")
            given = node.args
            names = {arg.arg for arg in [*given.posonlyargs, *given.args, *given.kwonlyargs]}
            names |= {arg.arg for arg in (given.vararg, given.kwarg) if arg}
            for said in named.findall(found[1] if found else ""):
                for name in said.replace("*", "").split(", "):
                    assert name in names, f"{path.name}, {node.name}: {name}"
                    checked += 1
    assert checked > 100


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "eval/results/README.md"])
def test_links_and_pictures_of_pages_beside_the_site_are_there(name: str) -> None:
    text = (ROOT / name).read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", one).strip().lower() for one in headings]
            assert anchor in [slug.replace(" ", "-") for slug in slugs], link


def test_every_setting_stands_on_the_page_of_settings() -> None:
    page = (ROOT / "docs/train.md").read_text()
    for name, field in TrainConfig.model_fields.items():
        row = re.search(rf"^\| `{name}` \| (.*?) \| (.+) \|$", page, re.MULTILINE)
        assert row, name
        assert len(row[2]) > 10, f"{name} has no description"
        if field.default is None:
            assert row[1] == "–"
    assert "| `objective` | `info_nce` |" in page
    assert "| `report_to` | `tensorboard` |" in page


def test_every_part_stands_on_the_page_of_parts() -> None:
    page = (ROOT / "docs/parts.md").read_text()
    assert sorted(fill_pages.PARTS.findall(page)) == sorted(KINDS)
    for kind in KINDS:
        for name in part_names(kind):
            assert f"\n### {name}\n" in page, f"{kind} {name}"
            for setting, field in find_part(kind, name).Settings.model_fields.items():
                assert len(field.description or "") > 5, f"{name}.{setting} has no description"
    assert "| `temperature` | `0.05` |" in page


def test_every_recipe_stands_on_the_page_of_recipes() -> None:
    page = (ROOT / "docs/recipes.md").read_text()
    published = re.compile(r"(un)?sup-(ro)?bert")
    names = [name for name in recipe_names() if not published.match(name)]
    assert [name for name in names if f"`{name}`" not in page] == []
    for name, base in re.findall(r"^\| `([\w-]+)` \| (?:`([\w-]+)`|–) \|", page, re.MULTILINE):
        own = re.findall(r"^base: (.+)$", recipe_text(name), re.MULTILINE)
        assert own == ([base] if base else []), name


def test_every_figure_of_the_geometry_is_explained() -> None:
    page = (ROOT / "docs/geometry.md").read_text()
    assert sorted(fill_pages.FIGURE.findall(page)) == sorted(FIGURES)
    for text in FIGURES.values():
        assert text.meaning in page and text.pitfall in page


def test_pages_are_filled_and_a_stale_one_is_told(tmp_path, capsys) -> None:
    assert fill_pages.main(["--check"]) == 0, capsys.readouterr().err
    page = tmp_path / "x.md"
    page.write_text("<!-- figure: hubness -->\nold\n<!-- end -->\nmine\n")
    assert fill_pages.main(["--check"], tmp_path) == 1
    assert "x.md is stale" in capsys.readouterr().err
    assert fill_pages.main([], tmp_path) == fill_pages.main(["--check"], tmp_path) == 0
    assert FIGURES["hubness"].meaning in page.read_text() and page.read_text().endswith("mine\n")


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("settings: pooling to max_length", "leaves out the settings"),
        ("settings: pooling to lr", "no such setting"),
        ("figure: beauty", "no figure 'beauty'"),
        ("parts: beauty", "no parts of kind 'beauty'"),
    ],
)
def test_a_mark_that_names_nothing_is_refused(mark: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fill_pages.filled(f"<!-- {mark} -->\n<!-- end -->\n", "x.md")


def test_the_api_has_what_rooms_hand_on() -> None:
    import simcse_kit

    pages = docs_hooks.api_pages()
    named = re.findall(r"^\| \[`(\w+)`\]", pages["index"], re.MULTILINE)
    assert sorted(named) == sorted(set(simcse_kit.__all__) - {"__version__"})
    assert "::: simcse_kit.evaluation.sts.suite.evaluate" in pages["evaluation"]
    listed = (ROOT / "mkdocs.yml").read_text()
    missing = [name for name in pages if f"api/{name}.md" not in listed]
    assert not missing, f"mkdocs.yml does not list the pages of {missing}"


def test_contributing_names_rooms_and_files_that_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = re.findall(r"^\| (`\w+/`.*?) \| (.*) \|$", page, re.MULTILINE)
    assert len(rooms) == 11
    named = 0
    for names, said in rooms:
        folders = [ROOT / "simcse_kit" / name for name in re.findall(r"`(\w+)/`", names)]
        assert all(folder.is_dir() for folder in folders), names
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", said):
            assert any((folder / name).exists() for folder in folders), f"{name} in {names}"
            named += 1
    assert named > 20
    assert {name for names, _ in rooms for name in re.findall(r"`(\w+)/`", names)} == {
        path.parent.name for path in (ROOT / "simcse_kit").glob("*/__init__.py")
    }
    for path in re.findall(r"`((?:training|evaluation|objectives)/[\w/]+(?:\.py|/))`", page):
        assert (ROOT / "simcse_kit" / path).exists(), path
    assert len(page.splitlines()) <= 70
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140
