from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.layout import POINT_CLOUD, Layout
from gaussians.cameras import look_at, write_cameras
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.stage.errors import InputError
from gaussians.stage.json_files import write_json
from tests.gaussians.samples import COUNT, META, random_gaussians, rest_gaussians, rigid_frame
from tools.viewer.scene.splat_source import (
    SplatSource,
    open_background,
    open_source,
    open_sources,
    reconstructed_background,
)

LAYOUT = Layout(Path("nowhere"))


def write_trajectory(path: Path, frames: int = 3, complete: bool = True, fields: tuple[str, ...] = ("pos", "cov3D")):  # type: ignore[no-untyped-def]
    rest = rest_gaussians()
    with TrajectoryWriter(path, META, rest.opacities, rest.sh, rest.labels, fields=fields) as writer:
        for k in range(frames):
            writer.write(rigid_frame(rest, k))
        if complete:
            writer.finish()
    return rest


def test_trajectory_is_read_frame_by_frame(tmp_path: Path) -> None:
    rest = write_trajectory(tmp_path)
    source = open_source(tmp_path, LAYOUT)
    assert (len(source), source.frame_count, source.frame_dt, source.walls) == (COUNT, 3, META.frame_dt, META.walls)
    for k in range(3):
        expected = rigid_frame(rest, k)
        frame = source.frame(k, ("rot", "vel"))
        assert torch.equal(frame.means, expected.means)
        assert torch.equal(frame.covariances, expected.covariances)
        assert frame.rotations is None
    # Labels are -1, 0, 1 in turn; meta.json names the first object alone.
    assert list(source.objects) == ["ball", "object 1", "rest"]
    assert torch.equal(source.objects["ball"], torch.arange(1, COUNT, 3))
    assert torch.equal(source.sh, rest.sh)
    assert (source.sh_degree, source.gravity, source.masses) == (2, (0, 0, -9.8), {"ball": 1})


