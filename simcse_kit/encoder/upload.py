"""A saved model goes to the hub."""

from __future__ import annotations

import tempfile
from collections.abc import Callable


def upload(
    save: Callable[[str], None],
    repo_id: str,
    *,
    private: bool,
    token: str | None,
    commit_message: str,
) -> str:
    """Have a folder saved, upload it, and give the commit's address.

    Args:
        save: writes the model into a folder that is thrown away afterwards.
        repo_id: ``name`` or ``organization/name``; made where it is missing.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save(folder)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message=commit_message
        )
    return str(commit.commit_url)
