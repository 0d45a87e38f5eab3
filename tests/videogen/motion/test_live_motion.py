from dataclasses import replace

import pytest
import torch

from dataset.config import Config
from dynamic_models.data.scene_state import World
from dynamic_models.models.checkpoints import CheckpointInfo, load_checkpoint
from dynamic_models.models.registry import build_model, default_checkpoint
from gaussians.stage.errors import InputError
from tests.videogen.small_scene import SETTINGS, two_clouds
from videogen.motion.live_motion import LiveMotion
from videogen.motion.scene_motion import predict

DT = 0.02
CONFIG = Config(g=(0.0, 0.0, -5.0), n_grid=64, frame_dt=DT)
WIDE = World(walls=(-9.0, 9.0, -9.0, 9.0, -9.0))


def flying() -> LiveMotion:
    """Objects that a model without forces of its own moves: they fall freely."""
    info = CheckpointInfo(settings=SETTINGS, num_keypoints=64, frame_dt=DT, world=WIDE)
    return LiveMotion(two_clouds(), build_model(SETTINGS), info, CONFIG)


@pytest.mark.parametrize("name", ["ngff_coarse", "ngff_impulses_coarse"])
def test_recorded_pushes_give_the_same_frames_again(name: str) -> None:
    model, info = load_checkpoint(default_checkpoint(name))
    live, frames = LiveMotion(two_clouds(), model, info, CONFIG), []
    for k in range(12):
        if k == 3:
            live.push(1, force=(30.0, 0.0, 5.0), torque=(0.0, 0.2, 0.0), seconds=0.07)
        if k == 8:
            live.push(0, force=(0.0, -20.0, 0.0), seconds=0.01)
        frames.append(live.step().means)
    assert not live.changed
    again = list(predict(two_clouds(), name, 13, config=CONFIG, forces=live.forces))
    for found, expected in zip(frames, again[1:], strict=True):
        torch.testing.assert_close(found, expected.means, rtol=0, atol=1e-6)


def test_a_push_gives_its_momentum() -> None:
    live = flying()
    live.push(0, force=(2.0, 0.0, 0.0), seconds=0.1)
    for _ in range(10):
        live.step()
    velocity = live.state().velocities[:, 0]
    fallen = -5.0 * 10 * DT
    torch.testing.assert_close(velocity[0], torch.tensor([0.2 / live.masses[0], 0, fallen]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(velocity[1], torch.tensor([0, 0, fallen]), rtol=1e-4, atol=1e-4)


def test_reset_forgets_pushes() -> None:
    live = flying()
    first = live.step().means
    live.push(0, force=(5.0, 0.0, 0.0))
    live.step()
    live.reset()
    assert (live.frame, live.forces) == (0, [])
    torch.testing.assert_close(live.step().means, first)


def test_what_changes_its_material_flies_on() -> None:
    live = flying()
    for _ in range(4):
        live.step()
    mass, centre = live.masses[1], live.centres()[1]
    live.set_material(1, density=1000.0)
    assert live.changed
    assert live.masses[1] == pytest.approx(2 * mass)
    torch.testing.assert_close(live.centres()[1], centre)
    live.step()
    assert live.frame == 5
    # As it would have been: 0.02 s further on, at the speed of 0.08 s of free fall.
    moved = live.centres()[1] - centre
    torch.testing.assert_close(moved, torch.tensor([0, 0, -5.0 * DT * (4 * DT + DT / 2)]), rtol=1e-3, atol=1e-5)


def test_an_object_joins_in() -> None:
    alone = two_clouds()
    first = replace(alone, gaussians=alone.gaussians[:120], objects=alone.objects[:1])
    info = CheckpointInfo(settings=SETTINGS, num_keypoints=64, frame_dt=DT, world=WIDE)
    before = LiveMotion(first, build_model(SETTINGS), info, CONFIG)
    before.step()
    live = flying()
    live.go_on(before.state())
    torch.testing.assert_close(live.centres()[0], before.centres()[0])
    torch.testing.assert_close(live.centres()[1], flying().centres()[1])


def test_pushes_of_no_object_are_refused() -> None:
    with pytest.raises(InputError, match=r"push: expected one of the objects \[0, 1\], found 2"):
        flying().push(2)
    with pytest.raises(InputError, match="material"):
        flying().set_material(2, density=1.0)
