"""Writing an export: the graph, its int8, what it lost; all of it, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.compute import PackedBatch
from simcse_kit.data import (
    at_home,
    check_can_make,
    disk_errors,
    filling,
    is_unfilled,
    move_into,
    replacing,
    tokenised,
    write_json,
)
from simcse_kit.encoder.card import with_section
from simcse_kit.encoder.persistence import read_parts
from simcse_kit.encoder.runtimes.formats import (
    MODEL_FILE,
    NOTE,
    check_format,
    check_packages,
)
from simcse_kit.encoder.runtimes.graph import cannot, inputs_of, is_no_fault_of_it, write_onnx
from simcse_kit.encoder.runtimes.int8 import onnx_in_int8, openvino_of
from simcse_kit.encoder.runtimes.note import Int8, Measured, Note, Source, as_json, digest_of
from simcse_kit.encoder.runtimes.sample import sample_texts
from simcse_kit.encoder.verify import unnoticed
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder.runtimes.formats import Format
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder

#: Cosine that texts may lose on average, unless the caller says otherwise.
TOLERANCES = {None: 1e-5, "dynamic": 0.02, "calibrated": 0.02}
#: Texts that scales are fixed from at most: more changed nothing, and each is run one by one.
_CALIBRATED_ON = 300

_NAMES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
_INT8 = {
    None: "in fp32",
    "dynamic": "in int8, by channel",
    "calibrated": "in int8, calibrated",
}


@dataclass(frozen=True)
class Exported:
    """An export that was written.

    Attributes:
        folder: the model's, which `SentenceEncoder.from_pretrained` loads.
        note: what stands in its export.json.
    """

    folder: Path
    note: Note

    def figures(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"folder": str(self.folder), **as_json(self.note)}

    def said(self) -> str:
        """What was lost, in one sentence."""
        return _said(self.note)


def export(
    encoder: SentenceEncoder,
    folder: str | Path | None = None,
    *,
    format: Format = "onnx",
    int8: Int8 | None = None,
    calibration: Sequence[str] = (),
    texts: Sequence[str] | None = None,
    texts_from: str = "given texts",
    tolerance: float | None = None,
    judge: Callable[[SentenceEncoder], float] | None = None,
) -> Exported:
    """Write an encoder's graph, pooling, head and normalisation inside, for another library to run.

    The result is measured before it is put in place: an export that loses more than `tolerance` is
    refused, and what stood there stays.

    Args:
        encoder: in torch; is left as it is.
        folder: a new folder, which gets the whole model and the export in its subfolder named after
            the format; default: the model's own folder, which gets that subfolder.
        int8: ``dynamic``, with scales of the inputs found as it runs, or ``calibrated`` (OpenVINO).
        calibration: texts to fix these scales from, for ``calibrated``; 300 are taken.
        texts: to measure the loss on; default: a few built in.
        texts_from: where they are from, for the card.
        tolerance: cosine to the encoder in fp32 that texts may lose on average; default 1e-5, of
            int8 0.02.
        judge: mean score of an encoder on STS, which is noted beside.

    Raises:
        InputError: a format or int8 that is not to be had, packages that are wanting, a family that
            torch cannot export, a folder that holds something else, or too much lost.
    """
    _check(format, int8, calibration, tolerance)
    if texts is not None and not len(texts):
        raise InputError("there are no texts to measure the loss on; give some, or texts=None")
    encoder.parts()  # refuses one without weights
    target = at_home(encoder.name if folder is None else folder)
    _check_place(encoder, target, format, own=folder is None)
    limit = TOLERANCES[int8] if tolerance is None else tolerance
    with disk_errors(target), filling(target) as aside:
        is_new = _check_place(encoder, target, format, own=folder is None)
        model = aside / "model"
        encoder.save_pretrained(model, merge_adapters=True)
        note = _written(encoder, model, format, int8, calibration)
        if not is_new:
            _check_same(encoder, target, note.source)
        sample = sample_texts() if texts is None else list(texts)
        where = "built-in texts" if texts is None else texts_from
        note.measured = _measured(encoder, model, note, sample, where, judge)
        _refuse_lost(encoder.name, note, limit)
        write_json(model / format / NOTE, as_json(note))
        _put_in_place(model, target, format, note, is_new)
    return Exported(target, note)


def _check(
    format: str, int8: str | None, calibration: Sequence[str], tolerance: float | None
) -> None:
    check_format(format)
    if int8 not in TOLERANCES:
        raise InputError(f"unknown int8 {int8!r}; choose dynamic or calibrated")
    if int8 == "calibrated" and format == "onnx":
        raise InputError(
            "int8 is calibrated for openvino alone: ONNX Runtime's calibrated products lose too "
            "much of an embedding; leave the calibration texts out, or take format openvino"
        )
    if int8 == "calibrated" and not calibration:
        raise InputError("calibrated int8 needs texts to fix its scales from; give some")
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise InputError(f"tolerance {tolerance} is no share of a cosine; use 0 to 1")
    check_packages(format, to_write=True, int8=int8 is not None)


def _check_place(encoder: SentenceEncoder, target: Path, format: Format, *, own: bool) -> bool:
    """Whether the whole model is to be written there; raises InputError where neither can be."""
    if own and not (target / "modules.json").is_file():
        raise InputError(
            f"{encoder.name!r} is no folder of a sentence encoder that an export could lie in; "
            "give a new folder for it (--output)"
        )
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a folder for the export")
    check_can_make(target)
    there = target / format / MODEL_FILE[format]
    if there.exists() and not there.with_name(NOTE).exists():
        raise InputError(
            f"{there} has no {NOTE} beside it, so another program wrote it, and it would be "
            "replaced; move it away, or give a new folder for the export (--output)"
        )
    if (target / "modules.json").is_file():
        _check_card(target / "README.md")
        return False
    if target.is_dir() and not is_unfilled(target):
        raise InputError(f"{target} holds no sentence encoder, but other files; give a new folder")
    return True


def _check_card(card: Path) -> None:
    """Raise InputError where a section could not be put into the model's card."""
    try:
        if card.is_file():
            card.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{card} is not UTF-8; save it as UTF-8, or move it away") from None


def _check_same(encoder: SentenceEncoder, target: Path, source: Source) -> None:
    """Raise InputError where the folder holds another encoder than the one that is exported."""
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder as Loaded

    with unnoticed():
        there = Loaded.from_pretrained(
            target, device="cpu", precision="fp32", trust_remote_code=encoder.own_code
        )
    if (differs := source.differs(Source.of(there))) is not None:
        raise InputError(
            f"the export would be {differs}, in {target}; give a new folder for it (--output)"
        )


def _written(
    encoder: SentenceEncoder,
    model: Path,
    format: Format,
    int8: Int8 | None,
    calibration: Sequence[str],
) -> Note:
    """The export of a saved model, in that model's folder, with its note."""
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder as Loaded

    inside = model / format
    inside.mkdir()
    graph, final = model.parent / "graph.onnx", inside / MODEL_FILE[format]
    if format == "onnx" and int8 is None:
        graph = final  # weights beside it are found by the name they have now
    with unnoticed():
        write_onnx(read_parts(str(model), own_code=encoder.own_code), graph)
        again = Loaded(
            read_parts(str(model), own_code=encoder.own_code), name=encoder.name, precision="fp32"
        )
    try:
        if format == "onnx" and int8 is not None:
            onnx_in_int8(graph, final)
        elif format == "openvino":
            given = _inputs(again, calibration) if int8 == "calibrated" else None
            openvino_of(graph, final, int8=int8 is not None, calibration=given)
    except Exception as error:  # of libraries that change a graph
        if is_no_fault_of_it(error):
            raise
        what = f"{_NAMES[format]} cannot write {encoder.name!r} {_INT8[int8]}"
        raise cannot(what, error, "export it in fp32, or for another format") from error
    note = Note(
        format=format,
        int8=int8,
        by_length=bool(getattr(again.backbone, "sees_padding", False)),
        source=Source.of(again),
        files={path.name: digest_of(path) for path in sorted(inside.iterdir())},
        made_with=_versions(format, int8),
    )
    write_json(inside / NOTE, as_json(note))
    return note


