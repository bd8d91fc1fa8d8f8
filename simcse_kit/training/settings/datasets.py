"""Further data sets of a run, each with parts of its own in place of the run's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from simcse_kit.errors import explain_settings, key_error
from simcse_kit.parts import Float, Int
from simcse_kit.training.settings.dotted import nested
from simcse_kit.training.settings.named import Guide, PartSpec, PartSpecs, Teachers

BatchSampler = Literal["random", "no_duplicates", "group_by_label"]
InTurn = Literal["proportional", "round_robin"]


class DataSet(BaseModel):
    """One of several data sets: where it is, and which settings of the run are others for it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = Field(min_length=1, description="A file, or the hub id of a dataset.")
    columns: dict[str, str] = Field(
        {}, description="What its columns mean: {anchor: question, positive: answer}."
    )
    split: str = Field("train", min_length=1, description="Of a dataset of the hub.")
    weight: Float = Field(1.0, gt=0, lt=1e30, description="Its losses count so many times.")
    share: Float = Field(
        1.0,
        gt=0,
        le=1000,
        description="Of its batches, how many an epoch has: 0.5 is half of them, other ones in "
        "every epoch; 2 each twice.",
    )
    # as of the run
    objective: PartSpec | None = None
    auxiliaries: PartSpecs = []
    negatives: PartSpec | None = None
    anchor_view: PartSpec | None = None
    positive_view: PartSpec | None = None
    pairing: PartSpec | None = None
    teachers: Teachers = []
    guide: Guide = None
    max_length: Int = Field(32, ge=3)
    prompt: str | None = None
    document_prompt: str | None = None
    mask_equal_texts: bool = True
    batch_sampler: BatchSampler = "random"
    samples_per_label: Int = Field(4, ge=2)

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        """As a recipe writes it: what is set, for what is not is the run's."""
        return {name: _plain(getattr(self, name)) for name in self._named()}

    def own(self) -> dict[str, Any]:
        """The run's settings that are others for this data set."""
        own = {name: getattr(self, name) for name in self._named() if name not in _OF_ITSELF}
        return own | ({"prompt_name": None} if "prompt" in own else {})

    def _named(self) -> list[str]:
        """Settings that are given, in the order above."""
        return [name for name in type(self).model_fields if name in self.model_fields_set]


#: What a run has no setting for.
_OF_ITSELF = {"data", "columns", "split", "weight", "share"}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _data_sets(value: object) -> list[DataSet]:
    """Several, a list of them or one alone."""
    given = value if isinstance(value, list | tuple) else [value]
    return [_data_set(each, f"datasets[{place}]") for place, each in enumerate(given)]


def _data_set(value: object, key: str) -> DataSet:
    if isinstance(value, DataSet):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("data"), str):
        raise key_error(
            "datasets", f"{key} must be {{data: FILE, SETTING: VALUE}}, not {value!r:.100}"
        )
    given = nested({str(name): each for name, each in value.items()}, {})
    for name in given:
        if name not in DataSet.model_fields:
            raise key_error(
                "datasets",
                f"{key} ({given['data']}): {name!r} is no setting of one data set; there are "
                f"{', '.join(DataSet.model_fields)}",
            )
    if given.get("objective", "") is None:
        raise key_error(
            "datasets", f"{key} ({given['data']}): objective must be the name of one, not null"
        )
    try:
        return DataSet.model_validate(given)
    except (ValidationError, PydanticCustomError) as error:
        said = explain_settings(error) if isinstance(error, ValidationError) else str(error)
        raise key_error("datasets", f"{key} ({given['data']}): {said}") from None


DataSets = Annotated[list[DataSet], BeforeValidator(_data_sets)]
