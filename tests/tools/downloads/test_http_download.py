import fcntl
import hashlib
import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from externals.weights import Checksum
from gaussians.stage.errors import InputError
from tests.tools.downloads.flaky_server import FlakyServer, flaky_server, git_blob
from tools.downloads.http_download import RemoteFile, RetryPolicy, download, is_complete, partial_path

CONTENT = random.Random(0).randbytes(3_000_000)
QUICK = RetryPolicy(timeout=10.0, tries=3, pause=0.01)  # seconds: a busy machine's server is no stalled one


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    with flaky_server() as server:
        server.files["/model.bin"] = CONTENT
        yield server


@pytest.fixture
def remote(server: FlakyServer) -> RemoteFile:
    checksum = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
    return RemoteFile(f"{server.url}/model.bin", len(CONTENT), checksum)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_arrives_whole(tmp_path: Path, remote: RemoteFile) -> None:
    arrived: list[int] = []
    download(remote, tmp_path / "a" / "b" / "model.bin", QUICK, arrived.append)
    assert (tmp_path / "a" / "b" / "model.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path / "a" / "b") == ["model.bin"]
    assert sum(arrived) == len(CONTENT)


@pytest.mark.parametrize("fault", ["truncate", "stall"])
def test_goes_on_where_the_connection_ended(
    tmp_path: Path, server: FlakyServer, remote: RemoteFile, fault: str
) -> None:
    server.behaviours["/model.bin"] = [f"{fault}:1000000", f"{fault}:500000", "503", "ok"]
    arrived: list[int] = []
    download(remote, tmp_path / "model.bin", replace(QUICK, timeout=1.0), arrived.append)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
    assert server.ranges("/model.bin") == [None, "bytes=1000000-", "bytes=1500000-", "bytes=1500000-"]
    assert sum(arrived) == len(CONTENT)


def test_goes_on_in_a_later_run(tmp_path: Path, server: FlakyServer, remote: RemoteFile) -> None:
    server.behaviours["/model.bin"] = ["truncate:2000000", "truncate:0"]
    with pytest.raises(InputError, match=r"given up after 3 tries: the connection ended early; 2,000,000 bytes"):
        download(remote, tmp_path / "model.bin", QUICK)
    assert leftovers(tmp_path) == [".model.bin.download"]
    server.behaviours, server.requests = {}, []
    arrived: list[int] = []
    download(remote, tmp_path / "model.bin", QUICK, arrived.append)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
    assert server.ranges("/model.bin") == ["bytes=2000000-"]
    assert arrived[0] == 2_000_000
    assert sum(arrived) == len(CONTENT)


def test_silence_ends_after_some_tries(tmp_path: Path, server: FlakyServer, remote: RemoteFile) -> None:
    server.behaviours["/model.bin"] = ["stall:0"]
    with pytest.raises(InputError, match=r"given up after 3 tries: nothing came for 0\.3 s"):
        download(remote, tmp_path / "a" / "model.bin", replace(QUICK, timeout=0.3))
    assert leftovers(tmp_path) == []  # not even the directory


def test_server_that_cannot_go_on_in_the_middle_sends_all(
    tmp_path: Path, server: FlakyServer, remote: RemoteFile
) -> None:
    server.behaviours["/model.bin"] = ["truncate:1000000", "no_range"]
    arrived: list[int] = []
    download(remote, tmp_path / "model.bin", QUICK, arrived.append)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
    assert sum(arrived) == len(CONTENT)


@pytest.mark.parametrize("known", [True, False])
def test_length_may_be_unknown(tmp_path: Path, server: FlakyServer, remote: RemoteFile, known: bool) -> None:
    server.behaviours["/model.bin"] = ["chunked"]
    download(remote if known else RemoteFile(remote.url), tmp_path / "model.bin", QUICK)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT


def test_git_names_files_too(tmp_path: Path, remote: RemoteFile) -> None:
    # Git's name of the five bytes "hello", as `git hash-object` prints it.
    assert git_blob(b"hello") == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"
    remote = replace(remote, checksum=Checksum("git_blob", git_blob(CONTENT)))
    download(remote, tmp_path / "model.bin", QUICK)
    assert is_complete(remote, tmp_path / "model.bin", verify=True)


def test_remains_of_another_version_are_thrown_away(tmp_path: Path, server: FlakyServer, remote: RemoteFile) -> None:
    partial_path(tmp_path / "model.bin").write_bytes(b"x" * 1000)
    arrived: list[int] = []
    download(remote, tmp_path / "model.bin", QUICK, arrived.append)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
    assert server.ranges("/model.bin") == ["bytes=1000-", None]
    assert sum(arrived) == len(CONTENT)


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_remains_as_long_as_the_file_are_checked(
    tmp_path: Path, server: FlakyServer, remote: RemoteFile, length: int
) -> None:
    partial_path(tmp_path / "model.bin").write_bytes(b"x" * length)
    download(remote, tmp_path / "model.bin", QUICK)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
    # A whole file that a kill kept from its name needs no server.
    partial_path(tmp_path / "again.bin").write_bytes(CONTENT)
    server.behaviours["/model.bin"] = ["404"]
    download(remote, tmp_path / "again.bin", QUICK)
    assert (tmp_path / "again.bin").read_bytes() == CONTENT


def test_remains_whose_length_is_unknown_are_ended_by_the_server(
    tmp_path: Path, server: FlakyServer, remote: RemoteFile
) -> None:
    remote = replace(remote, size=None)
    for number, remains in enumerate((CONTENT, b"x" * len(CONTENT), CONTENT + b"x")):
        path = tmp_path / f"{number}.bin"
        partial_path(path).write_bytes(remains)
        download(remote, path, QUICK)
        assert path.read_bytes() == CONTENT


def test_without_a_checksum_remains_are_not_trusted(tmp_path: Path, server: FlakyServer, remote: RemoteFile) -> None:
    partial_path(tmp_path / "model.bin").write_bytes(b"x" * 1000)
    download(RemoteFile(remote.url), tmp_path / "model.bin", QUICK)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
    assert server.ranges("/model.bin") == [None]


def test_wrong_bytes_never_get_the_name(tmp_path: Path, server: FlakyServer, remote: RemoteFile) -> None:
    server.behaviours["/model.bin"] = ["wrong"]
    with pytest.raises(InputError, match=r"model\.bin: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}"):
        download(remote, tmp_path / "model.bin", QUICK)
    assert leftovers(tmp_path) == []
    assert len(server.requests) == 2  # a second time, in case they were damaged on their way


def test_another_length_is_refused_at_once(tmp_path: Path, server: FlakyServer, remote: RemoteFile) -> None:
    server.files["/model.bin"] = CONTENT[:-1]
    with pytest.raises(InputError, match=r"expected 3,000,000 bytes, the server has 2,999,999"):
        download(remote, tmp_path / "model.bin", QUICK)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("behaviour", ["html", "page"])
def test_web_pages_are_refused(tmp_path: Path, server: FlakyServer, remote: RemoteFile, behaviour: str) -> None:
    server.behaviours["/model.bin"] = [behaviour]
    with pytest.raises(InputError, match=r"model\.bin: the server sends a web page, not the file"):
        download(RemoteFile(remote.url), tmp_path / "model.bin", QUICK)
    assert leftovers(tmp_path) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [("404", "no such file on the server"), ("403", "access refused"), ("418", "the server answers 418")],
)
def test_final_answers_are_not_asked_again(
    tmp_path: Path, server: FlakyServer, remote: RemoteFile, status: str, message: str
) -> None:
    server.behaviours["/model.bin"] = [status]
    with pytest.raises(InputError, match=message):
        download(remote, tmp_path / "model.bin", QUICK)
    assert len(server.requests) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=r"given up after 3 tries: .*refused"):
        download(RemoteFile(f"http://127.0.0.1:{port}/a"), tmp_path / "a", QUICK)


