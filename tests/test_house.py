"""The plan of the house holds: rooms in their order, few entries, files of one idea."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "simcse_kit"
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """The contract of ``pyproject.toml`` over the package that lies in `folder`."""
    tool = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [tool, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        (None, "", None),
        ("geometry/rows.py", "from simcse_kit.encoder import Pooling", "geometry -> .*encoder"),
        ("data/rows.py", "import simcse_kit.training.run", "data -> .*training"),
        ("training/run.py", "from simcse_kit.commands import cli", "training -> .*commands"),
        ("views/given.py", "from simcse_kit.objectives import InfoNCE", "views -> .*objectives"),
        (
            "evaluation/statistics/bootstrap.py",
            "from simcse_kit.evaluation.sts import PairTask",
            r"statistics -> .*evaluation\.sts",
        ),
        (
            "training/model/contrastive.py",
            "from simcse_kit.training.runs.folder import LAST",
            r"model -> .*training\.runs",
        ),
    ],
)
def test_an_import_upwards_breaks_the_contract(
    tmp_path: Path, file: str | None, line: str, broken: str | None
) -> None:
    skip = shutil.ignore_patterns("__pycache__", "recipes", "templates", "*.cpp", "*.h")
    shutil.copytree(PACKAGE, tmp_path / "simcse_kit", ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if file is not None:
        path = tmp_path / "simcse_kit" / file
        path.write_text(path.read_text() + f"\n{line}\n")
    found = lint_imports(tmp_path)
    assert found.returncode == (broken is not None), found.stdout
    if broken is not None:
        said = re.sub(r"\s+", " ", found.stdout)
        assert re.search(broken.replace(" -> ", r"[\w.]* -> "), said), found.stdout


def test_the_front_door_is_small() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 17, sorted(entries)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(PACKAGE)))
def test_a_room_says_what_it_hides_and_no_file_repeats_its_name(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text())
    assert len(ast.get_docstring(tree) or "") > 60
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert not defined, "a room's __init__ hands on, it does not define"
    repeats = [path.name for path in room.glob("*.py") if path.stem.split("_")[0] == room.name]
    assert not repeats


def test_what_a_room_hands_on_is_there() -> None:
    code = "import importlib, sys\n"
    for room in ROOMS:
        if (room / "__init__.pyi").exists():
            name = ".".join(room.relative_to(ROOT).parts)
            code += f"room = importlib.import_module('{name}')\n"
            code += "[getattr(room, name) for name in room.__all__]\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_files_hold_one_idea() -> None:
    code = [
        path for top in ("simcse_kit", "eval", "scripts") for path in (ROOT / top).rglob("*.py")
    ]
    long = {
        str(p.relative_to(ROOT)): n for p in code if (n := len(p.read_text().splitlines())) > 400
    }
    assert not long


def test_importing_the_package_and_its_rooms_is_light() -> None:
    names = ["simcse_kit", *(".".join(room.relative_to(ROOT).parts) for room in ROOMS)]
    heavy = {"torch", "numpy", "pydantic"}
    code = f"import sys, {', '.join(names)}\nassert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_type_checker_and_a_shell_see_the_public_names_and_no_others() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    # a `__getattr__` that a checker sees stands for every name, misspelt ones too
    assert not [one for one in tree.body if getattr(one, "name", "") == "__getattr__"]
    code = (
        "import simcse_kit; assert dir(simcse_kit) == sorted(simcse_kit.__all__)\n"
        "for name in dir(simcse_kit): getattr(simcse_kit, name)\n"
        "simcse_kit.SentenceEncodr"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "has no attribute 'SentenceEncodr'" in said.stderr
    assert "'SentenceEncoder'?" in said.stderr  # Python's own suggestion
