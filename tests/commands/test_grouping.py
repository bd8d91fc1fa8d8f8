"""Options that go together reach a command as one value, and typer as options of their own."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from simcse_kit.commands.grouping import grouped
from simcse_kit.errors import InputError


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="Columns.")] = 3
    deep: Annotated[bool, typer.Option("--deep", help="Or flat.")] = False


@dataclass(frozen=True)
class Place:
    room: Annotated[str, typer.Option(help="Where it stands.")]


def call(*arguments: str) -> tuple[int, str]:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    @grouped
    def build(
        name: Annotated[str, typer.Argument(help="What to call it.")],
        color: str = "red",
        *,
        place: Place,
        size: Size,
    ) -> None:
        """Build a thing."""
        typer.echo(f"{name} {color} {place} {size}")

    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_a_command_gets_its_groups_as_values() -> None:
    assert call("chair", "--room", "hall", "--width", "5", "--deep") == (
        0,
        "chair red Place(room='hall') Size(width=5, deep=True)\n",
    )
    code, shown = call("chair", "--room", "hall")
    assert (code, shown) == (0, "chair red Place(room='hall') Size(width=3, deep=False)\n")


def test_typer_sees_the_options_where_the_group_stands() -> None:
    code, shown = call("--help")
    assert code == 0 and "Build a thing." in shown
    places = [shown.index(word) for word in ("--color", "--room", "--width", "--deep")]
    assert places == sorted(places)
    assert "Columns." in shown and "[default: 3; x>=1]" in shown
    assert "--size" not in shown and "--place" not in shown


def test_checks_of_the_options_hold() -> None:
    code, shown = call("chair", "--room", "hall", "--width", "0")
    assert code == 2 and "--width" in shown
    code, shown = call("chair")
    assert code == 2 and "--room" in shown


def test_two_groups_with_one_option_are_refused() -> None:
    @dataclass(frozen=True)
    class Other:
        width: int = 1

    def build(*, size: Size, other: Other) -> None: ...

    build.__annotations__ = {"size": Size, "other": Other, "return": None}
    with pytest.raises(ValueError, match="duplicate parameter name: 'width'"):
        grouped(build)


def test_folders_may_be_one_and_files_may_not(tmp_path: Path) -> None:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    @grouped
    def build(
        output_dir: Annotated[Path, typer.Option()],
        plots: Annotated[Path | None, typer.Option()] = None,
        json_file: Annotated[str | None, typer.Option("--json")] = None,
        markdown: Annotated[bool, typer.Option("--markdown")] = False,
    ) -> None:
        typer.echo("built")

    one = tmp_path / "one"
    for arguments in (
        ["--plots", one, "--markdown"],
        ["--json", "-", "--plots", tmp_path / "-"],
        ["--json", tmp_path / "other"],
        ["--json", "a" * 5000],
        ["--json", "a\0b"],
    ):
        result = CliRunner().invoke(app, [str(each) for each in ("--output-dir", one, *arguments)])
        assert result.output == "built\n", arguments
    result = CliRunner().invoke(app, ["--output-dir", str(one), "--json", str(one)])
    assert isinstance(result.exception, InputError)
    assert f"--output-dir and --json are both {one}" in str(result.exception)


def test_results_in_a_folder_that_is_read_may_be_written_again(tmp_path: Path) -> None:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    @grouped
    def embed(model: str, output: Annotated[Path, typer.Option()]) -> None:
        output.write_text("vectors")

    (tmp_path / "modules.json").write_text("[]")
    for name in ("texts.npy", "vectors-of-mine.npy", "e.rows.npy", "found.json"):
        for _ in range(2):
            result = CliRunner().invoke(app, [str(tmp_path), "--output", str(tmp_path / name)])
            assert result.exit_code == 0, (name, result.exception)
    for name in ("vectors.npy", "added-0001.npy", "removed-0002.npy", "vectors-0001.faiss"):
        (tmp_path / name).write_text("a part")
        result = CliRunner().invoke(app, [str(tmp_path), "--output", str(tmp_path / name)])
        assert isinstance(result.exception, InputError), name
        assert (tmp_path / name).read_text() == "a part"


def test_what_is_decorated_keeps_its_name() -> None:
    @grouped
    def plain(name: str) -> None:
        """Nothing to group."""

    assert plain.__name__ == "plain" and plain.__doc__ == "Nothing to group."
    assert list(inspect.signature(plain).parameters) == ["name"]