def test_token_goes_to_the_first_server_alone(tmp_path: Path, server: FlakyServer, remote: RemoteFile) -> None:
    server.behaviours["/model.bin"] = ["truncate:1000", "ok"]
    server.redirects["/start"] = remote.url.replace("127.0.0.1", "localhost")
    start = replace(remote, url=f"{server.url}/start", headers={"Authorization": "Bearer secret"})
    download(start, tmp_path / "model.bin", QUICK)
    assert [(path, token) for path, _, token in server.requests] == [
        ("/start", "Bearer secret"),
        ("/model.bin", None),
    ] * 2
    assert server.ranges("/model.bin") == [None, "bytes=1000-"]  # which the redirection keeps


def test_two_processes_do_not_mix(tmp_path: Path, remote: RemoteFile) -> None:
    with open(partial_path(tmp_path / "model.bin"), "wb") as other:
        other.write(CONTENT[:10])
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is downloading it"):
            download(remote, tmp_path / "model.bin", QUICK)
    download(remote, tmp_path / "model.bin", QUICK)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT


def test_full_disk_is_no_trouble_of_the_network(tmp_path: Path, server: FlakyServer, remote: RemoteFile) -> None:
    partial_path(tmp_path / "model.bin").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"model\.bin: cannot be written: No space left on device"):
        download(replace(remote, checksum=None), tmp_path / "model.bin", QUICK)
    assert len(server.requests) == 1


def test_unwritable_place_is_named(tmp_path: Path, remote: RemoteFile) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        download(remote, tmp_path / "file" / "model.bin", QUICK)


def test_completeness(tmp_path: Path, remote: RemoteFile) -> None:
    path = tmp_path / "model.bin"
    assert not is_complete(remote, path)
    path.write_bytes(CONTENT[:-1])
    assert not is_complete(remote, path)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert is_complete(remote, path)
    assert not is_complete(remote, path, verify=True)
    path.write_bytes(CONTENT)
    assert is_complete(remote, path, verify=True)
