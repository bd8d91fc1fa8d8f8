"""The hub is asked once and briefly; what it answers, or not, becomes half a sentence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from hubs import answering, go_online, nobody, silent
from simcse_kit.data import hub
from simcse_kit.data.hub import ask_hub, load_dataset
from simcse_kit.data.rows import read_rows
from simcse_kit.errors import InputError


@pytest.mark.parametrize(("place", "said"), [(nobody, "refused"), (silent, "no answer in 1.2 s")])
def test_a_hub_that_does_not_answer_is_given_up_soon(
    monkeypatch: pytest.MonkeyPatch, place: Any, said: str
) -> None:
    import huggingface_hub  # not to count its import

    assert huggingface_hub.HfApi
    with place() as endpoint:
        go_online(monkeypatch, endpoint)
        start = time.monotonic()
        reason = ask_hub("nobody/nothing", "model")
        first = time.monotonic() - start
        again = ask_hub("nobody/other", "dataset")
        second = time.monotonic() - start - first
    assert reason is not None and endpoint in reason and said in reason
    assert first < 2
    assert again == reason and second < 0.2  # it is not asked again at once


def test_waiting_longer_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent() as endpoint:
        go_online(monkeypatch, endpoint)
        monkeypatch.setenv(hub.PATIENCE_VARIABLE, "0.3")
        start = time.monotonic()
        assert "no answer in 0.3 s" in str(ask_hub("nobody/nothing", "model"))
        assert 0.3 <= time.monotonic() - start < 1.2
    monkeypatch.setenv(hub.PATIENCE_VARIABLE, "soon")
    assert hub._patience() == hub.PATIENCE


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (200, {}, None),
        (404, {}, "no such model"),
        (404, {"X_Error_Code": "RepoNotFound"}, "no such model"),
        (401, {}, "private one: `hf auth login`"),
        (404, {"X_Error_Code": "RevisionNotFound"}, "no revision 'v9'"),
        (403, {"X_Error_Code": "GatedRepo"}, None),  # transformers says how to get access
        (429, {}, None),
        (503, {}, "out of order (it answered 503)"),
    ],
)
def test_answers(
    monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str], said: str | None
) -> None:
    with answering(status, b'{"id": "a/b", "sha": "0"}', **headers) as (endpoint, asked):
        go_online(monkeypatch, endpoint)
        start = time.monotonic()
        reason = ask_hub("a/b", "model", revision="v9")
        assert time.monotonic() - start < 2
    assert (reason is None) if said is None else (said in str(reason))
    assert asked == ["/api/models/a/b/revision/v9?expand=sha"]  # once, whatever came


def test_what_the_hub_had_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b'{"id": "a/b", "sha": "0"}') as (endpoint, asked):
        go_online(monkeypatch, endpoint)
        assert [ask_hub("a/b", "dataset"), ask_hub("a/b", "dataset")] == [None, None]
        assert len(asked) == 1 and asked[0].startswith("/api/datasets/a/b")
        assert ask_hub("a/c", "dataset") is None
    assert len(asked) == 2


def test_proxies_and_offline_mode_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with answering(404) as (proxy, asked):
        go_online(monkeypatch, "http://hub.invalid")
        monkeypatch.setenv("HTTP_PROXY", proxy)
        assert "no such model" in str(ask_hub("a/b", "model"))
        assert asked == ["http://hub.invalid/api/models/a/b?expand=sha"]
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert ask_hub("a/b", "model") == "the hub is not asked (HF_HUB_OFFLINE is set)"
    assert len(asked) == 1


def test_a_dataset_that_is_not_there_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with answering(404) as (endpoint, _):
        go_online(monkeypatch, endpoint)
        with pytest.raises(
            InputError, match=r"^a/b: no such file here, and the hub has no such da"
        ):
            read_rows("a/b")
    with nobody() as endpoint:
        go_online(monkeypatch, endpoint)
        start = time.monotonic()
        with pytest.raises(InputError, match=r"and the hub cannot be reached .*refused"):
            read_rows("a/b:config")
        assert time.monotonic() - start < 2


def test_a_dataset_in_the_cache_is_read_without_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datasets

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    (tmp_path / "owner___some_data").mkdir()
    seen: list[Any] = []

    def load(*given: Any, **options: Any) -> str:
        seen.append((given, options, datasets.config.HF_HUB_OFFLINE))
        return "rows"

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with nobody() as endpoint:
        go_online(monkeypatch, endpoint)
        assert load_dataset("owner/SomeData", None, split="train", revision=None) == "rows"
    options = {"split": "train", "revision": None}
    assert seen == [(("owner/SomeData", None), options, True)]  # `datasets` does not ask either
    assert datasets.config.HF_HUB_OFFLINE is False
