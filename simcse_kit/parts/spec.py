"""A part as a recipe names it: its name, and what is set of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer

from simcse_kit.errors import InputError, explain_settings, key_error
from simcse_kit.parts.finding import find_part
from simcse_kit.parts.part import Context, Part, PartSettings


class Spec(BaseModel):
    """Which part, with which settings; the part's class is imported when it is asked for.

    Attributes:
        kind: one of `simcse_kit.parts.KINDS`.
        name: of the part.
        given: the settings that were set.
        weight: of its value in a sum of parts.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    name: str
    given: dict[str, Any] = {}
    weight: float = 1.0

    def __getattr__(self, name: str) -> Any:
        """A setting's value: ``config.objective.temperature``."""
        if not name.startswith("_"):
            settings = self.settings
            if name in type(settings).model_fields:
                return getattr(settings, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __str__(self) -> str:
        return self.name

    @property
    def part(self) -> type[Part]:
        return find_part(self.kind, self.name)

    @property
    def settings(self) -> PartSettings:
        """All of them, defaults too."""
        return self.part.Settings(**self.given)

    def build(self, context: Context | None = None) -> Any:
        """The part itself."""
        return self.part(context, **self.given)

    @model_serializer
    def _as_written(self) -> dict[str, Any] | str:
        """As a recipe writes it, with all its settings."""
        settings = self.settings.model_dump(mode="json")
        weight = {} if self.weight == 1 else {"weight": self.weight}
        return {"name": self.name, **settings, **weight} if settings or weight else self.name


def spec_of(kind: str, value: Any, key: str | None = None) -> Spec:
    """Read a part: its name, or a mapping of ``name`` and settings.

    Args:
        key: the setting that names it, for messages.

    Raises:
        pydantic_core.PydanticCustomError: there is no such part, or no such setting of it.
    """
    key = key or kind
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, Mapping) and value.get("name") is None:
        for setting in value:
            if setting != "name":
                raise key_error(
                    f"{key}.{setting}",
                    f"{key}.{setting} is a setting of {key}, and there is none; name one too, "
                    f"as in {key}=NAME, or leave {setting} out",
                )
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise key_error(
            key,
            f"{key} must be the name of one, or {{name: NAME, SETTING: VALUE}}, not {value!r}",
        )
    given = {str(name): each for name, each in value.items() if name not in ("name", "weight")}
    weight = value.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e30:
        raise key_error(key, f"{key}.weight must be a number of at least 0, not {weight!r}")
    try:
        spec = Spec(kind=kind, name=value["name"], given=given, weight=float(weight))
        part = spec.part
    except InputError as error:
        raise key_error(key, str(error)) from None
    for name in given:
        if name not in part.Settings.model_fields:
            known = ", ".join(part.Settings.model_fields) or "none"
            raise key_error(
                f"{key}.{name}",
                f"{key} {value['name']} has no setting '{name}'; its settings: {known}",
            )
    try:
        part.Settings(**given)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        inner = f"{key}.{place[0]}" if place else key
        said = explain_settings(error)
        raise key_error(inner, f"{key}.{said}" if place else f"{key} {spec.name}: {said}") from None
    return spec
