"""The command line as tests call it."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from simcse_kit.commands.cli import app

SETTINGS = {
    "pooling": "mean",
    "per_device_train_batch_size": 8,
    "max_steps": 4,
    "eval_steps": 2,
    "save_steps": 2,
    "logging_steps": 1,
    "report_to": "none",
    "use_cpu": "true",
}


def settings(**changes: object) -> list[str]:
    return [
        word for item in (SETTINGS | changes).items() for word in ("--set", f"{item[0]}={item[1]}")
    ]


def run(*arguments: object) -> Result:
    """What a command prints and its exit code."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> str:
    """The stdout of a command that must not fail."""
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout
