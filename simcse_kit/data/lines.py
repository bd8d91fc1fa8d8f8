"""A file's bytes as numbered lines of text: compression, encoding, line breaks.

Files are taken in pieces of some megabytes, so that a corpus is never in memory twice. What cannot
be text is refused with the line it stands on. A stream (``-``, ``/dev/stdin``, a pipe) can be read
once alone, so it is copied aside first.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from simcse_kit.errors import InputError

STDIN = "-"
_PIECE = 1 << 22


def is_stream(path: Path) -> bool:
    """Whether a path is the standard input (``-``) or a pipe, and no file that lies somewhere."""
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


def at_rest(path: Path) -> Path:
    """The path of a file that can be read several times: a stream's copy, else the path."""
    if not is_stream(path):
        return path
    stdin = str(path) in (STDIN, "/dev/stdin")
    key = sys.stdin if stdin else str(path)
    try:
        if key not in _COPIES:
            _COPIES[key] = _copy(str(path))
    except (OSError, AttributeError) as error:
        raise InputError(f"{path}: there is nothing to read from it; give a file") from error
    return Path(_COPIES[key].name)


def forget_stream(path: Path) -> None:
    """Read a pipe anew, which is another one under the same name; the standard input is one."""
    _COPIES.pop(str(path), None)


def _copy(path: str) -> IO[bytes]:
    aside = cast("IO[bytes]", tempfile.NamedTemporaryFile(prefix="simcse-kit-"))  # noqa: SIM115
    with contextlib.ExitStack() as opened:
        is_ours = path == STDIN
        stream = sys.stdin.buffer if is_ours else opened.enter_context(Path(path).open("rb"))
        shutil.copyfileobj(stream, aside)
    aside.flush()
    return aside


_COPIES: dict[object, IO[bytes]] = {}  # of streams; a file goes when it is forgotten


def is_gzip(path: Path) -> bool:
    """By the first two bytes, not by the name."""
    try:
        with at_rest(path).open("rb") as stream:
            magic = stream.read(2)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if magic != b"\x1f\x8b" and magic and path.name.lower().endswith(".gz"):
        raise InputError(f"{path}: is named .gz but holds no gzip data; drop .gz from its name")
    return magic == b"\x1f\x8b"


def byte_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, unzipped, some megabytes at a time."""
    opener = gzip.open if is_gzip(path) else open
    with cast("IO[bytes]", opener(at_rest(path), "rb")) as stream:
        try:
            while piece := stream.read(_PIECE):
                yield piece
        except EOFError as error:
            message = f"{path}: the gzip data ends too early; copy or download the file again"
            raise InputError(message) from error
        except (OSError, zlib.error) as error:
            raise InputError(f"{path}: damaged or unreadable ({error})") from error


def text_blocks(path: Path) -> Iterator[tuple[int, str]]:
    """The text of a file in pieces of whole lines, each with the number of its first line."""
    line = 1
    for block in _whole_lines(_utf8(path)):
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
        if line == 1 and "\n" not in text:
            text = text.replace("\r", "\n")
        yield line, text
        line += text.count("\n")


def _utf8(path: Path) -> Iterator[bytes]:
    """The file's bytes without a byte-order mark; UTF-16, which Excel writes, becomes UTF-8."""
    pieces = byte_pieces(path)
    first = next(pieces, b"")
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            yield b"".join([first, *pieces]).decode("utf-16").encode("utf-8")
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
