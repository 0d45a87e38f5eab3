"""List what a repository on Hugging Face holds now."""

import itertools
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from httpx2 import HTTPError, InvalidURL, NetworkError, RemoteProtocolError, TimeoutException
from huggingface_hub import HfApi, RepoFile, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from tqdm import tqdm

from externals.weights import Checksum, HubFiles
from gaussians.stage.errors import InputError
from tools.downloads.http_download import PASSING, RemoteFile, RetryPolicy


def hub_files(source: HubFiles, policy: RetryPolicy) -> Iterator[tuple[str, RemoteFile]]:
    """Yield the paths and contents of the files of ``source``, as its repository has them now.

    Args:
        policy: how long to try where the network fails.

    Raises:
        InputError: the repository is gone, restricted or out of reach; a file that the table knows has changed or is
            missing.
    """
    api, found = HfApi(endpoint=os.environ.get("HF_ENDPOINT")), set()
    headers = {"Authorization": f"Bearer {token}"} if (token := get_token()) else {}
    where = f"{source.repo_id} on {api.endpoint}"
    revision, entries = _entries(api, source, where, policy)
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


def _entries(api: HfApi, source: HubFiles, where: str, policy: RetryPolicy) -> tuple[str | None, list[RepoFile]]:
    """Return the repository's present commit, and all its files."""
    for tries in itertools.count(1):
        try:
            # Ask for one commit throughout, since the repository may change meanwhile.
            revision = api.repo_info(source.repo_id, repo_type=source.repo_type, timeout=policy.timeout).sha
            tree = api.list_repo_tree(source.repo_id, recursive=True, revision=revision, repo_type=source.repo_type)
            return revision, [entry for entry in tree if isinstance(entry, RepoFile)]
        except (HfHubHTTPError, HTTPError, InvalidURL, OfflineModeIsEnabled, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if not _may_pass(error):
                raise InputError(f"{where}: {reason}") from None
            if tries == policy.tries:
                raise InputError(f"{where}: given up after {tries} tries: {reason}") from None
            if tries == 1:
                tqdm.write(f"{where}: {reason}; trying again")
        policy.wait(tries)
    raise AssertionError


def _may_pass(error: Exception) -> bool:
    """Return whether asking again later may help: the network failed, or the server is busy."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    return isinstance(error, (NetworkError, RemoteProtocolError, TimeoutException))
