"""The Hugging Face hub, asked once whether it has a repository, and not for long.

The libraries ask for a file at a time and try again for half a minute a file, which a mistyped
name or a machine without network is not worth.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import quote

from simcse_kit.data.lines import brief
from simcse_kit.errors import InputError

#: Seconds the hub has to answer in, unless the variable that huggingface_hub reads says more.
PATIENCE = 1.2
PATIENCE_VARIABLE = "HF_HUB_ETAG_TIMEOUT"

#: Seconds for which a hub that did not answer is not asked again.
_SILENCE = 10.0

_had: set[tuple[str, ...]] = set()
_silent: dict[str, tuple[float, str]] = {}  # endpoint: when it was asked, and what came of it

Kind = Literal["model", "dataset"]


def ask_hub(
    name: str, kind: Kind, *, revision: str | None = None, token: str | bool | None = None
) -> str | None:
    """Ask for a repository ``name`` or ``owner/name``.

    The endpoint, the proxies, the token and offline mode are those of huggingface_hub.

    Returns:
        None where the hub has it, or leaves that open; otherwise half a sentence that says what
        is the matter, ``the hub cannot be reached (…)``.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "the hub is not asked (HF_HUB_OFFLINE is set)"
    endpoint = constants.ENDPOINT
    key = (endpoint, kind, name, revision or "", str(token))
    if key in _had:
        return None
    when, said = _silent.get(endpoint, (0.0, ""))
    if said and time.monotonic() - when < _SILENCE:
        return said
    try:
        _within(_patience(), lambda: _request(endpoint, name, kind, revision, token))
    except Exception as error:
        reason = _reason(error, endpoint, kind, revision)
        if reason is not None:
            return reason
    _had.add(key)
    return None


def _request(
    endpoint: str, name: str, kind: Kind, revision: str | None, token: str | bool | None
) -> None:
    """What `HfApi.repo_info` asks, whose import takes as long as the answer."""
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    version = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    answer = get_session().get(
        f"{endpoint}/api/{kind}s/{name}{version}",
        headers=build_hf_headers(token=token),
        params={"expand": "sha"},
        timeout=_patience(),
    )
    hf_raise_for_status(answer)


def _patience() -> float:
    try:
        return float(os.environ[PATIENCE_VARIABLE])
    except (KeyError, ValueError):
        return PATIENCE


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Call it, and raise TimeoutError where it takes longer.

    The time limits of an HTTP client do not hold while it looks for a host's address, and count
    anew for each address: so it is a thread that is waited for, and left behind.
    """
    failed: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True, name="ask-hub")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if failed:
        raise failed[0]


def _reason(error: Exception, endpoint: str, kind: Kind, revision: str | None) -> str | None:
    """What an answer means; None where loading may still do, or gives the better complaint."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    response: Any = getattr(error, "response", None)
    if isinstance(error, RevisionNotFoundError):
        return f"the hub's copy has no revision {revision!r}"
    if isinstance(error, GatedRepoError):
        return None
    if not isinstance(error, HfHubHTTPError) or response is None:
        said = f"the hub cannot be reached ({endpoint}: {_no_answer(error)})"
        _silent[endpoint] = time.monotonic(), said
        return said
    if isinstance(error, RepositoryNotFoundError) or response.status_code in (401, 404):
        return f"the hub has no such {kind} (or a private one: `hf auth login`)"
    if response.status_code >= 500:
        return f"the hub is out of order (it answered {response.status_code})"
    return None


def _no_answer(error: Exception) -> str:
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"no answer in {_patience():g} s, set {PATIENCE_VARIABLE}=10 to wait longer"
    return brief(error)


def load_dataset(name: str, config: str | None, *, split: str, revision: str | None) -> Any:
    """A split of a hub dataset, by ``datasets``; from its cache where the hub does not give it.

    Raises:
        InputError: the hub does not give it and the cache has none; the message is half a
            sentence like that of `ask_hub`, for the caller to say what to do.
    """
    reason = ask_hub(name, "dataset", revision=revision)
    if reason is not None and not _is_cached(name):  # said before `datasets` takes its seconds
        raise InputError(reason)
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    asked = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = asked or reason is not None
    try:
        return datasets.load_dataset(name, config, split=split, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError, HfHubHTTPError) as error:
        raise InputError(
            f"{reason or 'the Hugging Face hub gave no such dataset'} ({brief(error)})"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = asked


def _is_cached(name: str) -> bool:
    """Whether ``datasets`` may have the dataset: its folders are named in snake case."""
    from huggingface_hub import constants

    cache = os.environ.get("HF_DATASETS_CACHE") or os.path.join(constants.HF_HOME, "datasets")
    wanted = name.replace("/", "___").replace("_", "").lower()
    there = os.listdir(cache) if os.path.isdir(cache) else []
    return any(each.replace("_", "").lower() == wanted for each in there)
