import math
from dataclasses import replace

import pytest
import torch

from gaussians.rotations import matrix_to_quaternion, rotation_exp
from gaussians.spherical_harmonics import sh_to_rgb
from tests.gaussians.samples import motion, random_gaussians, rigid_frame
from tests.tools.viewer.scene.samples import moving_source
from tools.viewer.scene.layers import Stage, largest_scales, tinted
from tools.viewer.scene.poses import Eye, Pose


def test_colours_of_a_turned_object_are_those_of_turned_coefficients() -> None:
    source, rest = moving_source()
    stage = Stage([source])
    part = stage.layers[0].parts[1]
    part.pose = replace(
        part.pose,
        wxyz=tuple(matrix_to_quaternion(rotation_exp(torch.tensor([0.3, 0.5, -0.2]))).tolist()),
        position=torch.tensor([1.0, 2, 3]),
        scale=1.5,
    )
    eye = torch.tensor([4.0, -1, 2])
    pose, frame = stage.layers[0].pose(part), source.frame(2, ("rot",))
    drawn = part.gaussians(frame, stage.cuts, pose)
    # The other way: Gaussians as they stand in the world, with coefficients that have turned with them.
    expected = pose.gaussians(rest.transformed(*motion(2))[part.rows])
    torch.testing.assert_close(drawn.means, expected.means, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn.covariances, expected.covariance(), atol=1e-5, rtol=1e-4)
    directions = torch.nn.functional.normalize(expected.means - eye, dim=1)
    colors = sh_to_rgb(expected.sh, directions).clamp(0, 1)
    torch.testing.assert_close(part.colors_seen_from(eye, frame, 2, pose), colors, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sh_to_rgb(drawn.sh, directions).clamp(0, 1), colors, atol=1e-4, rtol=1e-4)


def test_cuts_hide_faint_large_and_outer_gaussians() -> None:
    source, rest = moving_source()
    stage = Stage([source])
    frames = stage.frames(0.0)
    assert len(stage.gaussians(frames)) == 12
    stage.cuts.least_opacity = 0.5
    assert len(stage.gaussians(frames)) == int((rest.opacities >= 0.5).sum())
    stage.cuts.least_opacity = 0.0
    stage.cuts.largest_scale = 0.9
    assert len(stage.gaussians(frames)) == int((rest.scales.amax(1) <= 0.9).sum())
    stage.cuts.largest_scale = math.inf
    stage.cuts.box = torch.tensor([-0.5, -1, -1]), torch.tensor([0.5, 1, 1])
    inside = ((rest.means >= stage.cuts.box[0]) & (rest.means <= stage.cuts.box[1])).all(1)
    assert 0 < len(stage.gaussians(frames)) == int(inside.sum()) < 12


def test_hidden_and_deleted_gaussians_are_not_drawn() -> None:
    source, _ = moving_source()
    stage = Stage([source])
    even, odd = stage.layers[0].parts
    even.visible = False
    odd.kept[2] = False
    assert len(stage.gaussians(stage.frames(0.0))) == 5
    stage.layers[0].visible = False
    assert len(stage.gaussians(stage.frames(0.0))) == 0


def test_longest_axis_of_a_covariance() -> None:
    gaussians = random_gaussians(50, 0)
    expected = gaussians.scales.amax(1)
    torch.testing.assert_close(largest_scales(gaussians.covariance()), expected, rtol=1e-5, atol=0)
    # Spheres, for which the closed form divides 0 by 0, and points.
    round_ones = torch.tensor([[4.0, 0, 0, 4, 0, 4], [0, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(largest_scales(round_ones), torch.tensor([2.0, 0]))


def test_a_tint_keeps_light_and_dark() -> None:
    colors = torch.tensor([[0.2, 0.2, 0.2], [0.4, 0.4, 0.4]])
    found = tinted(colors, (0.6, 0.3, 0.0))
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.2, 0], [0.8, 0.4, 0]]))


