"""Inputs of any size become a folder of embeddings, shard by shard, where the last run ended."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from simcse_kit.corpus.engines import Engine, Processes
from simcse_kit.corpus.manifest import NAME, EmbeddedBy, Layout, Manifest, Shard, Store
from simcse_kit.corpus.numbers import NumberType, check_type
from simcse_kit.corpus.run_lock import alone, in_turn, was_held
from simcse_kit.corpus.shard_files import VECTORS, OneFile
from simcse_kit.corpus.shards import ShardSpec, damaged, forget, make, plan, record, recorded
from simcse_kit.data import (
    Block,
    TextStream,
    at_home,
    check_can_make,
    disk_errors,
    leftovers,
)
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from tqdm import tqdm

    from simcse_kit.encoder import SentenceEncoder

logger = logging.getLogger(__name__)

_OURS = (NAME, f"{VECTORS}*", "shard-*.parquet", ".lock*", ".done")
SHARD_ROWS = 65_536


@dataclass(frozen=True)
class Progress:
    """What stands in a folder after a run.

    Attributes:
        folder: the folder.
        rows: of the corpus; None where shards are still to be made by other runs.
        dimension: of its vectors.
        made, found: shards that this run made, and that it found finished.
    """

    folder: Path
    rows: int | None
    dimension: int
    made: int
    found: int


def embed_corpus(
    encoder: SentenceEncoder,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | TextStream,
    output: str | os.PathLike[str],
    *,
    type: NumberType = "fp32",
    dimension: int | None = None,
    normalize: bool | None = None,
    prompt: str | None = None,
    prompt_name: str | None = None,
    texts: bool = False,
    store: Store = "parquet",
    shard_rows: int = SHARD_ROWS,
    part: tuple[int, int] | None = None,
    workers: int = 1,
    engine: Engine | None = None,
    overwrite: bool = False,
    other: Literal["refuse", "anew"] = "refuse",
    head: str | None = None,
    show_progress: bool = False,
) -> Progress:
    """Embed the texts of files that no memory holds into a folder, which `EmbeddedCorpus` opens.

    A run that is killed is gone on with by the same call: finished shards stay, and are checked.
    Equal texts of a shard are embedded once. Row i of the corpus is the i-th row of the inputs that
    is not left out. Memory is that of one shard a worker, whatever the inputs' size.

    Args:
        inputs: files, patterns, ``-``, URLs, as of `simcse_kit.data.TextStream`; or one of these,
            which says how they are read: columns, headers, rows that are blank or bad.
        output: the folder; it is made.
        type: what numbers are kept as (`simcse_kit.corpus.numbers.NumberType`).
        dimension: leading numbers of a vector that are kept, made of length 1 again where the
            whole vector was (Matryoshka models); None: all.
        normalize: as of `SentenceEncoder.encode`.
        prompt, prompt_name: put before each text, or the name of the model's; the default is the
            model's default prompt, or else its prompt for documents.
        texts: whether the texts are kept beside the vectors.
        store: vectors in each shard's Parquet file, or all in one ``vectors.npy``.
        shard_rows: rows of a shard.
        part: (i, n): make the shards whose number leaves i when divided by n. The n runs may be on
            several machines; the last to end makes the corpus whole, or a run without `part`.
        workers: processes on this machine, which share its threads.
        engine: makes the shards elsewhere, in place of `workers`: `simcse_kit.corpus.RayTasks`.
        overwrite: begin anew, whatever is there.
        other: what becomes of a folder that another model, setting or input made.
        head: with which the encoder was loaded, to load it so again from the manifest.
        show_progress: a bar on stderr, when that is a terminal.

    Raises:
        InputError: the inputs cannot be read, or lie in the folder; it cannot be written or holds
            what another model, setting or input made, another run writes there, or the disk is
            full. What is finished stays.
    """
    settings = _checked(encoder, type, dimension, store, shard_rows, texts, part, workers)
    stream = inputs if isinstance(inputs, TextStream) else TextStream(inputs)
    folder = _made(output, stream, overwrite, part)
    if engine is None and workers > 1:
        engine = Processes(workers)
    wanted = _manifest(encoder, stream, settings, (normalize, prompt, prompt_name, head))
    with alone(folder, part):
        with in_turn(folder):  # parts that begin together: one writes the manifest, others read it
            begun = _begun(folder, wanted, part, overwrite, other)
        return _Run(folder, stream, encoder, begun, part, engine).go(show_progress)


@dataclass
class _Run:
    folder: Path
    stream: TextStream
    encoder: SentenceEncoder
    manifest: Manifest
    part: tuple[int, int] | None
    engine: Engine | None

    def go(self, show_progress: bool) -> Progress:
        found = self._finished()
        made, dimension = 0, self.manifest.layout.dimension
        if self.manifest.rows is not None:
            return Progress(self.folder, self.manifest.rows, dimension, 0, len(found))
        from tqdm.auto import tqdm

        rows = sum(shard.rows for shard in found.values())
        shown = show_progress and sys.stderr.isatty()
        total = self.stream.count() if shown else None
        how: dict[str, Any] = {"unit": "sentence", "desc": "embed", "disable": not shown}
        with tqdm(total=total, initial=rows, **how) as bar:
            for shard in self._shards(found, bar):
                found[shard.number] = shard
                made += 1
        for name in self.stream.changed(self.manifest.inputs) if made else ():
            logger.warning(
                "%s: changed while it was read, and rows may be of before and after; embed it "
                "again once nothing writes to it",
                name,
            )
        whole = self._end()
        return Progress(self.folder, whole, dimension, made, len(found) - made)

    def _shards(self, found: dict[int, Shard], bar: tqdm[Any]) -> Iterator[Shard]:
        """Make what is missing and ours."""
        if self.engine is None:
            for spec, blocks in self._specs(found):
                yield make(spec, self.encoder, blocks, bar)
            return
        pickled = (spec for spec, _ in self._specs(found))
        for shard in self.engine.embedded(self.encoder, pickled):
            bar.update(shard.rows)
            yield shard

    def _specs(self, found: Mapping[int, Shard]) -> Iterator[tuple[ShardSpec, list[Block]]]:
        done = dict(found)  # as it was: what is made meanwhile is read already
        for number, blocks, after in plan(self.stream, self.manifest.layout.shard_rows, done):
            if self.part is not None and number % self.part[1] != self.part[0]:
                continue
            rows, start = sum(map(len, blocks)), blocks[0].place(0)
            where = ShardSpec(
                *(self.folder, number, rows, start, after, self.stream, self.manifest),
                trust_remote_code=self.encoder.own_code,
            )
            yield where, blocks

    def _finished(self) -> dict[int, Shard]:
        """The shards that stand, without those that are damaged, which are said."""
        there = {shard.number: shard for shard in self.manifest.shards} or recorded(self.folder)
        mine = there
        if self.part is not None:
            mine = {n: each for n, each in there.items() if n % self.part[1] == self.part[0]}
        bad = damaged(self.folder, self.manifest, mine)
        for number in bad:
            logger.warning("%s: shard %d is damaged, and is embedded again", self.folder, number)
            del there[number]
        if bad and self.manifest.rows is not None:  # it is not whole any more
            for shard in there.values():
                record(self.folder, shard)
            self.manifest = replace(self.manifest, rows=None, shards=[])
            self.manifest.write(self.folder)
        forget(self.folder, bad)
        if self.manifest.rows is not None:
            return there
        with in_turn(self.folder):  # another part may have made it whole while this one checked
            now = Manifest.read(self.folder)
            if now is None or now.rows is None:
                if self.manifest.layout.store == "npy":
                    OneFile(self.folder, self.manifest.layout).open()
                return there
        self.manifest = now
        return self._finished()

    def _end(self) -> int | None:
        """Make the corpus whole where no shard is missing, and give its rows."""
        with in_turn(self.folder):
            kept = Manifest.read(self.folder)
            if kept is not None and kept.rows is not None:
                return kept.rows  # by another part
            shards = [shard for _, shard in sorted(recorded(self.folder).items())]
            is_whole = [shard.number for shard in shards] == [*range(len(shards))]
            if not shards or not is_whole or shards[-1].next is not None:
                return None
            rows = sum(shard.rows for shard in shards)
            with disk_errors(self.folder):
                OneFile(self.folder, self.manifest.layout).close(rows)
                replace(self.manifest, rows=rows, shards=shards).write(self.folder)
            forget(self.folder)
        return rows


# ---- before the work -----------------------------------------------------------------------------


def _checked(
    encoder: SentenceEncoder,
    kind: NumberType,
    dimension: int | None,
    store: Store,
    shard_rows: int,
    texts: bool,
    part: tuple[int, int] | None,
    workers: int,
) -> Layout:
    check_type(kind)
    most = encoder.dimension
    if dimension is not None and not 1 <= dimension <= most:
        raise InputError(
            f"dimension is {dimension}; {encoder.name} makes vectors of {most}: give 1 to {most}",
            command_line=f"--dim {dimension}: {encoder.name} makes vectors of {most} numbers; give "
            f"1 to {most}",
        )
    for name, value in (("shard_rows", shard_rows), ("workers", workers)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be 1 or more")
    if part is not None and not 0 <= part[0] < part[1]:
        raise InputError(
            f"part is {part}; it is (i, n) with i from 0 to n - 1",
            command_line=f"--shard {part[0]}/{part[1]}: of n parts the numbers are 0 to n - 1",
        )
    return Layout(dimension or most, kind, store, shard_rows, texts)


def _made(
    output: str | os.PathLike[str],
    stream: TextStream,
    overwrite: bool,
    part: tuple[int, int] | None,
) -> Path:
    """The folder, which is there then; InputError where it holds something else, or an input."""
    folder = at_home(os.fspath(output)).absolute()
    if overwrite and part is not None:
        raise InputError(
            "overwrite would take away what other parts made; give another output, or remove the "
            "folder before all parts begin",
            command_line="--overwrite would take away what other parts made; give another "
            "--output, or remove the folder before all parts begin",
        )
    if "://" in os.fspath(output):
        raise InputError(f"{output}: shards are written to a folder of this machine; give one")
    check_can_make(folder)
    stream.check_apart(folder)
    if folder.is_dir() and not _has_manifest(folder):
        # a folder of ours whose manifest is gone or damaged has been locked once
        known = _ours(folder) if was_held(folder) else set()
        strange = {path.name for path in folder.iterdir()} - known
        if strange:
            raise InputError(
                f"{folder}: holds other things ({min(strange)}) and no embeddings; give a new "
                "folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _has_manifest(folder: Path) -> bool:
    try:
        return Manifest.read(folder) is not None
    except InputError:  # not of embeddings, or damaged
        return False


def _ours(folder: Path) -> set[str]:
    found = {path.name for pattern in _OURS for path in folder.glob(pattern)}
    return found | {path.name for path in leftovers(folder)}


def _manifest(
    encoder: SentenceEncoder,
    stream: TextStream,
    layout: Layout,
    how: tuple[bool | None, str | None, str | None, str | None],
) -> Manifest:
    from simcse_kit.encoder import document_prompt, prompt_text

    normalize, prompt, prompt_name, head = how
    if normalize is None:
        is_cut = layout.dimension < encoder.dimension
        normalize = encoder.normalize and (is_cut or encoder.truncate_dim is None)
    default = encoder.default_prompt
    if default is None:  # a query gets its own when it is searched for
        default = document_prompt(encoder.prompts)
    text = prompt_text(encoder.prompts, default, prompt, prompt_name)
    model = EmbeddedBy.of(encoder, prompt=text, normalized=normalize, head=head)
    return Manifest(model, layout, stream.states(), stream.told())


def _begun(
    folder: Path,
    wanted: Manifest,
    part: tuple[int, int] | None,
    overwrite: bool,
    other: Literal["refuse", "anew"],
) -> Manifest:
    """The manifest of the folder, or the wanted one, which is in the folder then."""
    if overwrite:
        _emptied(folder)
    if part is None:  # no other run writes here
        for path in leftovers(folder):
            path.unlink(missing_ok=True)
    kept = Manifest.read(folder)
    if kept is None:
        wanted.write(folder)
        return wanted
    try:
        kept.check_same(wanted, folder, in_parts=part is not None)
    except InputError:
        # a run that finished nothing, for instance for a bad row that was mended since, binds none
        nothing = part is None and kept.rows is None and not recorded(folder)
        if other == "refuse" and not nothing:
            raise
        return _begun(folder, wanted, part, True, other)
    now = replace(kept, reading=wanted.reading)
    if kept.rows is None and now.reading != kept.reading:
        now.write(folder)  # the next run must not read what is missing in a third way
    return now


def _emptied(folder: Path) -> None:
    """Take away what a run of ours wrote, the manifest first: without it nothing counts."""
    (folder / NAME).unlink(missing_ok=True)
    for name in _ours(folder):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        elif not name.startswith(".lock"):
            path.unlink(missing_ok=True)
