"""Words that every rendering of a report uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from simcse_kit.data import for_picture
from simcse_kit.evaluation import ELSEWHERE

if TYPE_CHECKING:
    from simcse_kit.geometry import Figure
    from simcse_kit.report.data import Report


def heading(report: Report) -> str:
    """The report's title: its models."""
    names = [model.name for model in report.models]
    if len(names) == 1:
        return names[0]
    return f"{names[-1]} against {names[0]}" if len(names) == 2 else _listed(names)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def brief(name: str, longest: int = 36) -> str:
    """A name for a picture as wide as a phone, drawn as it stands: a long one lacks its middle."""
    if len(name) > longest:
        ends = longest // 2
        name = f"{name[:ends]}…{name[-(longest - ends - 1) :]}"
    return for_picture(name)


def seconds(value: float) -> str:
    """A duration as a reader wants it."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def paths_note(made: Mapping[str, Any]) -> str:
    """What has to be put into a recorded command before it runs again, "" where nothing has."""
    if ELSEWHERE not in str(made.get("command", "")):
        return ""
    return (
        f"{ELSEWHERE} stands for folders of the machine it ran on: put your own in its place. Other"
        " paths are relative to the folder it ran in."
    )


def setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings as names and values, nested ones by dotted names; None is "not set"."""
    rows = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}.{inner}", shown) for inner, shown in setting_rows(value)]
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(map(str, value)) or "none"))
        else:
            rows.append((name, "not set" if value is None else str(value)))
    return rows


def signed(value: float, digits: int = 1) -> str:
    """With its sign, but for zero."""
    shown = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(shown) == 0 else minus(shown)


def minus(number: str) -> str:
    """A number as it is printed, with a true minus."""
    return number.replace("-", "−")


def digits(values: Iterable[float]) -> int:
    """Decimals that figures of this size are shown with."""
    return 1 if max(map(abs, values)) >= 10 else 3


def figure_and_interval(figure: Figure | None, places: int) -> tuple[str, str]:
    """A figure of the geometry and its interval, "" where it has none."""
    if figure is None:
        return "–", ""
    shown = minus(f"{figure.value:.{places}f}")
    if figure.interval is None:
        return shown, ""
    low, high = (minus(f"{end:.{places}f}") for end in figure.interval)
    return shown, f"{low} to {high}" if "−" in low + high else f"{low}–{high}"
