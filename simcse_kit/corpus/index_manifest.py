"""What an index in a folder is: its manifest, which alone tells which of the files count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from simcse_kit.data import leftovers, write_json
from simcse_kit.errors import InputError

MANIFEST = "index.json"
_LAYOUT = 1
_OURS = ("vectors-*.faiss", "added-*.npy", "added-*.json", "removed-*.npy")
_ENDS = 1 << 20  # bytes at both ends of a file that are read to tell whether it is the one


@dataclass(frozen=True)
class Manifest:
    """What stands in ``index.json``.

    Attributes:
        file, bytes, ends: the index, its size, and a digest of its first and last mebibyte.
        factory: the kind of index, as faiss names it.
        dimension, rows: of the vectors that it was built of.
        model: the fingerprint of what embedded them, "" where nobody said.
        state: of these vectors, "" where nobody said: an index of others is refused.
        effort: what a search spends (`approximate.EFFORTS`), None for a kind that has no choice.
        fetched: so many times what is asked for is put in order by exact cosines.
        recall: share of the 10 nearest that it finds, by `measured` rows asked.
        added: files of vectors that came later, and how many each holds.
        removed: a file of the rows that were taken out, "" for none; and how many these are.
    """

    file: str
    bytes: int
    ends: str
    factory: str
    dimension: int
    rows: int
    model: str
    state: str
    effort: int | None
    fetched: int
    recall: float | None
    measured: int
    added: list[tuple[str, int]] = field(default_factory=list)
    removed: str = ""
    removed_rows: int = 0
    layout: int = _LAYOUT


def read_manifest(folder: Path) -> Manifest:
    """What the index in a folder is.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} holds no index ({MANIFEST} is missing); build one first")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["layout"] != _LAYOUT:
            raise InputError(f"{path} was written by another version; {again(folder)}")
        told["added"] = [(str(name), int(rows)) for name, rows in told["added"]]
        manifest = Manifest(**told)
        names = [manifest.file, *(name for name, _ in manifest.added)]
        names += [manifest.removed] if manifest.removed else []
        if any(Path(name).name != name for name in names):
            raise InputError(f"{path} names a file outside the folder; {again(folder)}")
        return manifest
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; {again(folder)}") from error


def keep(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, and take away what it does not name."""
    write_json(folder / MANIFEST, asdict(manifest))
    named = {MANIFEST, manifest.file, manifest.removed, *(name for name, _ in manifest.added)}
    named |= {str(Path(name).with_suffix(".json")) for name, _ in manifest.added}
    ours = [path for pattern in _OURS for path in folder.glob(pattern)]
    for path in [*ours, *leftovers(folder)]:
        if path.name not in named:
            path.unlink(missing_ok=True)


def next_name(folder: Path, stem: str, suffix: str) -> str:
    """A name that no file of this kind has."""
    taken = {path.name for path in folder.glob(f"{stem}-*{suffix}")}
    numbers = (f"{stem}-{number:04d}{suffix}" for number in range(1, len(taken) + 2))
    return next(name for name in numbers if name not in taken)


def sealed(path: Path) -> tuple[int, str]:
    """Size and digest of both ends of a file: a cut or another one is told at once."""
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_ENDS))
        file.seek(max(0, size - _ENDS))
        digest.update(file.read(_ENDS))
    return size, digest.hexdigest()[:32]


def mapped(path: Path, rows: int, dimension: int) -> np.ndarray:
    """Vectors that were added, float32 (rows, dimension), from their file."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged or missing; {again(path.parent)}") from error
    if getattr(found, "shape", None) != (rows, dimension) or found.dtype != np.float32:
        raise InputError(f"{path} is damaged; {again(path.parent)}")
    return found


def labels(path: Path, what: str, rows: int) -> list[str | None]:
    """The ids or texts of vectors that were added, None where none were given."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))[what] or [None] * rows
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged or missing; {again(path.parent)}") from error
    if len(told) != rows:
        raise InputError(f"{path} is damaged; {again(path.parent)}")
    return told


def labels_of(
    vectors: np.ndarray, given: Sequence[str] | None, what: str
) -> list[str | None] | None:
    """One for each vector to add, as they are written; None where none are given."""
    if given is None:
        return None
    if len(given) != len(vectors):
        raise InputError(
            f"there are {len(given):,} {what} for {len(vectors):,} vectors to add; give one each"
        )
    return [None if each is None else str(each) for each in given]


def removed_rows(folder: Path, manifest: Manifest, count: int) -> np.ndarray | None:
    """Which of `count` rows were taken out, bool (count,); None where none was."""
    if not manifest.removed:
        return None
    path = folder / manifest.removed
    try:
        rows = np.load(path, allow_pickle=False)
        gone = np.zeros(count, bool)
        gone[rows] = True
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise InputError(f"{path} is damaged or missing; {again(folder)}") from error
    if gone.sum() != manifest.removed_rows:
        raise InputError(f"{path} is damaged; {again(folder)}")
    return gone


def again(folder: Path) -> str:
    """What to do about an index that cannot be used."""
    return f"build it again, over what is there (overwrite): {folder}"