def test_sources_of_other_rates_play_in_step() -> None:
    fast, slow = moving_source(frames=5)[0], replace(moving_source(frames=3)[0], frame_dt=0.04)
    stage = Stage([fast, slow])
    assert stage.duration == (5, 0.02)
    assert [layer.source.at(0.06) for layer in stage.layers] == [3, 1]
    still = replace(fast, frame_count=1)
    assert Stage([still]).duration == (1, 1.0)


def test_a_row_is_centred_and_a_wipe_parts_the_picture() -> None:
    stage = Stage([moving_source()[0], moving_source()[0]])
    stage.arrange("side by side", torch.tensor([2.0, 0, 0]))
    assert [layer.offset.tolist() for layer in stage.layers] == [[-1, 0, 0], [1, 0, 0]]
    stage.arrange("wipe", torch.tensor([2.0, 0, 0]))
    assert [layer.offset.tolist() for layer in stage.layers] == [[0, 0, 0], [0, 0, 0]]
    eye = Eye(torch.tensor([0.0, 0, -2]), (1.0, 0.0, 0.0, 0.0), math.pi / 2, 2.0)
    # 90 degrees upwards, and twice as wide: at depth 2 the picture is 8 m wide and 4 m high.
    points = torch.tensor([[-4.0, 0, 0], [0, -2, 0], [2, 1, 0], [0, 0, -3]])
    places, depths = eye.image_places(points)
    torch.testing.assert_close(places[:3], torch.tensor([[0.0, 0.5], [0.5, 0], [0.75, 0.75]]))
    assert places[3].isnan().all()
    assert depths.tolist() == [2, 2, 2, -1]
    stage.wipe = 0.6
    first, second = stage.layers
    assert stage.beyond_wipe(first, points, eye).tolist() == [False, False, True, False]
    assert stage.beyond_wipe(second, points, eye).tolist() == [True, True, False, True]


def test_a_pose_turns_about_its_pivot_and_can_be_undone() -> None:
    pivot = torch.tensor([1.0, 0, 0])
    assert not Pose.about(pivot).moves
    quarter = math.sqrt(0.5)
    pose = replace(Pose.about(pivot), wxyz=(quarter, 0.0, 0.0, quarter), scale=2.0).shifted(torch.tensor([0, 0, 1.0]))
    point = torch.tensor([2.0, 0, 0])  # a metre along x from the pivot: two along y after a quarter turn about z
    torch.testing.assert_close(pose.points(point), torch.tensor([1.0, 2, 1]))
    torch.testing.assert_close(pose.undo(pose.points(point)), point)
    torch.testing.assert_close(pose.vectors(torch.tensor([1.0, 0, 0])), torch.tensor([0.0, 2, 0]), atol=1e-6, rtol=0)
    covariance = torch.tensor([[4.0, 0, 0, 1, 0, 9]])
    torch.testing.assert_close(pose.covariances(covariance), torch.tensor([[4.0, 0, 0, 16, 0, 36]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("width", "height"), [(300, 200), (64, 64)])
def test_the_camera_of_an_eye_projects_as_the_eye_does(width: int, height: int) -> None:
    wxyz = tuple(matrix_to_quaternion(rotation_exp(torch.tensor([0.2, -0.4, 0.1]))).tolist())
    eye = Eye(torch.tensor([0.1, 0.2, -3.0]), wxyz, 0.9, width / height)
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    camera = eye.camera(width, height)
    local = points @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
    pixels = (local @ camera.Ks[0].T)[:, :2] / local[:, 2:]
    places, depths = eye.image_places(points)
    torch.testing.assert_close(depths, local[:, 2])
    torch.testing.assert_close(places * torch.tensor([width, height]), pixels, rtol=1e-4, atol=1e-3)


def test_frames_hold_rotations_only_where_colours_need_them() -> None:
    stage = Stage([moving_source()[0]])
    assert stage.frames(0.02)[0].rotations is not None
    stage.cuts.sh_degree = 0
    assert stage.frames(0.02)[0].rotations is None
    assert torch.equal(stage.frames(0.02)[0].means, rigid_frame(moving_source()[1], 1).means)
