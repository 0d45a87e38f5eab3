"""List what a repository on Hugging Face holds now."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from httpx2 import HTTPError, InvalidURL
from huggingface_hub import HfApi, RepoFile, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from gaussians.stage.errors import InputError
from tools.downloads.http_download import RemoteFile
from tools.downloads.sources import Checksum, HubFiles


def hub_files(source: HubFiles) -> Iterator[tuple[str, RemoteFile]]:
    """Yield the paths and contents of the files of ``source``, as its repository has them now.

    Raises:
        InputError: the repository is gone, restricted or out of reach; a file that the table knows has changed or is
            missing.
    """
    api, found = HfApi(endpoint=os.environ.get("HF_ENDPOINT")), set()
    headers = {"Authorization": f"Bearer {token}"} if (token := get_token()) else {}
    where = f"{source.repo_id} on {api.endpoint}"
    try:
        # Ask for one commit throughout, since the repository may change meanwhile.
        revision = api.repo_info(source.repo_id, repo_type=source.repo_type).sha
        tree = api.list_repo_tree(source.repo_id, recursive=True, revision=revision, repo_type=source.repo_type)
        entries = [entry for entry in tree if isinstance(entry, RepoFile)]
    except (HfHubHTTPError, HTTPError, InvalidURL, OfflineModeIsEnabled, OSError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{where}: {first_line}") from None
    for entry in entries:
        if not any(fnmatchcase(entry.path, pattern) for pattern in source.patterns):
            continue
        if PurePosixPath(entry.path).is_absolute() or ".." in PurePosixPath(entry.path).parts:
            raise InputError(f"{where}: {entry.path}: leads out of the folder")
        checksum = Checksum("sha256", entry.lfs.sha256) if entry.lfs else Checksum("git_blob", entry.blob_id)
        known = source.sha256.get(entry.path)
        if known is not None and checksum != Checksum("sha256", known):
            raise InputError(f"{where}: {entry.path}: expected sha256 {known}, found {checksum.digits}")
        found.add(entry.path)
        url = hf_hub_url(
            source.repo_id, entry.path, repo_type=source.repo_type, revision=revision, endpoint=api.endpoint
        )
        yield entry.path, RemoteFile(url, entry.size, checksum, headers)
    for pattern in source.patterns:
        if not any(fnmatchcase(path, pattern) for path in found):
            raise InputError(f"{where}: no file fits {pattern}")
