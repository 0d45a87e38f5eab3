"""What a person takes along: camera paths, videos, PLY files, scenes."""

import math
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dataset.layout import Layout
from dataset.scenes.scene_files import read_scene
from dataset.scenes.scene_objects import SceneObject
from gaussians.files.splats.ply import read_ply
from gaussians.files.video import read_video
from gaussians.rotations import matrix_to_quaternion, quaternion_to_matrix, rotation_exp
from gaussians.stage.errors import InputError
from tests.gaussians.samples import random_gaussians
from tests.tools.viewer.scene.samples import moving_source
from tools.viewer.panels.save_panel import write_picture
from tools.viewer.saving.camera_path import eyes_along
from tools.viewer.saving.exports import export_ply, export_sequence, free_path, save_scene
from tools.viewer.saving.recording import VideoSettings, picture, record
from tools.viewer.scene.layers import Stage
from tools.viewer.scene.poses import Eye


def eye(angle: float, distance: float = 6.0) -> Eye:
    """A camera that looks along +z from -z, turned about the view by ``angle``."""
    wxyz = tuple(matrix_to_quaternion(rotation_exp(torch.tensor([0.0, 0.0, angle]))).tolist())
    return Eye(torch.tensor([0.0, 0, -distance]), wxyz, 0.8, 1.5)


def test_a_path_goes_through_what_was_kept() -> None:
    kept = [eye(0.0), eye(0.5, 5.0), eye(0.9, 4.0)]
    path = eyes_along(kept, 9, 1.5)
    for k, expected in ((0, kept[0]), (4, kept[1]), (8, kept[2])):
        torch.testing.assert_close(path[k].position, expected.position, atol=1e-5, rtol=0)
        torch.testing.assert_close(path[k].rotation, expected.rotation, atol=1e-5, rtol=0)
    # Between two views the way is straight and the turn even.
    half = eyes_along(kept[:2], 3, 1.5)[1]
    torch.testing.assert_close(half.position, torch.tensor([0, 0, -5.5]))
    turned = quaternion_to_matrix(torch.tensor(half.wxyz))
    torch.testing.assert_close(turned, rotation_exp(torch.tensor([0, 0, 0.25])), atol=1e-5, rtol=0)
    alone = eyes_along(kept[:1], 2, 1.5)
    assert torch.equal(alone[0].position, alone[1].position)
    with pytest.raises(ValueError, match="at least one view"):
        eyes_along([], 2, 1.5)


def test_a_video_shows_each_moment_from_its_place_on_the_path(tmp_path: Path) -> None:
    stage = Stage([moving_source()[0]])
    settings = VideoSettings(48, 32, fps=25, seconds=0.16, start=0.02)
    outcomes = []

    def job() -> Generator[float, None, None]:
        outcomes.append((yield from record(stage, [eye(0.0), eye(0.4)], tmp_path / "a.mp4", settings)))

    assert list(job()) == [0.25, 0.5, 0.75, 1.0]
    assert "4 frames of 48 x 32" in outcomes[0]
    frames = list(read_video(tmp_path / "a.mp4"))
    # At 25 frames a second, two of the trajectory's frames of 0.02 s apart; it begins anew after the fourth.
    for k, (image, number) in enumerate(zip(frames, (1, 3, 1, 3), strict=True)):
        view = eyes_along([eye(0.0), eye(0.4)], 4, 1.5)[k]
        expected = picture(stage, stage.frames(number * 0.02), view, 48, 32).numpy() * 255
        # H.264 with halved colours: means of a few levels.
        assert np.abs(image - expected).mean() < 6


def test_a_recording_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    work = record(Stage([moving_source()[0]]), [eye(0.0)], tmp_path / "a.mp4", VideoSettings(48, 32))
    next(work)
    work.close()
    assert list(tmp_path.iterdir()) == []


def test_a_wipe_joins_two_pictures_at_a_line() -> None:
    first, second = moving_source()[0], moving_source()[0]
    alone = [picture(Stage([source]), Stage([source]).frames(t), eye(0.0), 60, 40) for source, t in ((first, 0.0),)]
    stage = Stage([first, replace(second, frame=lambda k, fields: first.frame(3, fields))])
    stage.arrange("wipe", torch.zeros(3))
    stage.wipe = 0.25
    joined = picture(stage, stage.frames(0.0), eye(0.0), 60, 40)
    assert torch.equal(joined[:, :15], alone[0][:, :15])
    other = picture(Stage([first]), [first.frame(3, ("rot",))], eye(0.0), 60, 40)
    assert torch.equal(joined[:, 15:], other[:, 15:])


