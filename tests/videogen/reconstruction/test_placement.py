import numpy as np
import pytest
import torch

from gaussians.cameras import Cameras, Orbit, look_at
from gaussians.rotations import rotation_exp
from gaussians.stage.errors import InputError
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.placement import (
    FLOOR,
    free_place,
    overlap,
    place_on_ground,
    placement_problems,
    stand_on_floor,
    up_direction,
)

ORBIT = Orbit((0.0, 0.0, -0.6), azimuth=120.0, elevation=25.0, radius=3.0)
# From the world to a frame of any orientation and scale.
AWAY = Similarity(
    0.4, rotation_exp(torch.tensor([2.0, 0.3, -1.0], dtype=torch.float64)), torch.tensor([3.0, -1.0, 2.0]).double()
)


def ball(center: tuple[float, float, float], radius: float, count: int = 2000, seed: int = 0) -> torch.Tensor:
    """Points on a sphere."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=1)
    return radius * directions + torch.tensor(center)


def world(views: range = range(0, 100, 5)) -> tuple[torch.Tensor, torch.Tensor, Cameras]:
    """Two balls on a rough table, a wall behind them, and clutter around; the cameras."""
    objects = torch.cat([ball((0.1, 0, FLOOR + 0.2), 0.2), ball((0.6, 0.1, FLOOR + 0.1), 0.1)])
    generator = torch.Generator().manual_seed(1)

    def uniform(count: int, low: list[float], high: list[float]) -> torch.Tensor:
        corners = torch.tensor([low, high], dtype=torch.float64)
        return corners[0] + (corners[1] - corners[0]) * torch.rand(count, 3, generator=generator, dtype=torch.float64)

    table = uniform(3000, [-1.2, -1.2, FLOOR], [1.2, 1.2, FLOOR])
    table[:, 2] += 0.004 * torch.randn(3000, generator=generator, dtype=torch.float64)
    wall = uniform(2000, [-1, 0.9, FLOOR], [1, 0.9, 1])
    clutter = uniform(2000, [-2, -2, -1], [2, 2, 1])
    cameras = ORBIT.cameras(views, 64)
    cameras = Cameras(cameras.viewmats.double(), cameras.Ks, 64, 64)
    return AWAY.points(objects), AWAY.points(torch.cat([table, wall, clutter])), AWAY.cameras(cameras)


def test_the_ground_becomes_the_floor() -> None:
    objects, background, cameras = world()
    placement = place_on_ground(objects, background, cameras, scale=2.5)  # the inverse of what took the world away
    up = AWAY.rotation @ torch.tensor([0.0, 0, 1], dtype=torch.float64)
    tilt = torch.rad2deg(torch.acos((placement.similarity.rotation[2] @ up).clamp(-1, 1)))
    assert tilt < 0.3
    assert placement.ground_share > 0.3
    placed = placement.similarity.points(objects)
    assert placed[:, 2].min() == pytest.approx(FLOOR, abs=0.01)
    low, high = placed[:, :2].quantile(0.01, 0), placed[:, :2].quantile(0.99, 0)
    assert torch.allclose((low + high) / 2, torch.zeros(2).double(), atol=1e-3)
    assert placement.extent == pytest.approx(0.8, abs=0.03)  # from -0.1 to 0.7 along x, but for the outermost points
    first = placement.similarity.cameras(cameras).viewmats[0]
    assert torch.allclose(first[0, :3], torch.tensor([1.0, 0, 0]).double(), atol=0.01)  # x is to the right
    assert first[2, 1] > 0.8  # y leads away
    assert first[2, 2] < 0  # it looks down


def test_without_a_scale_the_objects_are_one_metre_large() -> None:
    objects, background, cameras = world()
    placement = place_on_ground(objects, background, cameras)
    placed = placement.similarity.points(objects)
    assert placement.extent == pytest.approx(1)
    assert (placed.amax(0) - placed.amin(0)).max() == pytest.approx(1, abs=0.1)
    assert placement_problems(placed, torch.zeros(len(placed)), ["balls"]) == []
    # Objects far above the ground are smaller, and stay in the box.
    above = AWAY.points(AWAY.inverse().points(objects) + torch.tensor([0.0, 0, 1.2]))
    placed = place_on_ground(above, background, cameras).similarity.points(above)
    assert 0.8 < placed[:, 2].max() < 1


def test_a_ground_with_objects_below_it_is_none() -> None:
    """Cameras that all look the same way do not tell what is up; those around the objects do, and a floor is level."""
    objects, background, cameras = world()
    inside = AWAY.inverse().points(background)
    below = AWAY.points(inside[(inside[:, 2] - FLOOR).abs() < 0.02] + torch.tensor([0.0, 0, 0.5]))
    _, _, alike = world(range(1))
    with pytest.raises(InputError, match=r"no ground found: .*, with the objects and cameras above it"):
        place_on_ground(objects, below, alike)
    with pytest.raises(InputError, match=r"no ground found: .*, found 2 points there"):
        place_on_ground(objects, background[:2], alike)
    placement = place_on_ground(objects, below, cameras, scale=2.5)
    assert placement.ground_share == 0
    assert "no ground found" in placement.notes[0]
    placed = placement.similarity.points(objects)
    assert placed[:, 2].min() == pytest.approx(FLOOR, abs=0.01)
    up = AWAY.rotation @ torch.tensor([0.0, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(placement.similarity.rotation[2], up, atol=1e-6, rtol=0)


@pytest.mark.parametrize("textured", [True, False])
def test_a_free_place_is_on_the_floor_of_a_room(textured: bool) -> None:
    """Cameras that look around in a room of 4 x 4 x 2.5 m; without texture, nothing of the floor is known."""
    generator = torch.Generator().manual_seed(2)
    room = 4 * torch.rand(6000, 3, generator=generator, dtype=torch.float64) - 2
    side = torch.arange(6000) % 6
    for axis, (low, high) in enumerate([(-2.0, 2.0), (-2.0, 2.0), (0.0, 2.5)]):
        room[side == 2 * axis, axis], room[side == 2 * axis + 1, axis] = low, high
    room[:, 2] = room[:, 2].where(side >= 4, 0.625 * (room[:, 2] + 2))
    angles = torch.arange(5, dtype=torch.float64) * 2 * torch.pi / 5
    around = torch.stack([angles.cos(), angles.sin(), -0.2 + 0 * angles], 1)
    places = 0.3 * around + torch.tensor([0.0, 0, 1.6])
    cameras = look_at(places.float(), (places + around).float(), 32, 32, 20.0)
    cameras = Cameras(cameras.viewmats.double(), cameras.Ks, 32, 32)
    if not textured:
        room = room[side != 4]
    free = free_place(AWAY.points(room), AWAY.cameras(cameras))
    back = AWAY.inverse().points(free)
    low, high = back.amin(0), back.amax(0)
    assert low[2] == pytest.approx(0, abs=0.05 if textured else 0.4)
    assert 0.3 < (high - low).max() < 0.8
    assert ((low + high) / 2)[:2].abs().max() < 0.5
    placement = place_on_ground(free, AWAY.points(room), AWAY.cameras(cameras))
    assert placement.similarity.points(free)[:, 2].min() == pytest.approx(FLOOR, abs=0.05)


def test_up_is_told_by_level_cameras_and_by_the_mean_of_others() -> None:
    orbit = ORBIT.cameras(range(0, 40, 5), 64).viewmats.double().numpy()
    up, sure = up_direction(orbit)
    assert np.allclose(up, [0, 0, 1], atol=1e-6)
    assert sure
    mean, sure = up_direction(orbit[:1].repeat(3, 0))
    assert np.allclose(mean, -orbit[0, 1, :3])
    assert not sure


def test_objects_stand_on_their_lowest_hundredth() -> None:
    floater = torch.tensor([[0.0, 0.0, -5.0]]).double()
    standing = stand_on_floor(torch.cat([ball((0, 0, 0), 0.3), floater])).points(ball((0, 0, 0), 0.3))
    assert standing[:, 2].min() == pytest.approx(FLOOR, abs=0.01)


def test_overlaps_are_those_of_volumes() -> None:
    first = ball((0, 0, 0), 0.3).numpy()
    assert overlap(first, first) == 1
    # A small ball inside a large one shares all of its volume; points on the surfaces alone do not tell.
    assert overlap(first, ball((0.02, 0, 0), 0.1).numpy()) > 0.9
    assert overlap(first, ball((0.63, 0, 0), 0.3).numpy()) == 0
    # Caps of a height of half a radius: 5 / 32 of the volume each.
    assert overlap(first, ball((0.3, 0, 0), 0.3, 4000).numpy()) == pytest.approx(10 / 32, abs=0.05)


def test_a_ball_in_a_cup_is_not_inside_it() -> None:
    cup = ball((0, 0, 0), 0.3, 8000).numpy()
    cup = cup[cup[:, 2] < 0]  # half a sphere
    assert overlap(cup, ball((0, 0, 0.12), 0.1).numpy()) < 0.1


def test_problems_are_named() -> None:
    clouds = [ball((0, 0, 0), 0.3), ball((0, 0, 0.1), 0.3), ball((0.95, 0, 0), 0.2), ball((0, -0.7, -0.95), 0.2)]
    labels = torch.arange(4).repeat_interleave(2000)
    found = placement_problems(torch.cat(clouds), labels, ["duck", "ball", "can", "rope", "lost"])
    assert found == [
        found[0],
        "rope (object 3) reaches 0.21 m below the floor at z = -0.94",
        "lost (object 4) has no Gaussians",
        found[3],
    ]
    assert found[0].endswith("% of can (object 2) is outside of the box [-1, 1]^3")
    assert found[3].startswith("duck (object 0) and ball (object 1) share 7")
