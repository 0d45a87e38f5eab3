import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from externals.weights import APACHE, WEIGHTS, Checksum, HubFiles, Licence, WebFile, Weights
from gaussians.stage.errors import InputError
from tests.tools.downloads.flaky_server import FlakyServer, flaky_server
from tools import download
from tools.downloads import jobs
from tools.downloads.http_download import RetryPolicy
from tools.downloads.hub_listing import hub_files
from tools.downloads.jobs import DATASET

RESEARCH = Licence("Ours", "research only", to_accept=True, url="https://example.com/licence")
QUICK = RetryPolicy(timeout=10.0, tries=3, pause=0.01)
NET = {"unet/model.safetensors": b"weights" * 1000, "unet/model.bin": b"the same", "config.json": b"{}"}
SCENES = {
    "objects/ball/point_cloud.ply": b"ply ball",
    "objects/duck/point_cloud.ply": b"ply duck",
    "mpm/3_0/0_ball/0000.h5": b"frame" * 100,
    "mpm/3_01.json": b"no scene of 3_0",
    "README.md": b"# GSCollision",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyServer]:
    """A server with a web file, a model and the dataset, and a table of sources that leads to it."""
    with flaky_server() as server:
        server.files["/a.pth"] = b"the matcher"
        server.add_hub("model", "people/net", NET, lfs=lambda name: name.endswith("safetensors"))
        server.add_hub("dataset", DATASET.repo_id, SCENES, lfs=lambda name: name.endswith((".h5", ".ply")))
        matcher = WebFile(
            f"{server.url}/a.pth",
            "videogen/externals/a.pth",
            Checksum("sha256", hashlib.sha256(b"the matcher").hexdigest()),
        )
        net = HubFiles("people/net", "videogen/checkpoints/net", patterns=("*.json", "*.safetensors"))
        table = {
            "matcher": Weights("points", (matcher,), (APACHE,), 0.1, ()),
            "net": Weights("pictures", (net,), (APACHE,), 2.5, ()),
            "gated": Weights("secrets", (net,), (APACHE, RESEARCH), 2.5, (), by_default=False),
        }
        monkeypatch.setattr(download, "WEIGHTS", table)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "secret")
        yield server


