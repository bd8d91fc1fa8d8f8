"""The base of every part, and of its settings."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _not_a_bool(value: object) -> object:
    """``true`` must not become the number 1."""
    if isinstance(value, bool):
        raise ValueError("no number")
    return value


Int = Annotated[int, BeforeValidator(_not_a_bool), Field(lt=2**63)]
Seed = Annotated[Int, Field(ge=0, lt=2**32)]
Float = Annotated[float, BeforeValidator(_not_a_bool)]


class PartSettings(BaseModel):
    """Settings of a part: every field has a default and a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Context:
    """What a part may have to know of the run that it is built for.

    Attributes:
        width: D, of the embeddings that an objective sees; of the pooled vector for a projection;
            for a view, of the embedding layer's output.
        rows: of the training data.
        steps: optimizer steps of the run.
        batch_size: rows that are each other's negatives, of all ranks together.
        classes: of labelled rows; 0 of others.
        teacher_widths: of each teacher's vectors.
        seed: of the run.
        vocabulary: what a view may know of the tokens (`simcse_kit.views.Vocabulary`), or None.
        documents: int64 ``(rows,)``, which document each row is of, in their order; or None.
    """

    width: int = 0
    rows: int = 0
    steps: int = 0
    batch_size: int = 0
    classes: int = 0
    teacher_widths: tuple[int, ...] = ()
    seed: int = 0
    vocabulary: Any = None
    documents: Any = None

    def but(self, **known: Any) -> Context:
        """The same with more known."""
        return replace(self, **known)


class Part(ABC):
    """A part of a method: keywords are its settings, checked by `Settings`.

    A subclass declares `Settings` and reads ``self.settings``; what the run is like comes as the
    first argument, in ``self.context``. It is built once, after the model is loaded.

    Attributes:
        IS_BASE: whether it is there to be derived from alone, and so no part; a class that leaves
            methods to be written is none in any case.
        NEEDS: what of the data, or beside them, it cannot do without; of an objective names of
            `simcse_kit.objectives.Embedded`'s fields.

    Raises:
        pydantic.ValidationError: a setting is unknown or out of bounds.
        TypeError: a setting is given without its name.
    """

    context: Context
    settings: Any

    IS_BASE: ClassVar[bool] = False
    NEEDS: ClassVar[frozenset[str]] = frozenset()
    Settings: ClassVar[type[PartSettings]] = PartSettings

    @classmethod
    def needs(cls, settings: Any) -> frozenset[str]:
        """`NEEDS` under these settings, where some of them ask for more."""
        return cls.NEEDS

    @classmethod
    def check(cls, settings: Any) -> None:
        """Raise InputError for what is wrong whatever the model: a file that is not there."""
        return None

    @classmethod
    def files(cls, settings: Any) -> Sequence[Path]:
        """Files that it reads: a run that goes on must find them as they were."""
        return ()

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        if not isinstance(context, Context | None):
            raise TypeError(
                f"{type(self).__name__}({context!r}): settings are given by name, for instance "
                f"{type(self).__name__}({next(iter(self.Settings.model_fields), 'name')}=…)"
            )
        super().__init__()
        self.context = context or Context()
        self.settings = self.Settings(**settings)
