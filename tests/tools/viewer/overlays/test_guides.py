import numpy as np
import pytest
import torch

from gaussians import cameras
from gaussians.files.splats.splat_rows import UPRIGHT
from gaussians.files.trajectory_format import Walls
from gaussians.rotations import matrix_to_quaternion
from tests.tools.viewer.scene.samples import moving_source
from tools.viewer.overlays.guides import Guides, box_segments, look_at
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.poses import Eye
from tools.viewer.serving.allowed_messages import Controls
from tools.viewer.serving.guarded_server import start_server

WALLS = Walls(x=(-1.94, 1.94), y=(-1.94, 1.94), floor=-0.94)


def test_the_box_has_twelve_edges() -> None:
    segments = box_segments(WALLS)
    assert segments.shape == (12, 2, 3)
    lengths = np.linalg.norm(segments[:, 0] - segments[:, 1], axis=1)
    # Eight across the box, four from the floor to the top of what is drawn.
    assert sorted(lengths.round(6)) == [1.94] * 4 + [3.88] * 8
    assert segments[..., 2].min() == WALLS.floor


@pytest.mark.parametrize("up", ["z", "-y", "x"])
def test_ground_lies_under_what_is_shown_whichever_axis_points_upwards(up: str) -> None:
    source, _ = moving_source(up=up)
    stage = Stage([source])
    server = start_server("localhost", 0, "Test", Controls())
    try:
        guides = Guides(server.scene, stage)
        look_at(server, guides, up)
        upright = UPRIGHT[up].numpy()
        means = np.concatenate([source.frame(k, ()).means.numpy() for k in (0, 2, 3)])
        heights = means @ upright[2]
        # 2 % of the Gaussians, which may be strays, lie below it.
        assert upright[2] @ guides.grid.position == pytest.approx(np.quantile(heights, 0.02), abs=1e-5)
        assert upright[2] @ server.initial_camera.position > heights.mean()
        assert guides.box is None
        assert guides.grid.visible
        # A copy that is moved sideways stands beside, at the same height and distance.
        assert abs(upright[2] @ guides.sideways.numpy()) < 1e-5
        view = server.initial_camera.look_at - server.initial_camera.position
        assert abs(view @ guides.sideways.numpy()) < 1e-4
        assert float(torch.linalg.norm(guides.sideways)) > 0.5
    finally:
        server.stop()


def test_a_row_ends_left_of_the_panel() -> None:
    source, _ = moving_source(walls=WALLS)
    server = start_server("localhost", 0, "Test", Controls())
    try:
        guides = Guides(server.scene, Stage([source, source]))
        look_at(server, guides, "z", copies=2)
        camera = server.initial_camera
        position = torch.from_numpy(camera.position).float()
        seen = cameras.look_at(position[None], torch.from_numpy(guides.center).float(), 1280, 800, 1.0)
        eye = Eye(position, tuple(matrix_to_quaternion(seen.viewmats[0, :3, :3].T).tolist()), camera.fov, 1.6)
        corners = torch.cartesian_prod(*torch.from_numpy(np.stack([guides.low, guides.high], 1)).float())
        row = torch.cat([corners - guides.sideways / 2, corners + guides.sideways / 2])
        columns = eye.image_places(row)[0][:, 0]
        # The panel and its margins are 345 of 1280 pixels wide.
        assert 0 < float(columns.min()) < float(columns.max()) < 1 - 345 / 1280
    finally:
        server.stop()


def test_a_background_has_a_ground_of_its_own() -> None:
    source, _ = moving_source(walls=WALLS)
    server = start_server("localhost", 0, "Test", Controls())
    try:
        guides = Guides(server.scene, Stage([source], moving_source()[0]))
        assert not guides.grid.visible
        assert guides.grid.position[2] == WALLS.floor
        assert guides.box is not None
    finally:
        server.stop()