def files_in(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def fetched(server: FlakyServer) -> list[str]:
    return sorted(path.rpartition("/")[2] for path, *_ in server.requests if not path.startswith("/api/"))


def test_models_go_to_their_places(
    tmp_path: Path, hub: FlakyServer, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("tools.download", "checkpoints", "--root", tmp_path)
    assert files_in(tmp_path) == {
        "videogen/externals/a.pth": b"the matcher",
        "videogen/checkpoints/net/unet/model.safetensors": NET["unet/model.safetensors"],
        "videogen/checkpoints/net/config.json": b"{}",
    }
    assert capsys.readouterr().out.endswith(f"{tmp_path}: 3 files downloaded, 0 were complete\n")
    tokens = {path: token for path, _, token in hub.requests}
    assert tokens.pop("/a.pth") is None
    assert set(tokens.values()) == {"Bearer secret"}

    hub.requests.clear()
    command("tools.download", "checkpoints", "net", "--root", tmp_path)
    assert fetched(hub) == []
    assert capsys.readouterr().out.endswith("0 files downloaded, 2 were complete\n")

    (tmp_path / "videogen/externals/a.pth").write_bytes(b"the-matcher")
    command("tools.download", "checkpoints", "--root", tmp_path)
    assert fetched(hub) == []
    command("tools.download", "checkpoints", "--root", tmp_path, "--verify")
    assert fetched(hub) == ["a.pth"]
    assert (tmp_path / "videogen/externals/a.pth").read_bytes() == b"the matcher"


def test_parts_of_the_dataset_by_name(tmp_path: Path, hub: FlakyServer, command: Callable[..., None]) -> None:
    command("tools.download", "dataset", "objects/duck", "mpm/3_0/", "README.md", "--data_root", tmp_path)
    names = ("objects/duck/point_cloud.ply", "mpm/3_0/0_ball/0000.h5", "README.md")
    assert files_in(tmp_path) == {name: SCENES[name] for name in names}
    command("tools.download", "dataset", "--data_root", tmp_path)
    assert files_in(tmp_path) == SCENES


def test_listing_and_dry_run_write_nothing(
    tmp_path: Path, hub: FlakyServer, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command("tools.download", "dataset", "--list", "--data_root", tmp_path)
    lines = [re.sub(r"\s+", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "13 B in 1 file README.md",
        "515 B in 2 files mpm/",
        "500 B in 1 file mpm/3_0/",
        "16 B in 2 files objects/",
        "8 B in 1 file objects/ball/",
        "8 B in 1 file objects/duck/",
        "544 B in 5 files in all; name the folders or files to download",
    ]
    command("tools.download", "checkpoints", "--list")
    net = (
        "\nnet pictures\n 2.5 GB, default\n licence Apache-2.0: anybody, for anything\n"
        " to videogen/checkpoints/net/\n from huggingface.co/people/net\ngated secrets\n 2.5 GB\n"
    )
    assert net in re.sub(" +", " ", capsys.readouterr().out)
    command("tools.download", "checkpoints", "net", "--root", tmp_path, "--dry_run")
    out = capsys.readouterr().out
    assert "6.836 KiB" in out  # 7000 bytes
    assert out.endswith("2 files would be downloaded, 0 are complete\n")
    assert files_in(tmp_path) == {}
    assert fetched(hub) == []


def test_one_that_fails_does_not_keep_the_others(
    tmp_path: Path, hub: FlakyServer, command: Callable[..., None]
) -> None:
    hub.behaviours["/a.pth"] = ["html"]
    with pytest.raises(InputError, match=r"a\.pth: the server sends a web page"):
        command("tools.download", "checkpoints", "--root", tmp_path, "--jobs", 1)
    assert len(files_in(tmp_path)) == 2
    hub.behaviours[next(path for path in hub.files if path.endswith("config.json"))] = ["wrong"]
    with pytest.raises(InputError, match=r"2 of 3 files failed; the first: .*a\.pth"):
        command("tools.download", "checkpoints", "--root", tmp_path / "b", "--jobs", 1)


def test_a_licence_to_accept_is_shown_and_asked_for(
    tmp_path: Path, hub: FlakyServer, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    refused = r"^gated: for research only: read its licence \(https://example\.com/licence\), .* --accept_licence$"
    with pytest.raises(InputError, match=refused):
        command("tools.download", "checkpoints", "gated", "--root", tmp_path)
    assert "licence Ours: research only https://example.com/licence" in capsys.readouterr().out
    assert hub.requests == []
    command("tools.download", "checkpoints", "gated", "--root", tmp_path, "--dry_run")
    assert files_in(tmp_path) == {}
    command("tools.download", "checkpoints", "gated", "--root", tmp_path, "--accept_licence")
    assert len(files_in(tmp_path)) == 2


def test_unknown_names_are_errors(tmp_path: Path, hub: FlakyServer, command: Callable[..., None]) -> None:
    with pytest.raises(InputError, match=r"sam3: no such model: expected any of matcher, net, gated"):
        command("tools.download", "checkpoints", "sam3", "--root", tmp_path)
    with pytest.raises(InputError, match=r"mpm/3_1: nothing of the dataset is called so"):
        command("tools.download", "dataset", "mpm/3_1", "--data_root", tmp_path)


def test_table_that_no_longer_fits_is_an_error(hub: FlakyServer) -> None:
    name = "unet/model.safetensors"
    changed = HubFiles("people/net", "", sha256={name: "0" * 64})
    with pytest.raises(InputError, match=rf"{name}: expected sha256 0+, found [0-9a-f]+"):
        list(hub_files(changed, QUICK))
    with pytest.raises(InputError, match=r"people/net on .*: no file fits vae/\*"):
        list(hub_files(HubFiles("people/net", "", patterns=("*.json", "vae/*")), QUICK))
    with pytest.raises(InputError, match=r"people/gone on http"):
        list(hub_files(HubFiles("people/gone", ""), QUICK))


def test_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch, hub: FlakyServer) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"people/net on http://127\.0\.0\.1:9: given up after 3 tries: .*refused"):
        list(hub_files(HubFiles("people/net", ""), QUICK))


def test_a_busy_hub_is_asked_again(hub: FlakyServer) -> None:
    api = "/api/models/people/net"
    hub.behaviours[api] = ["503", "truncate:5", "ok"]
    assert [path for path, _ in hub_files(HubFiles("people/net", "", patterns=("*.json",)), QUICK)] == ["config.json"]
    asked = len(hub.requests)
    hub.behaviours[api] = ["401"]
    with pytest.raises(InputError, match="people/net on http"):
        list(hub_files(HubFiles("people/net", ""), QUICK))
    assert len(hub.requests) == asked + 1


def test_names_cannot_lead_out_of_the_folder(hub: FlakyServer) -> None:
    hub.add_hub("model", "people/bad", {"../../.bashrc": b"evil"}, lfs=lambda _: False)
    with pytest.raises(InputError, match=r"\.bashrc: leads out of the folder"):
        list(hub_files(HubFiles("people/bad", ""), QUICK))


def test_too_little_room_is_said_before_anything_is_fetched(
    tmp_path: Path, hub: FlakyServer, command: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "free_space", lambda _: 100)
    with pytest.raises(InputError, match=r"needed,\s+100 B free; name fewer parts"):
        command("tools.download", "dataset", "--data_root", tmp_path / "new")
    assert fetched(hub) == []


@pytest.mark.parametrize("flags", [("--jobs", "0"), ("--timeout", "-1"), ("--timeout", "nan")])
def test_senseless_numbers_are_errors(flags: tuple[str, str], command: Callable[..., None]) -> None:
    with pytest.raises(SystemExit):
        command("tools.download", "checkpoints", *flags)


def test_table_names_files_by_secure_links_and_whole_checksums() -> None:
    parts = [part for weights in WEIGHTS.values() for part in weights.parts]
    web = [part for part in parts if isinstance(part, WebFile)]
    assert all(part.url.startswith("https://") and "/blob/" not in part.url for part in web)
    sums = [part.checksum for part in web]
    sums += [Checksum("sha256", s) for part in parts if isinstance(part, HubFiles) for s in part.sha256.values()]
    lengths = {"sha256": 64, "git_blob": 40}
    assert all(re.fullmatch(rf"[0-9a-f]{{{lengths[s.algorithm]}}}", s.digits) for s in sums)
    assert all(weights.licences and weights.checkpoint for weights in WEIGHTS.values())
    # The published places, which .gitignore keeps out of the repository.
    assert all(part.path.startswith(("videogen/checkpoints/", "videogen/externals/")) for part in parts)
    assert len({part.path for part in web}) == len(web)


def test_a_flag_of_models_is_refused_for_the_dataset(tmp_path: Path, command: Callable[..., None]) -> None:
    with pytest.raises(InputError, match="--root: says where models go: for the dataset, expected --data_root"):
        command("tools.download", "dataset", "--root", tmp_path)
