"""Files that lie elsewhere, by their URL (``s3://…``, ``hf://…``), opened through fsspec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, cast

from simcse_kit.errors import InputError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_HIDDEN = re.compile(r"//[^/@]*@")  # a user and a password


def is_url(name: str) -> bool:
    """Whether a name says where it lies by a protocol."""
    return _URL.match(name) is not None


class RemoteFile:
    """A file by its URL, read where it lies.

    Attributes:
        url: as fsspec takes it.
        name: its last part, which says the format.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = PurePosixPath(url.partition("?")[0]).name

    def __str__(self) -> str:
        return _HIDDEN.sub("//", self.url)

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open it to read bytes; it can be sought in. Raises InputError where that fails."""
        files, path = self._found()
        with _said(self):
            return cast("IO[bytes]", files.open(path, mode))

    def exists(self) -> bool:
        """Whether there is such a file."""
        files, path = self._found()
        with _said(self):
            return bool(files.isfile(path))

    def state(self) -> dict[str, Any]:
        """Its size in bytes, and what tells its content from another's, where the place knows."""
        files, path = self._found()
        with _said(self):
            info = files.info(path)
            marks = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created")
            mark = next((str(info[each]) for each in marks if info.get(each)), "")
            return {"size": info.get("size"), "changed": mark}

    def matches(self) -> list[str]:
        """The URLs that this one, with ``*`` or the like in it, stands for; sorted."""
        files, path = self._found()
        with _said(self):
            return sorted(files.unstrip_protocol(each) for each in files.glob(path))

    def _found(self) -> tuple[Any, str]:
        import fsspec

        protocol = self.url.partition("://")[0]
        try:
            return cast("tuple[Any, str]", fsspec.core.url_to_fs(self.url))
        except ImportError as error:
            raise InputError(
                f"{self}: reading {protocol}:// needs a package that is not installed ({error})"
            ) from error
        except ValueError as error:
            raise InputError(f"{self}: '{protocol}' is no protocol that fsspec knows") from error


@contextmanager
def _said(file: RemoteFile) -> Iterator[None]:
    """What a place says when it refuses, in one sentence that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file; check the URL") from error
    except Exception as error:  # of whatever library reads from there
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: cannot be read ({reason:.200})") from error
