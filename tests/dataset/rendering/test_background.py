import json
import math
from pathlib import Path

import pytest
import torch

from dataset.rendering.background import capture_center, ground_plane, load_background
from gaussians.files.splats.ply import write_ply
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError


def cloud(means: list[list[float]]) -> Gaussians:
    count = len(means)
    return Gaussians(
        means=torch.tensor(means),
        opacities=torch.full((count,), 0.5),
        sh=torch.zeros(count, 1, 3),
        scales=torch.full((count, 3), 0.1),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
    )


def background(tmp_path: Path, means: list[list[float]], **placement: object) -> Path:
    write_ply(tmp_path / "gaussians_feedforward.ply", cloud(means))
    values = {"rotation": [0, 0, 0], "translation": [0, 0, 0], "scale": 1, "center": [0, 0, 0], "crop": False}
    (tmp_path / "placement.json").write_text(json.dumps(values | placement))
    return tmp_path


def test_placement_is_scaled_rotation_about_its_center(tmp_path: Path) -> None:
    path = background(
        tmp_path, [[2.0, 1.0, 1.0]], rotation=[0, 0, 90], translation=[10, 0, 0], scale=3, center=[1.0, 1.0, 1.0]
    )
    placed = load_background(path)
    # p - c = (1, 0, 0), turned to (0, 1, 0), times 3, plus T + c.
    torch.testing.assert_close(placed.means, torch.tensor([[11.0, 4.0, 1.0]]), atol=1e-5, rtol=0)
    scales, _ = placed.scales_and_quaternions()
    torch.testing.assert_close(scales, torch.full((1, 3), 0.3))


def test_euler_angles_turn_about_x_first(tmp_path: Path) -> None:
    path = background(tmp_path, [[0.0, 2.0, 0.0]], rotation=[90, 0, 90])
    # About x: (0, 2, 0) to (0, 0, 2); about z it stays.
    torch.testing.assert_close(load_background(path).means, torch.tensor([[0.0, 0.0, 2.0]]), atol=1e-5, rtol=0)


def test_crop_drops_what_lies_where_the_objects_are(tmp_path: Path) -> None:
    means = [[0.5, 0.5, 0.5], [1.5, 0.0, 0.0], [0.0, 0.0, -1.1]]
    assert len(load_background(background(tmp_path, means, crop=False))) == 3
    assert len(load_background(background(tmp_path, means, crop=True))) == 2


def test_capture_center_is_the_mean_camera_position(tmp_path: Path) -> None:
    angle = math.pi / 3
    R = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    positions = torch.tensor([[1.0, 2.0, 3.0], [3.0, 0.0, 1.0]])
    extrinsics = torch.eye(4).repeat(2, 1, 1)
    extrinsics[:, :3, :3] = R
    extrinsics[:, :3, 3] = -positions @ R.T
    torch.save({"extrinsics": extrinsics, "intrinsics": torch.eye(3)}, tmp_path / "camera_2999.pt")
    center = capture_center(tmp_path / "camera_2999.pt")
    torch.testing.assert_close(center, torch.tensor([2.0, 1.0, 2.0]), atol=1e-5, rtol=0)


class Dangerous:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code ran",))


def test_capture_file_with_code_in_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"extrinsics": Dangerous()}, tmp_path / "camera_2999.pt")
    with pytest.raises(InputError, match="expected a dictionary of tensors"):
        capture_center(tmp_path / "camera_2999.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("contents", [b"", b"text", None])
def test_unreadable_capture_files_are_named(tmp_path: Path, contents: bytes | None) -> None:
    path = tmp_path / "camera_2999.pt"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(InputError, match=r"camera_2999\.pt"):
        capture_center(path)


def test_cloud_without_placement_stays(tmp_path: Path) -> None:
    write_ply(tmp_path / "point_cloud" / "iteration_30000" / "point_cloud.ply", cloud([[0.1, 0.2, 0.3]]))
    assert torch.equal(load_background(tmp_path).means, torch.tensor([[0.1, 0.2, 0.3]]))


def test_absent_background_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_background(tmp_path / "nowhere")


def test_ground_is_a_checkerboard_at_the_floor() -> None:
    ground = ground_plane()
    assert len(ground) == 80_000
    assert torch.equal(ground.means[:, 2], torch.full((80_000,), -0.94))
    square = torch.floor(ground.means[:, :2] / 0.2 + 1e-3).int()
    assert ((square.sum(1) % 2) == 0).all()
    assert ground.means[:, :2].abs().max() < 4


@pytest.mark.parametrize("extrinsics", [torch.zeros(0, 4, 4), torch.zeros(4), torch.full((2, 4, 4), torch.nan)])
def test_capture_center_of_no_cameras_is_refused(tmp_path: Path, extrinsics: torch.Tensor) -> None:
    torch.save({"extrinsics": extrinsics}, tmp_path / "camera_2999.pt")
    with pytest.raises(InputError, match=r"camera_2999\.pt: extrinsics: expected (shape|finite)"):
        capture_center(tmp_path / "camera_2999.pt")