def test_files_hold_what_is_shown(tmp_path: Path) -> None:
    stage = Stage([moving_source()[0]])
    stage.layers[0].parts[0].visible = False
    assert "6 Gaussians" in export_ply(stage, 0.02, tmp_path / "a.ply")
    found, expected = read_ply(tmp_path / "a.ply"), stage.gaussians(stage.frames(0.02))
    torch.testing.assert_close(found.means, expected.means)
    torch.testing.assert_close(found.sh, expected.sh)
    assert len(list(export_sequence(stage, tmp_path / "frames"))) == 4
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"000{k}.ply" for k in range(4)]
    torch.testing.assert_close(read_ply(tmp_path / "frames" / "0001.ply").means, expected.means)
    stage.layers[0].visible = False
    with pytest.raises(InputError, match="nothing is shown"):
        export_ply(stage, 0.0, tmp_path / "b.ply")


def test_a_saved_scene_is_one_that_commands_read(tmp_path: Path) -> None:
    known = {
        "even": SceneObject(label=0, name="ball", index=0, youngs_modulus=1e5, density=300.0),
        "odd": SceneObject(label=1, name="duck", index=7, material="jelly"),
    }
    stage = Stage([moving_source(described=known)[0]])
    even, odd = stage.layers[0].parts
    even.kept[:2] = False
    odd.pose = replace(odd.pose, position=odd.pose.position + torch.tensor([1.0, 0, 0]))
    save_scene(stage, stage.layers[0], 0.02, tmp_path / "edited")
    scene = read_scene(tmp_path / "edited", Layout(tmp_path))
    assert [(entry.name, entry.count, entry.density) for entry in scene.objects] == [
        ("ball", 4, 300.0),
        ("duck", 6, None),
    ]
    assert scene.gaussians.labels.tolist() == [0] * 4 + [1] * 6
    means = stage.layers[0].source.frame(1, ()).means
    moved = means[odd.rows] + torch.tensor([1.0, 0, 0])
    torch.testing.assert_close(scene.gaussians.means, torch.cat([means[even.rows[2:]], moved]))
    even.visible = False
    save_scene(stage, stage.layers[0], 0.02, tmp_path / "half")
    assert [entry.name for entry in read_scene(tmp_path / "half", Layout(tmp_path)).objects] == ["duck"]
    odd.visible = False
    with pytest.raises(InputError, match="no object is shown"):
        save_scene(stage, stage.layers[0], 0.02, tmp_path / "none")


def test_a_scene_that_lies_on_its_side_is_not_saved(tmp_path: Path) -> None:
    stage = Stage([moving_source(up="-y")[0]])
    with pytest.raises(InputError, match="export a PLY instead"):
        save_scene(stage, stage.layers[0], 0.0, tmp_path / "a")


def test_names_are_new_and_stay_in_their_folder(tmp_path: Path) -> None:
    assert free_path(tmp_path, "../a b/c", ".ply") == tmp_path / "_a b_c.ply"
    (tmp_path / "a.ply").touch()
    (tmp_path / "a_2.ply").touch()
    assert free_path(tmp_path, "a", ".ply") == tmp_path / "a_3.ply"
    assert free_path(tmp_path, "..") == tmp_path / "export"


def test_a_screenshot_stands_before_white(tmp_path: Path) -> None:
    image = np.zeros((2, 2, 4), np.uint8)
    image[0] = (255, 0, 0, 255)
    write_picture(tmp_path / "a.png", image)
    assert iio.imread(tmp_path / "a.png").tolist() == [[[255, 0, 0]] * 2, [[255, 255, 255]] * 2]


def test_the_picture_has_the_browser_s_field_of_view() -> None:
    """A Gaussian at the edge of the eye's view is at the edge of the picture."""
    gaussians = replace(random_gaussians(1, 0), means=torch.tensor([[0.0, math.tan(0.4) * 5.9, -0.1]]))
    source, _ = moving_source(count=2, frames=1)
    frame = source.frame(0, ())
    small = torch.tensor([1e-4, 0, 0, 1e-4, 0, 1e-4]).expand(2, 6)
    placed = replace(frame, means=gaussians.means.expand(2, 3), covariances=small)
    stage = Stage([replace(source, frame=lambda k, fields: placed, opacities=torch.ones(2))])
    image = picture(stage, stage.frames(0.0), eye(0.0), 60, 40, backdrop=(0.0, 0.0, 0.0))
    rows = image.sum(2).sum(1).nonzero()
    assert rows.min() >= 38
