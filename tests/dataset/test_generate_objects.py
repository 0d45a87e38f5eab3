"""The command that makes objects and backgrounds."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trimesh

from dataset.catalog import object_by_name, object_json
from dataset.layout import Layout
from dataset.objects.meshes import MAX_UNPACKED
from gaussians.files.splats.ply import read_ply
from gaussians.stage.atomic_files import file_hash
from gaussians.stage.errors import InputError


def test_same_seed_same_file(tmp_path: Path, command: Callable[..., None]) -> None:
    def hashes(root: Path, seed: int) -> list[str]:
        arguments = ("--data_root", root, "--objects", "duck", "--backgrounds", "table5", "--seed", seed)
        command("dataset.generate_objects", *arguments, "--gaussians", 300, "--background_gaussians", 500)
        return [file_hash(path) for path in sorted(root.rglob("*.ply"))]

    first = hashes(tmp_path / "a", 3)
    assert len(first) == 2
    assert hashes(tmp_path / "b", 3) == first
    assert not set(hashes(tmp_path / "c", 4)) & set(first)


def test_the_command_writes_skips_and_overwrites(tmp_path: Path, command: Callable[..., None]) -> None:
    layout = Layout(tmp_path)
    arguments = ("dataset.generate_objects", "--data_root", tmp_path, "--objects", "ball, can")
    command(*arguments, "--gaussians", 250)
    assert sorted(path.name for path in layout.objects.iterdir()) == ["ball", "can"]
    assert not layout.root.joinpath("backgrounds").exists()
    stored = read_ply(layout.object_ply("ball"))
    assert len(stored) == 250
    # The catalogue's scale brings the stored object to its size in scenes.
    assert float((stored.means.max(0).values - stored.means.min(0).values).max()) * 0.4 == pytest.approx(0.42, abs=1e-3)
    assert json.loads(layout.object_json("ball").read_text()) == object_json(object_by_name("ball"))
    command(*arguments, "--gaussians", 250)
    with pytest.raises(
        InputError, match=r"ball/made_from\.json: made with other gaussians; --overwrite makes it again"
    ):
        command(*arguments, "--gaussians", 300)
    assert len(read_ply(layout.object_ply("ball"))) == 250
    command(*arguments, "--gaussians", 300, "--overwrite")
    assert len(read_ply(layout.object_ply("ball"))) == 300


def test_a_published_background_is_left_alone(tmp_path: Path, command: Callable[..., None]) -> None:
    folder = Layout(tmp_path).background_dir("table2")
    folder.mkdir(parents=True)
    (folder / "gaussians_postopt.ply").write_bytes(b"theirs")
    command("dataset.generate_objects", "--data_root", tmp_path, "--backgrounds", "table2")
    assert [path.name for path in folder.iterdir()] == ["gaussians_postopt.ply"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objects", "ball,chair"], "--objects: 'chair' is not builtin"),
        (["--backgrounds", "lawn"], "--backgrounds: 'lawn' is not builtin"),
        (["--gaussians", "10"], "--gaussians: expected 200 or more"),
        (["--seed", "-1"], "--seed: expected 0 or more"),
        (["--name", "chair"], "--name: describes an object of your own"),
        (["--mesh", "a.obj", "--splat", "a.ply", "--name", "chair"], "expected one of them"),
        (["--splat", "none.ply", "--name", "chair"], "none.ply: no such file"),
        (["--mesh", "none.obj", "--name", "chair"], "none.obj: no such file"),
        (["--mesh", "none.obj"], "--name: expected letters"),
        (["--mesh", "none.obj", "--name", "two_words"], "--name: expected letters"),
        (["--mesh", "none.obj", "--name", "duck"], "object of the catalogue"),
        (["--mesh", "none.obj", "--name", "chair", "--density", "0"], "--density: expected a positive number"),
        (["--splat", "none.ply", "--name", "chair", "--gaussians", "300"], "--gaussians: has no effect"),
        (["--splat", "none.ply", "--name", "chair", "--seed", "1"], "--seed: has no effect"),
        (["--mesh", "a.obj", "--name", "chair", "--background_gaussians", "300"], "--background_gaussians: has no"),
        (["--objects", "duck", "--background_gaussians", "300"], "--background_gaussians: has no effect"),
        (["--backgrounds", "table6", "--gaussians", "300"], "--gaussians: has no effect"),
    ],
)
def test_bad_arguments_are_named(
    tmp_path: Path, command: Callable[..., None], arguments: list[str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        command("dataset.generate_objects", "--data_root", tmp_path, *arguments)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def hollow_cup() -> trimesh.Trimesh:
    """A cup with walls of 0.1 around a cavity that is open above, z up."""
    outline = [[0, 0], [0.5, 0], [0.5, 1], [0.4, 1], [0.4, 0.1], [0, 0.1]]
    return trimesh.creation.revolve(outline, sections=48)


def export(mesh: trimesh.Trimesh, path: Path) -> Path:
    mesh.export(path)
    return path


def test_a_mesh_becomes_an_object_with_a_free_index(tmp_path: Path, command: Callable[..., None]) -> None:
    layout = Layout(tmp_path / "root")
    mesh = export(hollow_cup(), tmp_path / "cup.obj")
    for name in ("cup", "beaker"):
        arguments = ("--mesh", mesh, "--name", name, "--up", "z", "--density", 750, "--gaussians", 300)
        command("dataset.generate_objects", "--data_root", layout.root, *arguments)
    beaker = object_by_name("beaker", layout)
    assert (beaker.index, beaker.density, beaker.youngs_modulus, beaker.prompt) == (101, 750, 1e5, "A beaker.")
    assert len(read_ply(layout.object_ply("cup"))) == 300


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.obj", b"hello", "has no faces"),
        ("bad.glb", b"x" * 60, "cannot be read as a mesh"),
        ("bad.xyzw", b"x", "cannot be read as a mesh"),
        ("point.obj", b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "has no extent"),
        ("nan.obj", b"v 0 0 nan\nv 0 1 0\nv 1 0 0\nf 1 2 3\n", "expected finite vertices"),
    ],
)
def test_bad_meshes_are_named(
    tmp_path: Path, command: Callable[..., None], name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=name) as error:
        command("dataset.generate_objects", "--data_root", tmp_path / "root", "--mesh", path, "--name", "thing")
    assert message in str(error.value)
    assert not (tmp_path / "root").exists()


def test_meshes_that_declare_far_more_than_they_hold_are_refused(tmp_path: Path, command: Callable[..., None]) -> None:
    export(trimesh.creation.box(), tmp_path / "zeros.glb")
    data = (tmp_path / "zeros.glb").read_bytes()
    size = int.from_bytes(data[12:16], "little")
    tree = json.loads(data[20 : 20 + size])
    for accessor in tree["accessors"]:
        accessor["count"] = 10**9
        del accessor["bufferView"]
    head = json.dumps(tree).encode()
    head += b" " * (-len(head) % 4)
    rest = data[20 + size :]
    whole = (20 + len(head) + len(rest)).to_bytes(4, "little")
    changed = data[:8] + whole + len(head).to_bytes(4, "little") + data[16:20] + head + rest
    (tmp_path / "zeros.glb").write_bytes(changed)
    with zipfile.ZipFile(tmp_path / "bomb.3mf", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(MAX_UNPACKED // 2**26 + 1):
            archive.writestr(f"{k}.model", bytes(2**26))
    for name, message in (
        ("zeros.glb", "expected values in a buffer, found 1000000000 zeros"),
        ("bomb.3mf", "unpacks"),
    ):
        with pytest.raises(InputError, match=message):
            command(
                *("dataset.generate_objects", "--data_root", tmp_path / "root"),
                *("--mesh", tmp_path / name, "--name", "chair"),
            )
