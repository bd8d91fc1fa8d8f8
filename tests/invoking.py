"""The command line as tests call it."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from simcse_kit.cli import app


def run(*arguments: object) -> Result:
    """What a command prints and its exit code."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> str:
    """The stdout of a command that must not fail."""
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout
