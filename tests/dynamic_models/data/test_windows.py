import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.layout import Layout
from dynamic_models.data.scene_state import World
from dynamic_models.data.windows import (
    Sampling,
    Window,
    WindowStream,
    add_noise,
    choose_groups,
    collate_windows,
    draw_windows,
    load_scene,
    load_scenes,
    turn_about_vertical,
)
from dynamic_models.models.ballistic import Ballistic
from dynamic_models.models.ngff import NGFF, NGFFSettings
from gaussians.files.trajectory_format import Frame
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.stage.errors import InputError

SAMPLING = Sampling(seed=0, num_frames=20, batch_size=3)


def test_window_starts_with_its_state_and_keeps_the_rest_shape(toy_root: Path) -> None:
    scene = load_scene(Layout(toy_root), "toy", "0_ball_ball", 16)
    state, target, _ = scene.window(12, 10)
    assert target.shape == (1, 10, 2, 16, 3)
    assert torch.equal(state.points, target[:, 0])
    assert torch.equal(state.rest[0], scene.clip.positions[0])
    assert scene.clip.velocities is not None
    assert torch.equal(state.velocities[0], scene.clip.velocities[12])
    assert state.materials[0, 0].tolist() == pytest.approx([8e5, 0.3, 600.0, 20.0])
    assert scene.world == World()


def test_balls_in_the_air_are_ballistic_from_either_kind_of_velocity(
    tmp_path: Path, toy_scene_writer: Callable[..., None]
) -> None:
    layout = Layout(tmp_path)
    toy_scene_writer(layout.mpm_dir("a", "0_ball"), seed=3, frames=8)
    toy_scene_writer(layout.mpm_dir("b", "0_ball"), seed=3, frames=8, fields=("pos",))
    with_velocities, without = (load_scene(layout, group, "0_ball", 16) for group in "ab")
    assert without.clip.velocities is None
    for scene in (with_velocities, without):
        state, target, _ = scene.window(0, 8)
        # The toy simulation's steps of 1 ms make it fall by g t (t + h) / 2: less than 1 mm from the closed form.
        torch.testing.assert_close(Ballistic()(state, 8, 0.02), target, rtol=0, atol=1e-3)


def test_windows_of_different_sizes_become_one_batch(tmp_path: Path, toy_scene_writer: Callable[..., None]) -> None:
    layout = Layout(tmp_path)
    toy_scene_writer(layout.mpm_dir("1", "0_ball"), seed=0, objects=1, frames=5, count=9)
    toy_scene_writer(layout.mpm_dir("1", "1_ball_ball"), seed=1, objects=2, frames=5, count=40)
    scenes = load_scenes(layout, ["1"], num_keypoints=16, num_frames=5, progress=False)
    state, target, pushes = collate_windows([scene.window(0, 5) for scene in scenes])
    assert target.shape == (2, 5, 2, 16, 3)
    assert pushes.shape == (2, 4, 2, 6)
    assert state.mask.sum((1, 2)).tolist() == [9, 32]
    assert target[0].abs()[:, ~state.mask[0]].sum() == 0


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_turning_commutes_with_physics(toy_root: Path, shift: float) -> None:
    """Ballistic flight of the turned state is the turned flight; near walls only quarter turns are taken."""
    scene = load_scene(Layout(toy_root), "toy", "0_ball_ball", 16)
    state, *_ = scene.window(0, 12)
    state.points[..., 0] += shift
    target = Ballistic()(state, 12, 0.02)
    for seed in range(8):
        window = Window(state, target, torch.zeros(1, 11, 2, 6))
        turned, turned_target, _ = turn_about_vertical(window, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(Ballistic()(turned, 12, 0.02), turned_target, rtol=0, atol=1e-5)
        distances = torch.cdist(target.flatten(2, 3), target.flatten(2, 3))
        turned_distances = torch.cdist(turned_target.flatten(2, 3), turned_target.flatten(2, 3))
        torch.testing.assert_close(turned_distances, distances, rtol=0, atol=1e-3)  # cdist's own cancellation


def test_pushes_turn_along_and_mirrored_torques_turn_the_other_way(toy_root: Path) -> None:
    """Free flight of the turned scene under the turned forces and torques is the turned flight."""
    scene = load_scene(Layout(toy_root), "toy", "0_ball_ball", 16)
    state = scene.window(0, 6).state
    state.walls[:] = torch.tensor([-9.0, 9.0, -9.0, 9.0, -9.0])  # out of reach
    model = NGFF(NGFFSettings(hidden_dim=8, num_layers=1, threshold=0.01, step_size=0.02))  # untrained: no forces
    pushes = torch.randn(1, 5, 2, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        target = model(state, 6, 0.02, pushes)
        for seed in range(8):
            turned = turn_about_vertical(Window(state, target, pushes), torch.Generator().manual_seed(seed))
            # float32 rounding of inertia tensors in other axes
            torch.testing.assert_close(model(turned.state, 6, 0.02, turned.pushes), turned.target, rtol=0, atol=1e-4)


def test_windows_hold_the_forces_that_the_trajectory_was_simulated_under(
    tmp_path: Path, toy_scene_writer: Callable[..., None]
) -> None:
    layout = Layout(tmp_path)
    path = layout.mpm_dir("2", "0_ball_ball")
    toy_scene_writer(path, seed=0, frames=8)
    unpushed = load_scene(layout, "2", "0_ball_ball", 8).window(0, 8).pushes
    assert unpushed.shape == (1, 7, 2, 6)
    assert not unpushed.any()

    meta = json.loads((path / "meta.json").read_text())
    force = {"obj_id": 1, "start": 0.05, "end": 0.08, "force": [2.0, 0.0, -4.0], "torque": [0.0, 1.0, 0.0]}
    for recorded, mass in (({**force, "mass": None}, 20.0), ({**force, "mass": 0.5}, 0.5)):  # the balls weigh 20 kg
        meta["settings"]["external_forces"] = [recorded]
        (path / "meta.json").write_text(json.dumps(meta))
        scene = load_scene(layout, "2", "0_ball_ball", 8)
        pushes = scene.window(1, 5).pushes  # frames from 0.02 to 0.1 s
        share = torch.tensor([0.0, 0.5, 1.0, 0.0])  # of 0.04 to 0.06 s half
        torch.testing.assert_close(pushes[0, :, 1, 0], share * 2.0 / mass)
        torch.testing.assert_close(pushes[0, :, 1, 2], share * -4.0 / mass)
        torch.testing.assert_close(pushes[0, :, 1, 4], share * 1.0 / mass)
        assert not pushes[0, :, 0].any()

    meta["settings"]["external_forces"] = [{**force, "force": "up"}]
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"meta\.json: settings\.external_forces: 0\.force: "):
        load_scene(layout, "2", "0_ball_ball", 8)


def test_walls_turn_along_with_a_scene_that_is_near_them(toy_root: Path) -> None:
    scene = load_scene(Layout(toy_root), "toy", "0_ball_ball", 16)
    window = scene.window(0, 2)
    state = window.state
    state.walls[:] = torch.tensor([-1.0, 0.7, -2.0, 3.0, -0.94])

    def gaps(points: torch.Tensor, walls: torch.Tensor) -> list[float]:
        x, y = points[..., 0], points[..., 1]
        x_min, x_max, y_min, y_max, _ = walls[0]
        return sorted(float(gap.amin()) for gap in (x - x_min, x_max - x, y - y_min, y_max - y))

    for seed in range(12):
        turned, *_ = turn_about_vertical(window, torch.Generator().manual_seed(seed))
        assert gaps(turned.points, turned.walls) == pytest.approx(gaps(state.points, state.walls), abs=1e-5)


def test_groups_default_to_the_training_groups_that_exist(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(InputError, match="no trajectories"):
        choose_groups(layout, None)
    for group in ("2", "3_9"):
        layout.mpm(group).mkdir(parents=True)
    assert choose_groups(layout, None) == ["2", "3_9"]
    layout.mpm("3_4").mkdir()
    assert choose_groups(layout, None) == ["3_4"]
    with pytest.raises(InputError, match="no such group; there are 2, 3_4, 3_9"):
        choose_groups(layout, ["7"])


def test_unusable_scenes_are_named(toy_root: Path, tmp_path: Path, toy_scene_writer: Callable[..., None]) -> None:
    with pytest.raises(InputError, match=r"0_ball_ball: expected at least 31 frames \(--steps\), found 30"):
        load_scenes(Layout(toy_root), ["toy"], 8, 31, progress=False)
    with pytest.raises(InputError, match=r"frame_dt: expected 0\.04 s, found 0\.02 s"):
        load_scenes(Layout(toy_root), ["toy"], 8, 5, frame_dt=0.04, progress=False)
    layout = Layout(tmp_path)
    layout.mpm("2").mkdir(parents=True)
    with pytest.raises(InputError, match="no scenes in groups 2"):
        load_scenes(layout, ["2"], 8, 5, progress=False)
    toy_scene_writer(layout.mpm_dir("2", "0_ball"), seed=0, frames=3)
    (layout.mpm_dir("2", "0_ball") / "0001.h5").unlink()
    with pytest.raises(InputError, match=r"0001\.h5: no such frame"):
        load_scenes(layout, ["2"], 8, 3, progress=False)


def test_published_data_tells_objects_apart_by_segmentation_or_names(
    tmp_path: Path, toy_scene_writer: Callable[..., None]
) -> None:
    layout = Layout(tmp_path)
    path = layout.mpm_dir("3_0", "5_duck_ball")
    toy_scene_writer(path, seed=0, frames=3, count=20, fields=("pos",))
    for name in ("meta.json", "labels.npy"):
        (path / name).unlink()
    with pytest.raises(InputError, match="cannot tell objects apart"):
        load_scene(layout, "3_0", "5_duck_ball", 8)
    layout.scene_dir("3_0", "5_duck_ball").mkdir(parents=True)
    np.save(layout.scene_dir("3_0", "5_duck_ball") / "segmentation.npy", np.repeat([0, 1], 20))
    scene = load_scene(layout, "3_0", "5_duck_ball", 8)
    assert scene.clip.labels.tolist() == [0, 1]
    assert scene.materials[:, 0].tolist() == [3e5, 8e5]  # duck, ball
    assert scene.materials[:, 3].isnan().all()


def test_noise_moves_whole_objects_at_the_start(toy_root: Path) -> None:
    window = load_scenes(Layout(toy_root), ["toy"], 12, 20, progress=False)[0].window(0, 5)
    noisy = add_noise(window, 0.1, torch.Generator().manual_seed(0))
    added = noisy.state.velocities - window.state.velocities
    assert added.shape == (1, 2, 12, 3)
    torch.testing.assert_close(added, added[:, :, :1].expand_as(added), rtol=0, atol=1e-6)  # rounded like velocities
    assert 0.03 < float(added[:, :, 0].std()) < 0.3
    assert torch.equal(noisy.target, window.target)
    assert torch.equal(noisy.state.points, window.state.points)


def test_samples_do_not_depend_on_how_they_are_shared(toy_root: Path) -> None:
    scenes = load_scenes(Layout(toy_root), ["toy"], 12, 20, progress=False)
    names, (state, target, _) = draw_windows(scenes, range(6), 6, SAMPLING)
    assert sorted(names[:3]) == sorted(names[3:]) == [scene.name for scene in scenes]  # every scene once an epoch
    for part in (range(3), range(3, 6)):
        some, (some_state, some_target, _) = draw_windows(scenes, part, 6, SAMPLING)
        assert some == names[part.start : part.stop]
        assert torch.equal(some_state.points, state.points[part.start : part.stop])
        assert torch.equal(some_target, target[part.start : part.stop])


def test_samples_drawn_ahead_are_those_asked_for(toy_root: Path) -> None:
    scenes = load_scenes(Layout(toy_root), ["toy"], 12, 20, progress=False)
    with closing(WindowStream(scenes, SAMPLING)) as stream:
        # The third asks for windows of another length than were drawn ahead, the last for other numbers.
        for first, frames, following in ((0, 6, 3), (3, 6, 6), (6, 8, 9), (4, 8, 7)):
            names, window = stream.take(first, frames, following)
            expected_names, expected = draw_windows(scenes, range(first, first + 3), frames, SAMPLING)
            assert names == expected_names
            assert torch.equal(window.target, expected.target)


def test_gaussians_that_never_move_are_no_keypoints(tmp_path: Path, toy_scene_writer: Callable[..., None]) -> None:
    """A third of each object's Gaussians stays in the air, as outside of sim_area, after all that move."""
    layout, count = Layout(tmp_path), 60
    toy_scene_writer(layout.mpm_dir("g", "0_a_b"), seed=1, frames=6, count=count)
    source = TrajectoryReader(layout.mpm_dir("g", "0_a_b"))
    assert source.meta is not None
    still = torch.arange(2 * count) % 3 == 0
    order = torch.cat([(~still).nonzero(), still.nonzero()]).squeeze(1)
    for recorded in (True, False):
        objects = [entry.model_copy(update={"moving": 40 if recorded else None}) for entry in source.meta.objects]
        path = layout.mpm_dir("g", f"{1 + recorded}_a_b")
        meta = source.meta.model_copy(update={"objects": objects})
        assert source.labels is not None
        with TrajectoryWriter(
            path, meta, source.opacities[order], source.sh[order], labels=source.labels[order], fields=("pos", "vel")
        ) as writer:
            for frame in source.frames():
                means = torch.where(still[:, None], source.positions(0), frame.means)
                writer.write(Frame(means[order], velocities=frame.velocities[order]))
            writer.finish()
        assert TrajectoryReader(path).moving == 80
        scene = load_scene(layout, "g", path.name, 32)
        assert scene.clip.mask.sum() == 64
        assert scene.clip.rows.max() < 80
