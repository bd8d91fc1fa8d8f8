"""A file's bytes as numbered lines of text: compression, encoding, line breaks.

Files are taken in pieces of some megabytes, so that a corpus is never in memory whole. What cannot
be text is refused with the line it stands on. A stream (``-``, ``/dev/stdin``, a pipe) can be read
once alone, so it is copied aside first; a file elsewhere (`RemoteFile`) is read where it lies.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Literal, cast

from simcse_kit.data.remote import RemoteFile
from simcse_kit.errors import FULL, InputError, no_room

STDIN = "-"
_PIECE = 1 << 22
_PACKED = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}

#: What can be opened by this name, here or elsewhere.
File = Path | RemoteFile


def is_stream(path: File) -> bool:
    """Whether a path is the standard input (``-``) or a pipe, and no file that lies somewhere."""
    if isinstance(path, RemoteFile):
        return False
    if str(path) == STDIN:
        return True
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or str(path) == "/dev/stdin"


def is_input(path: Path) -> bool:
    """Whether there is a file or a stream to read by this name."""
    return path.is_file() or is_stream(path)


def at_rest(path: File) -> File:
    """A file that can be read several times: a stream's copy, else itself."""
    if isinstance(path, RemoteFile) or not is_stream(path):
        return path
    stdin = str(path) in (STDIN, "/dev/stdin")
    key = sys.stdin if stdin else str(path)
    try:
        if key not in _COPIES:
            _COPIES[key] = _copy(str(path))
    except (OSError, AttributeError) as error:
        if no_room(error):
            place = tempfile.gettempdir()
            raise InputError(
                f"{path}: cannot be copied to {place}: {FULL}, or name another place in TMPDIR"
            ) from error
        raise InputError(f"{path}: there is nothing to read from it; give a file") from error
    return _place(_COPIES[key])


def forget_stream(path: File) -> None:
    """Read a pipe anew, which is another one under the same name; the standard input is one."""
    _COPIES.pop(str(path), None)


def _copy(path: str) -> IO[bytes]:
    # without a name where the system knows open files by another: a kill leaves no copy then
    make = tempfile.TemporaryFile if _OPEN_FILES.is_dir() else tempfile.NamedTemporaryFile
    aside = cast("IO[bytes]", make(prefix="simcse-kit-"))
    with contextlib.ExitStack() as opened:
        is_ours = path == STDIN
        stream = sys.stdin.buffer if is_ours else opened.enter_context(Path(path).open("rb"))
        shutil.copyfileobj(stream, aside)
    aside.flush()
    return aside


def _place(copy: IO[bytes]) -> Path:
    """The name by which a copy is opened again."""
    return Path(copy.name) if isinstance(copy.name, str) else _OPEN_FILES / str(copy.name)


_OPEN_FILES = Path("/proc/self/fd")  # of this process, by their numbers

_COPIES: dict[object, IO[bytes]] = {}  # of streams; a file goes when it is forgotten


def unpacked_name(name: str) -> str:
    """A file's name, in lower case, without what says how it is compressed."""
    name = name.lower()
    return next((name[: -len(end)] for end in _PACKED if name.endswith(end)), name)


def packing(path: File) -> Literal["", "gzip", "zstd"]:
    """How a file is compressed: by its first bytes, not by its name."""
    try:
        with at_rest(path).open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or brief(error)})") from error
    for kind, first in _MAGIC.items():
        if magic.startswith(first):
            return cast('Literal["gzip", "zstd"]', kind)
    end = path.name.lower()[path.name.rfind(".") :]
    if magic and end in _PACKED:
        kind = _PACKED[end]
        raise InputError(
            f"{path}: is named {end} but holds no {kind} data; drop {end} from its name"
        )
    return ""


def byte_pieces(path: File) -> Iterator[bytes]:
    """The bytes of a file, unpacked, some megabytes at a time."""
    kind = packing(path)
    try:
        with at_rest(path).open("rb") as file:
            stream = _unpacking(file, kind)
            while piece := stream.read(_PIECE):
                yield piece
    except EOFError as error:
        raise _cut_short(path, kind) from error
    except (OSError, zlib.error) as error:
        if str(error).startswith("Truncated"):
            raise _cut_short(path, kind) from error
        raise InputError(f"{path}: damaged or unreadable ({error})") from error


def _unpacking(file: IO[bytes], kind: str) -> IO[bytes]:
    if kind == "gzip":
        return cast("IO[bytes]", gzip.open(file))
    if kind == "zstd":
        import pyarrow as pa

        return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(file), kind))
    return file


def _cut_short(path: File, kind: str) -> InputError:
    return InputError(f"{path}: the {kind} data ends too early; copy or download the file again")


def text_blocks(path: File, start: int = 1) -> Iterator[tuple[int, str]]:
    """The text of a file in pieces of whole lines, each with the number of its first line.

    Args:
        start: the line to begin with, from 1; those before it are counted and not looked at.
    """
    line = 1
    for block in _whole_lines(_utf8(path)):
        if line == 1 and b"\n" not in block:
            block = block.replace(b"\r", b"\n")
        if line < start and b"\n" in block:
            skipped, block = _without_lines(block, start - line)
            line += skipped
            if not block:
                continue
        if b"\0" in block:
            at = line + block.count(b"\n", 0, block.index(b"\0"))
            raise InputError(
                f"{path}:{at}: holds a NUL byte, so it is a binary file, or UTF-16 without its "
                "mark, and not text; save it as UTF-8"
            )
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError as error:
            at = line + block.count(b"\n", 0, error.start)
            raise InputError(
                f"{path}:{at}: byte 0x{block[error.start]:02x} is not UTF-8; save the file as "
                f"UTF-8 (from latin-1, for instance: iconv -f latin1 -t utf-8)"
            ) from error
        yield line, text
        line += text.count("\n")


def text_lines(path: File, start: int = 1) -> Iterator[str]:
    """The lines of a file from one on, with their line breaks, which quotes may hold."""
    for _, block in text_blocks(path, start):
        yield from io.StringIO(block, newline="\n")


def _without_lines(block: bytes, count: int) -> tuple[int, bytes]:
    """How many lines were left out of the first `count`, and what is left of the block."""
    there = block.count(b"\n")
    if there <= count and block.endswith(b"\n"):
        return there, b""
    rest = block.split(b"\n", count)
    return len(rest) - 1, rest[-1]


def _utf8(path: File) -> Iterator[bytes]:
    """The file's bytes without a byte-order mark; UTF-16, which Excel writes, becomes UTF-8."""
    pieces = byte_pieces(path)
    first = next(pieces, b"")
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        decoder = codecs.getincrementaldecoder("utf-16")()
        try:
            for piece in chain([first], pieces):
                yield decoder.decode(piece).encode("utf-8")
            yield decoder.decode(b"", final=True).encode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: begins as UTF-16 but does not go on so; save the file as UTF-8"
            ) from error
        return
    yield first.removeprefix(b"\xef\xbb\xbf")
    yield from pieces


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut again, so that every piece but the last ends with a line break."""
    waiting: list[bytes] = []
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            yield b"".join([*waiting, piece[:end]])
            waiting.clear()
        elif b"\0" in piece:  # binary: do not gather gigabytes in search of a line break
            yield b"".join([*waiting, piece])
            return
        waiting.append(piece[end:])
    if rest := b"".join(waiting):
        yield rest


def brief(error: BaseException) -> str:
    """The first line of another library's message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:200]
