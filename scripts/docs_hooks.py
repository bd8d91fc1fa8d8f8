"""What the site has beside the files of docs/: results, and the API's pages.

mkdocs calls the functions ``on_…`` by their names (`hooks` in mkdocs.yml). The API's pages follow
what each room hands on (its ``__init__.pyi``), so that it needs no second place.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "simcse_kit"
RESULTS = ROOT / "eval" / "results"
HANDED_ON = re.compile(r"^from \.([\w.]+) import (\w+) as \2$", re.MULTILINE)
PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">\s*'
    r'<img src="([^"]+)" alt="([^"]+)">\s*</picture>'
)
UP = re.compile(r"\]\((?:\.\./)+eval/results/")


def on_files(files: Files, config: Any) -> Files:
    """Take eval/results and a page a room into the site."""
    for path in sorted(RESULTS.glob("*.json")):
        files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    listed = (RESULTS / "README.md").read_text(encoding="utf-8")
    results = re.sub(r"\]\((\S+\.json)\)", r"](results/\1)", listed)
    files.append(File.generated(config, "results.md", content="---\nhide: [toc]\n---\n" + results))
    for name, text in api_pages().items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at the site's copy of eval/results; pictures follow the site's own switch."""
    up = "../" * page.file.src_uri.count("/")
    linked = UP.sub(f"]({up}results/", markdown).replace("results/README.md)", "results.md)")
    return both_pictures(linked)


def both_pictures(markdown: str) -> str:
    """A picture of two colour schemes, as the theme shows it: by its switch, not the system's."""
    return PICTURE.sub(r"![\3](\1#only-dark)\n![\3](\2#only-light)", markdown)


def api_pages() -> dict[str, str]:
    """The text of each page of the API: the public names, and a page a room."""
    rooms = sorted(path.parent for path in PACKAGE.glob("*/__init__.pyi"))
    pages = {room.name: room_page(room) for room in rooms}
    return {"index": index_page()} | pages


@cache
def public_names() -> dict[str, str]:
    """The names that `simcse_kit` itself hands on, each with its room."""
    return ast.literal_eval(_assigned(PACKAGE / "__init__.py", "_HOME"))


def index_page() -> str:
    """The public names of the package, each with the first line of what it says."""
    rows = []
    for name, home in sorted(public_names().items(), key=lambda item: item[0].lower()):
        folder = ROOT / home.replace(".", "/")
        module = {handed: module for module, handed in handed_on(folder)}[name]
        room = home.split(".")[1]
        said = _first_line(folder / f"{module.replace('.', '/')}.py", name)
        rows.append(f"| [`{name}`]({room}.md#{home}.{module}.{name}) | {said} |")
    return (
        "# API\n\nThe public names of `simcse_kit`, loaded when first asked for: importing the"
        " package costs next to nothing. Each room hands on more, on the pages beside.\n\n"
        "| `from simcse_kit import …` | |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def room_page(room: Path) -> str:
    """A room, the rooms in it, and what each hands on."""
    parts = [f"# {room.name}"]
    for folder in [room, *sorted(path.parent for path in room.glob("*/__init__.pyi"))]:
        home = ".".join(folder.relative_to(ROOT).parts)
        if folder != room:
            parts.append(f"## {home.removeprefix('simcse_kit.')}")
        parts.append(ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "")
        parts.append(f"`from {home} import …`")
        named = [(module, name) for module, name in handed_on(folder) if not name.isupper()]
        named.sort(key=lambda one: one[1] not in public_names())  # they come first
        parts += [f"::: {home}.{module}.{name}" for module, name in named]
    return "\n\n".join(parts) + "\n"


def handed_on(folder: Path) -> list[tuple[str, str]]:
    """Module and name of everything that a room hands on, in the order of its stub."""
    return HANDED_ON.findall((folder / "__init__.pyi").read_text())


def _assigned(path: Path, name: str) -> str:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.unparse(node.value)
    raise PluginError(f"{path} assigns no {name}")


def _first_line(path: Path, name: str) -> str:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            first = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
            return first.split(": ")[0].rstrip(".") + "." if ": " in first else first
    raise PluginError(f"{path} defines no {name}")
