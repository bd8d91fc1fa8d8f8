"""The marked blocks of pages are found and run."""

from __future__ import annotations

from pathlib import Path

import pytest

import run_readme

MARKED = "<!-- run -->\n```bash\n{}\n```\n"


def test_readme_blocks_are_found_by_their_mark(tmp_path: Path) -> None:
    readme = (
        "# T\n\n```bash\nexit 1\n```\n\n<!-- run -->\n```bash\ntouch a\n```\n"
        "<!-- run -->\n\n```python\nx = 1\n```\n"
    )
    assert run_readme.marked_blocks(readme) == [(9, "bash", "touch a\n"), (14, "python", "x = 1\n")]
    assert run_readme.run_block("bash", "touch a", tmp_path) == 0
    assert (tmp_path / "a").exists()
    assert run_readme.run_block("bash", "false\ntrue", tmp_path) == 1
    assert run_readme.run_block("python", "import sys; sys.exit(3)", tmp_path) == 3


def test_a_page_s_blocks_share_a_folder_and_pages_do_not(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(MARKED.format("touch a") + MARKED.format("test -e a"))
    docs = tmp_path / "docs"
    (docs / "in").mkdir(parents=True)
    (docs / "one.md").write_text(MARKED.format("test ! -e a"))
    (docs / "in/two.md").write_text(MARKED.format(f"touch {tmp_path}/ran"))
    (docs / "none.md").write_text("No block here.\n")
    assert run_readme.main([str(tmp_path / "README.md"), str(docs)]) == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("code", ["false", "no-such-command"])
def test_a_failing_block_of_any_page_fails(
    tmp_path: Path, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.md").write_text(MARKED.format("true"))
    (tmp_path / "b.md").write_text(f"# B\n\n{MARKED.format(code)}")
    assert run_readme.main([str(tmp_path)]) == 1
    assert "b.md:5: the bash block failed" in capsys.readouterr().err


def test_a_page_without_a_block_is_an_error_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("```bash\ntrue\n```\n")
    assert run_readme.main([str(tmp_path / "a.md")]) == 2
    assert run_readme.main([str(tmp_path)]) == 2
    (tmp_path / "b.md").write_text(MARKED.format("true"))
    assert run_readme.main([str(tmp_path)]) == 0
    assert run_readme.main([str(tmp_path), str(tmp_path / "a.md")]) == 2