def test_a_frame_that_is_damaged_later_says_so(tmp_path: Path) -> None:
    write_trajectory(tmp_path)
    source = open_source(tmp_path, LAYOUT)
    (tmp_path / "0001.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"0001\.h5: truncated or damaged"):
        source.frame(1, ())


def test_incomplete_trajectory_is_shown_with_a_note(tmp_path: Path) -> None:
    write_trajectory(tmp_path, frames=2, complete=False)
    meta = META.model_copy(update={"frame_count": 5})
    write_json(tmp_path / "meta.json", meta.model_dump())
    source = open_source(tmp_path, LAYOUT)
    assert source.frame_count == 2
    assert "incomplete" in source.note


def test_positions_alone_are_dots(tmp_path: Path) -> None:
    write_trajectory(tmp_path, fields=("pos",))
    frame = open_source(tmp_path, LAYOUT).frame(1, ())
    means, covariances = frame.means, frame.covariances
    assert covariances.shape == (len(means), 6)
    assert torch.equal(covariances[0, [0, 3, 5]], covariances[0, 0].expand(3))
    assert not covariances[:, [1, 2, 4]].any()


def test_published_trajectory_without_labels_is_one_object(tmp_path: Path) -> None:
    path = tmp_path / "0_ball_duck"
    write_trajectory(path)
    for name in ("meta.json", "labels.npy"):
        (path / name).unlink()
    source = open_source(path, LAYOUT)
    assert [len(rows) for rows in source.objects.values()] == [COUNT]
    assert source.walls is None


def test_scene_is_parted_by_its_labels(tmp_path: Path) -> None:
    scene = replace(random_gaussians(6, degree=1), labels=None)
    write_ply(tmp_path / POINT_CLOUD, scene)
    np.save(tmp_path / "segmentation.npy", np.array([1, 0, 0, -1, 1, 0], np.int32))
    entries = [{"label": k, "name": "ball", "index": 0} for k in range(2)]
    write_json(tmp_path / "objects.json", entries)
    source = open_source(tmp_path, LAYOUT)
    assert {name: rows.tolist() for name, rows in source.objects.items()} == {
        "ball 0": [1, 2, 5],
        "ball 1": [0, 4],
        "rest": [3],
    }
    assert source.frame_count == 1
    # Through logarithms of the scales and back: a few float32 roundings.
    torch.testing.assert_close(source.frame(0, ()).covariances, scene.covariance(), rtol=1e-5, atol=1e-6)


def test_damaged_labels_are_not_passed_over(tmp_path: Path) -> None:
    write_ply(tmp_path / POINT_CLOUD, random_gaussians(6, degree=0))
    np.save(tmp_path / "segmentation.npy", np.zeros(5, np.int32))
    with pytest.raises(InputError, match="expected 6 labels"):
        open_source(tmp_path, LAYOUT)


def test_real_gaussians_open(real_data: Path) -> None:
    source = open_source(real_data / "gaussians" / "donut.ply", LAYOUT)
    assert len(source) == 45_624
    assert list(source.objects) == ["donut"]


def test_background_is_placed(tmp_path: Path) -> None:
    gaussians = random_gaussians(5, degree=0)
    write_ply(tmp_path / "gaussians_feedforward.ply", gaussians)
    placement = {"rotation": [0, 0, 0], "translation": [0, 0, 5], "scale": 2, "center": [0, 0, 0], "crop": False}
    write_json(tmp_path / "placement.json", placement)
    means = open_background(tmp_path).frame(0, ()).means
    torch.testing.assert_close(means, gaussians.means * 2 + torch.tensor([0, 0, 5.0]))


@pytest.mark.parametrize("name", ["absent", "absent.ply", "absent.pt"])
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: no such file or directory"):
        open_source(tmp_path / name, LAYOUT)


def test_other_directory_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a PLY file or a directory"):
        open_source(tmp_path, LAYOUT)


def test_files_of_other_programs_are_shown_without_broken_rows(tmp_path: Path) -> None:
    gaussians = random_gaussians(5, 0)
    gaussians.means[2, 0] = torch.nan
    write_ply(tmp_path / "capture.ply", gaussians)
    source = open_source(tmp_path / "capture.ply", LAYOUT)
    assert len(source) == 4
    assert source.note.endswith("found nan in row 2")
    np.full((3, 32), 60, np.uint8).tofile(tmp_path / "a.splat")
    assert len(open_source(tmp_path / "a.splat", LAYOUT)) == 3


@pytest.mark.parametrize(
    ("says", "up", "expected"), [(None, None, "-y"), ("z", None, "z"), ("z", "x", "x"), (None, "-z", "-z")]
)
def test_up_is_what_is_asked_for_else_what_the_file_says(
    tmp_path: Path, says: str | None, up: str | None, expected: str
) -> None:
    write_ply(tmp_path / "capture.ply", random_gaussians(5, 0), up=says)
    assert open_source(tmp_path / "capture.ply", LAYOUT, up).up == expected


def test_z_points_up_where_something_describes_the_objects(tmp_path: Path) -> None:
    write_ply(tmp_path / "point_cloud.ply", random_gaussians(5, 0))
    np.save(tmp_path / "segmentation.npy", np.zeros(5, np.int32))
    assert open_source(tmp_path, LAYOUT).up == "z"
    write_trajectory(tmp_path / "mpm")
    assert open_source(tmp_path / "mpm", LAYOUT).up == "z"


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder, settings in (("mpm", {}), ("out/trajectory", {"checkpoint": "ngff"})):
        write_trajectory(tmp_path / folder / "0_ball_duck")
        meta = META.model_copy(update={"complete": True, "settings": settings})
        write_json(tmp_path / folder / "0_ball_duck" / "meta.json", meta.model_dump())
    # What `videogen.eval` has written is found below its output path.
    paths = [tmp_path / "mpm" / "0_ball_duck", tmp_path / "out"]
    assert [source.name for source in open_sources(paths, LAYOUT)] == ["simulation", "prediction"]
    assert [source.name for source in open_sources(paths[:1] * 2, LAYOUT)] == ["1 0_ball_duck", "2 0_ball_duck"]
    write_trajectory(tmp_path / "out" / "trajectory" / "1_duck_ball")
    with pytest.raises(InputError, match="expected one trajectory, found 2"):
        open_sources(paths, LAYOUT)


def test_a_reconstruction_is_its_objects_before_the_rest(tmp_path: Path) -> None:
    for name, count in (("sim", 4), ("sim_refine", 5), ("bg", 6)):
        write_ply(tmp_path / "room" / name / POINT_CLOUD, random_gaussians(count, 0))
    cameras = look_at(torch.tensor([[2.0, 0, 0]]), torch.zeros(3), 64, 48, 50.0)
    write_cameras(tmp_path / "room" / "sim" / "cameras.json", cameras)
    assert len(open_source(tmp_path / "room", LAYOUT)) == 5
    source = open_source(tmp_path / "room" / "sim", LAYOUT)
    assert (source.name, len(source)) == ("room sim", 4)
    torch.testing.assert_close(source.cameras.positions, cameras.positions)
    for path in (tmp_path / "room", tmp_path / "room" / "sim"):
        assert reconstructed_background(path) == tmp_path / "room" / "bg"
    assert reconstructed_background(tmp_path / "room" / "bg") is None


def test_cameras_that_cannot_be_read_leave_a_note(tmp_path: Path) -> None:
    write_ply(tmp_path / "capture.ply", random_gaussians(4, 0))
    (tmp_path / "cameras.json").write_text("[]")
    source = open_source(tmp_path / "capture.ply", LAYOUT)
    assert source.cameras is None
    assert "cameras are not shown" in source.note


def test_a_frame_lasts_until_the_next_and_the_last_one_for_ever() -> None:
    gaussians = rest_gaussians()
    source = SplatSource("a", gaussians.opacities, gaussians.sh, {}, lambda k, fields: None, 5, 0.02)
    assert [source.at(time) for time in (0, 0.019, 0.02, 0.06, 0.079, 0.08, 9.0)] == [0, 0, 1, 3, 3, 4, 4]
