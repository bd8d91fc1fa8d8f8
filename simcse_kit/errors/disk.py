"""Which of all libraries' errors say that the disk has no room left."""

from __future__ import annotations

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What libraries that write by themselves say instead: safetensors and arrow, then torch.
_SAID = (
    *(
        "os error 28",
        "os error 122",
        "os error 27",
        "No space left",
        "Disk quota",
        "File too large",
    ),
    *("PytorchStreamWriter failed", "inline_container", "unexpected pos"),
)
FULL = "the disk is full, or a quota or limit of file sizes is reached; make room and try again"


def no_room(error: Exception) -> bool:
    """Whether a disk, a quota or a limit of file sizes is exhausted."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in NO_ROOM
    return any(words in str(error) for words in _SAID)