def _inputs(encoder: SentenceEncoder, texts: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """What a graph is given for each text by itself."""
    some = list(texts)[:_CALIBRATED_ON]
    for _, store in tokenised(some, encoder.tokenizer, encoder.max_length, chunk=len(some)):
        for row in range(len(store)):
            batch = PackedBatch.from_flat(*store.gather(np.array([row])))
            ids, mask = batch.padded(encoder.pad_id)
            yield inputs_of(ids, mask, None if encoder.include_prompt else 0)


def _versions(format: str, int8: str | None) -> dict[str, str]:
    names = ["torch", "transformers", "onnx", "onnxscript", "onnxruntime"]
    names += ["openvino"] if format == "openvino" else []
    names += ["nncf"] if format == "openvino" and int8 is not None else []
    return {name: version(name) for name in names}


def _measured(
    encoder: SentenceEncoder,
    model: Path,
    note: Note,
    texts: list[str],
    where: str,
    judge: Callable[[SentenceEncoder], float] | None,
) -> Measured:
    """Embeddings of both, and their scores."""
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder as Loaded

    with unnoticed():
        made = Loaded.from_pretrained(
            model,
            backend=note.format,
            precision="auto" if note.int8 else "fp32",
            trust_remote_code=encoder.own_code,
        )
    # a mask, which without a template texts bring themselves
    prompt = f"{encoder.tokenizer.mask_token} " if encoder.pooling == "mask" else None
    expected = encoder.encode(texts, precision="fp32", normalize=True, prompt=prompt)
    try:
        found = made.encode(texts, normalize=True, prompt=prompt)
    except InputError as error:  # the encoder itself could
        raise InputError(
            f"the export of {encoder.name!r} {_INT8[note.int8]} cannot embed what it is measured "
            f"on ({error}); it is not written: take another format, or the backend torch"
        ) from error
    cosines = (expected.astype(np.float64) * found).sum(1)
    return Measured(
        texts=len(texts),
        source=where,
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        largest_difference=float(np.abs(expected - found).max()),
        sts=None if judge is None else judge(made),
        sts_torch=None if judge is None else judge(encoder),
    )


def _refuse_lost(name: str, note: Note, limit: float) -> None:
    """Raise InputError where too much of the cosine is gone, or no number came out."""
    assert note.measured is not None
    lost = 1 - note.measured.mean_cosine
    if not lost <= limit:
        raise InputError(
            f"the export of {name!r} {_INT8[note.int8]} loses {lost:.2g} of the cosine to fp32 on "
            f"average, more than the tolerance of {limit:g}; it is not written: raise the "
            "tolerance, or export in fp32"
        )


def _put_in_place(model: Path, target: Path, format: str, note: Note, is_new: bool) -> None:
    """Move what was made into the folder; into one that has the model, the note last."""
    card = target / "README.md"
    text = (model if is_new or not card.is_file() else target) / "README.md"
    said = with_section(
        text.read_text(encoding="utf-8"), f"Export for {_NAMES[format]}", _said(note)
    )
    if is_new:
        text.write_text(said, encoding="utf-8")
        move_into(target, model)
        return
    inside = target / format
    inside.mkdir(exist_ok=True)
    (inside / NOTE).unlink(missing_ok=True)
    for name in (*note.files, NOTE):
        os.replace(model / format / name, inside / name)
    for stale in inside.iterdir():
        if stale.name in _KNOWN - {*note.files, NOTE}:
            stale.unlink()
    with replacing(card) as aside:
        aside.write_text(said, encoding="utf-8")


#: Files of an export that another of the same format may leave out.
_KNOWN = {*MODEL_FILE.values(), "model.onnx.data", "openvino_model.bin"}


def _said(note: Note) -> str:
    """What an export is and lost, as a sentence of the card."""
    found = note.measured
    assert found is not None
    said = (
        f"`{note.format}/{MODEL_FILE[note.format]}`, {_INT8[note.int8]}: cosine to fp32 "
        f"{found.mean_cosine:.6f} on average and {found.min_cosine:.6f} at least, over "
        f"{found.texts} {found.source}"
    )
    if found.sts is None or found.sts_torch is None:
        return said + "."
    return f"{said}; STS {found.sts:.2f} where torch has {found.sts_torch:.2f}."
