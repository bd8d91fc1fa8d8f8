"""Datasets of the `datasets` library as tables: saved in a folder, on the hub, or at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simcse_kit.data.hub import load_dataset
from simcse_kit.data.lines import brief
from simcse_kit.data.readers import Table
from simcse_kit.errors import InputError


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was written by ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``."""
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def saved_files(folder: Path) -> list[Path]:
    """The files of such a folder that hold the data, sorted.

    Caches of ``datasets``, and whatever else somebody writes there, are none of them.
    """
    return sorted(path for path in folder.rglob("*") if _holds_data(path) and path.is_file())


def _holds_data(path: Path) -> bool:
    if path.suffix == ".arrow":
        return not path.name.startswith(("cache-", "tmp"))
    return path.name in ("dataset_dict.json", "dataset_info.json", "state.json")


def read_saved_dataset(path: Path, split: str) -> Table:
    """A folder saved by ``datasets``; ``split`` matters where it holds several."""
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: `datasets` cannot load it ({brief(error)})") from error
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise InputError(f"{path}: has no split '{split}'; it has {', '.join(map(str, saved))}")
        saved = saved[split]
    return dataset_table(str(path), saved)


def read_hub_dataset(name: str, split: str, revision: str | None) -> Table:
    """``owner/name`` or ``owner/name:config`` through ``datasets.load_dataset``."""
    repo, _, config = name.partition(":")
    try:
        loaded = load_dataset(repo, config or None, split=split, revision=revision)
    except InputError as error:
        raise InputError(
            f"{name}: no such file here, and {error}; check the name, config and split "
            f"'{split}', or give a local file"
        ) from error
    return dataset_table(f"{name} [{split}]", loaded)


def without_format(dataset: Any) -> Any:
    """A ``Dataset`` whose cells are Python's, and not arrays, tensors or frames.

    What a user's own transform makes of its rows stays.
    """
    kind = getattr(dataset, "format", {}).get("type")  # an ``IterableDataset`` has none
    return dataset if kind in (None, "custom") else dataset.with_format(None)


def is_column(given: Any) -> bool:
    """Whether something is a column of a ``Dataset``, as ``dataset["text"]`` gives it."""
    return all(hasattr(given, name) for name in ("column_name", "source", "__len__"))


def column_cells(column: Any) -> Any:
    """The cells of such a column, at once: to go through it is a hundred times slower."""
    return without_format(column.source)[column.column_name][:]


def dataset_table(source: str, dataset: Any) -> Table:
    """A ``Dataset``, whose classes become their names."""
    dataset = without_format(dataset)
    names: list[str] = dataset.column_names

    def cells(index: int) -> list[Any]:
        values = dataset[names[index]][:]  # at once: iterating a column is a hundred times slower
        labels = getattr(dataset.features[names[index]], "names", None)  # of a ClassLabel
        if labels is None:
            return values
        return [labels[v] if isinstance(v, int) and 0 <= v < len(labels) else v for v in values]

    return Table(source, len(names), cells, names)
