import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset.config import load_config
from dataset.layout import Layout
from dataset.scenes.scene_files import Scene, read_scene
from dataset.scenes.scene_objects import SceneObject
from dynamic_models.models.checkpoints import load_checkpoint
from dynamic_models.models.registry import default_checkpoint
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.tools.live.worlds import DT, free_fall
from tests.videogen.small_scene import cloud, two_clouds
from tools.live.live_world import MOST_FRAMES, LiveWorld
from tools.live.palette import GAP, Palette, free_place


def run(world: LiveWorld, frames: int) -> None:
    for _ in range(frames):
        world.step()


def one(scale: float = 0.4) -> Scene:
    """An object to be dropped."""
    gaussians = replace(cloud((0, 0, 0), 5).transformed(scale=scale), labels=torch.zeros(120, dtype=torch.int32))
    return Scene(gaussians, (SceneObject(label=0, name="c", youngs_modulus=1e6, density=250.0),))


def test_a_push_accelerates_as_it_says() -> None:
    world = free_fall()
    force = world.push(0, torch.tensor([3.0, 0.0, 0.0]), 0.1)
    assert float(force[0]) == pytest.approx(3.0 * world.motion.masses[0])
    run(world, 10)
    velocity = world.motion.state().velocities[:, 0]
    torch.testing.assert_close(velocity[0], torch.tensor([0.3, 0, -5 * 10 * DT]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(velocity[1], torch.tensor([0.0, 0, -5 * 10 * DT]), rtol=1e-4, atol=1e-4)


def test_a_twist_turns_and_moves_nothing() -> None:
    world, still = free_fall(), free_fall()
    world.twist(1, torch.tensor([0.0, 0.0, 0.5]), 0.1)
    before = world.motion.object_points()[1]
    run(world, 10)
    run(still, 10)
    torch.testing.assert_close(world.motion.centres()[1], still.motion.centres()[1], rtol=0, atol=1e-4)
    now = world.motion.object_points()[1]
    arms, later = before - before.mean(0), now - now.mean(0)
    # Counter-clockwise seen from above.
    assert float((arms[:, 0] * later[:, 1] - arms[:, 1] * later[:, 0]).sum()) > 0.01


def test_what_is_shown_is_what_was_predicted() -> None:
    world, again = free_fall(), free_fall()
    frames = [again.motion.gaussians.means] + [again.motion.step().means for _ in range(5)]
    run(world, 5)
    source = world.source()
    assert (source.frame_count, source.frame_dt, list(source.objects)) == (6, DT, ["a", "b"])
    run(world, 5)  # a source stays as it was
    for k, expected in enumerate(frames):
        torch.testing.assert_close(source.frame(k, ()).means, expected)
    assert world.source().frame_count == 11
    world.reset()
    assert (world.source().frame_count, world.motion.frame) == (1, 0)
    torch.testing.assert_close(source.frame(5, ()).means, frames[5])


def test_a_long_run_forgets_its_beginning() -> None:
    world = free_fall()
    world.history = world.history * MOST_FRAMES
    world.step()
    assert len(world.history) + world.first == MOST_FRAMES + 1
    assert world.first == MOST_FRAMES // 2
    torch.testing.assert_close(world.history[-1], world.motion.points)


def test_a_dropped_object_has_room_falls_and_stays_after_a_reset() -> None:
    world = free_fall()
    run(world, 5)
    centre = world.motion.centres()[0]
    assert world.drop(one(), over=0) == "c"
    assert list(world.names) == ["a", "b", "c"]
    torch.testing.assert_close(world.motion.centres()[0], centre)
    boxes = world.boxes()
    # Above where both are now, and above where the upper one was at the start, too.
    start = two_clouds().gaussians.means[120:, 2].max()
    assert float(boxes[2][0][2]) > max(float(boxes[0][1][2]), float(boxes[1][1][2]), float(start)) + GAP / 2
    with pytest.raises(InputError, match="dropped or changed in mid-motion"):
        world.save(Path("nowhere"))
    height = world.motion.centres()[2][2]
    run(world, 5)
    assert world.motion.centres()[2][2] < height - 0.02
    world.reset()
    torch.testing.assert_close(world.motion.centres()[2][2], height)
    assert list(world.names) == ["a", "b", "c"]


def test_what_is_too_large_is_not_dropped() -> None:
    world = free_fall()
    with pytest.raises(InputError, match="no room"):
        world.drop(one(5.0), over=0)
    assert list(world.names) == ["a", "b"]


def test_places_are_the_nearest_that_are_free() -> None:
    room = (torch.tensor([-1.0, -1, -1]), torch.tensor([1.0, 1, 1]))
    body = (torch.full((3,), -0.1), torch.full((3,), 0.1))
    pillar = (torch.tensor([-0.2, -0.2, -1.0]), torch.tensor([0.2, 0.2, 0.5]))
    over = torch.zeros(2)
    torch.testing.assert_close(free_place(body, [pillar], over, room), torch.tensor([0.0, 0.0, 0.5 + GAP + 0.1]))
    tower = (torch.tensor([-0.2, -0.2, -1.0]), torch.tensor([0.2, 0.2, 0.9]))
    beside = free_place(body, [tower], over, room)
    assert beside is not None
    assert float(beside[:2].abs().max()) == pytest.approx(0.4)
    assert float(beside[2]) == pytest.approx(-1 + GAP + 0.1)
    assert free_place((10 * body[0], 10 * body[1]), [tower], over, room) is None


def test_materials_change_masses() -> None:
    world = free_fall()
    mass = world.motion.masses[0]
    run(world, 2)
    world.set_material(0, 1e6, 1000.0)
    assert world.motion.masses[0] == pytest.approx(2 * mass)
    assert world.edited
    run(world, 1)


def test_the_palette_holds_the_catalogue_and_files(tmp_path: Path) -> None:
    write_ply(tmp_path / "cloud.ply", cloud((0, 0, 0), 3))
    palette = Palette(Layout(tmp_path), [tmp_path / "cloud.ply"], count=300)
    assert palette.names[0] == "cloud.ply"
    ball = palette.scene("ball")
    assert (len(ball.gaussians), ball.objects[0].density) == (300, 600)
    assert 0.2 < float((ball.gaussians.means.max(0).values - ball.gaussians.means.min(0).values).max()) < 1.0
    assert len(palette.scene("cloud.ply").objects) == 1
    with pytest.raises(InputError, match=r"expected one of cloud\.ply, ball"):
        palette.scene("elephant")
    with pytest.raises(InputError, match="no such file"):
        Palette(Layout(tmp_path), [tmp_path / "none.ply"])


def test_saved_pushes_give_the_same_frames_by_the_command(tmp_path: Path, command: Callable[..., None]) -> None:
    config_path = Path("config/quickstart_config.json")
    config, checkpoint = load_config(config_path), default_checkpoint("ngff_coarse")
    model, info = load_checkpoint(checkpoint)
    world = LiveWorld(two_clouds(), "0_a_b", model, info, config)
    world.drop(one(), over=1)
    world.set_material(0, 3e5, 700.0)
    run(world, 3)
    world.push(2, torch.tensor([10.0, 0.0, 5.0]), 0.07)
    run(world, 4)
    world.twist(1, torch.tensor([0.0, 2.0, 0.0]), 0.1)
    run(world, 5)
    saved = world.save(tmp_path)
    assert saved.frames == 13
    assert len(json.loads(saved.forces.read_text())["0_a_b"]) == 2
    assert [entry.density for entry in read_scene(saved.scene).objects] == [700.0, 500.0, 250.0]
    command(
        "videogen.eval", *saved.flags, "--config", config_path, "--checkpoint", checkpoint, "--device", "cpu",
        "--output_path", tmp_path / "out", "--steps", saved.frames, "--save_trajectory", "--single_view", 0,
        "--resolution", 32,
    )  # fmt: skip
    reader, source = TrajectoryReader(tmp_path / "out" / "trajectory" / "0_a_b"), world.source()
    moved = 0.0
    for k in range(saved.frames):
        found, expected = reader.frame(k), source.frame(k, ())
        # Opacities and scales go through the PLY's logits and logarithms, positions do not; sums run in one order.
        torch.testing.assert_close(found.means, expected.means, rtol=0, atol=1e-6)
        torch.testing.assert_close(found.covariances, expected.covariances, rtol=1e-3, atol=1e-8)
        moved = max(moved, float((found.means - reader.frame(0).means).abs().max()))
    assert moved > 0.02
