"""Settings that name something to load: parts, teachers, a guide; as they are read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from simcse_kit.errors import key_error
from simcse_kit.parts import Spec, spec_of
from simcse_kit.training.settings.dotted import PARTS


def _part(value: object, info: ValidationInfo) -> Spec | None:
    """A part by its name, or by a mapping of its name and settings."""
    key = str(info.field_name)
    if value is None:
        return None
    spec = spec_of(PARTS[key], value, key)
    if spec.weight != 1:
        raise key_error(f"{key}.weight", f"{key} has no weight; only auxiliaries have one")
    return spec


def _parts(value: object, info: ValidationInfo) -> object:
    """Several objectives, a list of them or one alone."""
    given = value if isinstance(value, list | tuple) else [value]
    return [spec_of("objective", each, str(info.field_name)) for each in given]


def _teachers(value: object) -> object:
    """Encoders or files of vectors, a list of them or one alone."""
    given = value if isinstance(value, list | tuple) else [value]
    return [_teacher(each, "teachers") for each in given]


def _guide(value: object) -> object:
    return None if value is None else _teacher(value, "guide")


def _teacher(value: object, key: str) -> object:
    from simcse_kit.encoder import teacher_of  # torch comes with it: only where there is one

    return teacher_of(value, key)


PartSpec = Annotated[Spec, BeforeValidator(_part)]
PartSpecs = Annotated[list[Spec], BeforeValidator(_parts)]
Teachers = Annotated[list[Any], BeforeValidator(_teachers)]
Guide = Annotated[Any, BeforeValidator(_guide)]
