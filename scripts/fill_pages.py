"""Settings and figures as the package explains them, written into the pages of docs/.

    python scripts/fill_pages.py [--check]

What stands between ``<!-- settings: FIRST to LAST -->``, ``<!-- arguments: FATE -->``,
``<!-- parts: KIND -->`` or ``<!-- figure: NAME -->`` and ``<!-- end -->`` is made from
`TrainConfig`, `simcse_kit.training.fates`, the parts and `simcse_kit.geometry.FIGURES`, so that it
needs no second place, and reads as well in the files as on the site. ``--check`` fails where it is
stale.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simcse_kit.geometry import Reference

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILLED = re.compile(
    r"(?P<mark>^<!-- (?:settings|arguments|parts|figure): [^>]*-->$).*?^<!-- end -->$", re.M | re.S
)
ARGUMENTS = re.compile(r"^<!-- arguments: (\w+) -->$", re.MULTILINE)
FIGURE = re.compile(r"^<!-- figure: (\w+) -->$", re.MULTILINE)
PARTS = re.compile(r"^<!-- parts: (\w+) -->$", re.MULTILINE)
SETTINGS = re.compile(r"^<!-- settings: (\w+) to (\w+) -->$", re.MULTILINE)


def filled(page: str, where: str) -> str:
    """A page with everything between its marks made anew.

    Raises ValueError where a mark names nothing that is there, or settings are left out.
    """
    left = set(_settings())
    asked = bool(SETTINGS.search(page))

    def text(found: re.Match[str]) -> str:
        mark = found["mark"]
        if figure := FIGURE.match(mark):
            made = figure_text(figure[1], where)
        elif fate := ARGUMENTS.match(mark):
            made = arguments_table(fate[1])
        elif kind := PARTS.match(mark):
            made = parts_text(kind[1], where)
        elif part := SETTINGS.match(mark):
            names = settings_between(part[1], part[2], where)
            left.difference_update(names)
            made = settings_table({name: _settings()[name] for name in names})
        else:
            raise ValueError(f"{where}: {mark} names no figure, fate, parts or settings")
        return f"{mark}\n\n{made}\n\n<!-- end -->"

    page = FILLED.sub(text, page)
    if asked and left:
        raise ValueError(f"{where} leaves out the settings {', '.join(sorted(left))}")
    return page


def _settings() -> dict[str, Any]:
    from simcse_kit.training import TrainConfig

    return dict(TrainConfig.model_fields)


def settings_between(first: str, last: str, where: str) -> list[str]:
    """The names of settings from one to another, as they are declared."""
    names = list(_settings())
    if first not in names or last not in names:
        raise ValueError(f"{where}: there is no such setting: {first} or {last}")
    return names[names.index(first) : names.index(last) + 1]


def settings_table(fields: Mapping[str, Any]) -> str:
    """Settings with their defaults and what they are for."""
    rows = "".join(setting_row(name, field) for name, field in fields.items())
    head = "| setting | default | what it does, and when to change it |\n|---|---|---|\n"
    return f'<div class="settings" markdown>\n\n{head}{rows}\n</div>'


def setting_row(name: str, field: Any) -> str:
    """One setting as a row."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, list | tuple):
        shown = ", ".join(map(str, default)) or "–"
    elif isinstance(default, bool):
        shown = str(default).lower()
    else:
        shown = "–" if default is None else f"{default}"
    said = str(field.description).replace("|", "\\|")
    return f"| `{name}` | {shown if shown == '–' else f'`{shown}`'} | {said} |\n"


def parts_text(kind: str, where: str) -> str:
    """The parts of a kind that come with the package, each with its settings."""
    from simcse_kit.parts import KINDS, find_part, part_names

    if kind not in KINDS:
        raise ValueError(f"{where}: there are no parts of kind '{kind}'")
    found = {name: find_part(kind, name) for name in part_names(kind)}
    texts = []
    for name, part in found.items():
        if not part.__module__.startswith("simcse_kit."):
            continue  # of another package that happens to be installed
        first = " ".join((inspect.getdoc(part) or "").split("\n\n")[0].split())
        needs = f" Needs {', '.join(sorted(part.NEEDS))}." if part.NEEDS else ""
        fields = part.Settings.model_fields
        table = f"\n\n{settings_table(fields)}" if fields else ""
        texts.append(f"### {name}\n\n{first}{needs}{table}")
    return "\n\n".join(texts)


def arguments_table(fate: str) -> str:
    """The fields of TrainingArguments that share a fate, and what is to be said of each."""
    from simcse_kit.training import fates

    said = [(name, text) for name, (own, text) in fates().items() if own == fate]
    if not said:
        raise ValueError(f"no field of TrainingArguments is {fate}")
    rows = "".join(f"| `{name}` | {text} |\n" for name, text in said)
    return f"| field | |\n|---|---|\n{rows}".rstrip()


def figure_text(name: str, where: str) -> str:
    """Meaning, pitfall and source of one figure, as the package has them."""
    from simcse_kit.geometry import FIGURES, MEASURED

    if name not in FIGURES:
        raise ValueError(f"{where}: there is no figure '{name}' in simcse_kit.geometry.FIGURES")
    text = FIGURES[name]
    return (
        f"{text.meaning}\n\n**What it must not be taken for.** {text.pitfall}\n\n"
        + "".join(
            f"On {sentences}: {_listed(known, name)}.\n\n" for sentences, known in MEASURED.items()
        )
        + f"Source: {text.source}. In JSON: `{name}`."
    )


def _listed(known: Sequence[Reference], name: str) -> str:
    return ", ".join(
        f"{one.name} {one.values[name]:.2f}".replace("-0.00", "0.00").replace(" -", " −")
        for one in known
        if name in one.values
    )


def main(arguments: Sequence[str] | None = None, docs: Path = DOCS) -> int:
    """Write the pages, or tell by the exit code that one is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail where stale")
    options = parser.parse_args(arguments)
    stale = 0
    for path in sorted(docs.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        made = filled(page, path.name)
        if made == page:
            continue
        stale += 1
        if options.check:
            print(f"{path} is stale: run python scripts/fill_pages.py", file=sys.stderr)
        else:
            path.write_text(made, encoding="utf-8")
    return int(options.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
