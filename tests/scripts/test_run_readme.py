"""The README's marked blocks are found and run."""

import run_readme


def test_readme_blocks_are_found_by_their_mark(tmp_path):
    readme = (
        "# T\n\n```bash\nexit 1\n```\n\n<!-- run -->\n```bash\ntouch a\n```\n"
        "<!-- run -->\n\n```python\nx = 1\n```\n"
    )
    assert run_readme.marked_blocks(readme) == [(9, "bash", "touch a\n"), (14, "python", "x = 1\n")]
    assert run_readme.run_block("bash", "touch a", tmp_path) == 0
    assert (tmp_path / "a").exists()
    assert run_readme.run_block("bash", "false\ntrue", tmp_path) == 1
    assert run_readme.run_block("python", "import sys; sys.exit(3)", tmp_path) == 3
