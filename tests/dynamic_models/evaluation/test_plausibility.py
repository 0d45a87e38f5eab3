"""Measures of physical plausibility on motions whose answers are known in closed form."""

import math

import pytest
import torch

from dynamic_models.evaluation.plausibility import (
    Motion,
    contact_reach,
    energy_gain,
    final_speed,
    floor_penetration,
    mechanical_energy,
    momentum_drift,
)

DT = 0.1
DUMBBELL = torch.tensor([[0.02, 0.0, 0.0], [-0.02, 0.0, 0.0]], dtype=torch.float64)


def motion(
    centers: torch.Tensor,
    masses: tuple[float, ...],
    gravity: tuple[float, float, float] = (0.0, 0.0, 0.0),
    pushed: torch.Tensor | None = None,
    shape: torch.Tensor = DUMBBELL,
) -> Motion:
    """Two keypoints around every centre (T, O, 3), and a third that does not exist and lies anywhere."""
    frames, objects, _ = centers.shape
    positions = centers.double()[:, :, None] + shape
    nowhere = torch.full((frames, objects, 1, 3), 77.0, dtype=torch.float64)
    return Motion(
        positions=torch.cat([positions, nowhere], 2),
        mask=torch.tensor([[True, True, False]]).expand(objects, 3),
        shares=torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).expand(objects, 3),
        masses=torch.tensor(masses, dtype=torch.float64),
        gravity=torch.tensor(gravity, dtype=torch.float64),
        walls=torch.tensor([-2.0, 2.0, -2.0, 2.0, -1.0], dtype=torch.float64),
        frame_dt=DT,
        pushed=torch.zeros(frames - 1, objects, dtype=torch.bool) if pushed is None else pushed,
        reach=0.1,
    )


def thrown(frames: int, acceleration: float) -> torch.Tensor:
    """(T, 1, 3): thrown up from the origin at 1 m/s, half as fast sideways."""
    t = torch.arange(frames, dtype=torch.float64) * DT
    return torch.stack([0.5 * t, 0 * t, t + acceleration * t**2 / 2], -1)[:, None]


def test_free_flight_drifts_by_what_gravity_is_wrong() -> None:
    gravity = (0.0, 0.0, -5.0)
    # To rounding: positions of about 1 divided by dt^2.
    assert momentum_drift(motion(thrown(6, -5.0), (2.0,), gravity)) == pytest.approx(0, abs=1e-12)
    assert momentum_drift(motion(thrown(6, -4.0), (2.0,), gravity)) == pytest.approx(1.0, rel=1e-12)


def collision(other: float) -> torch.Tensor:
    """(20, 2, 3): one flies at 1 m/s into another at rest, from frame 9 on it goes back at 0.6 m/s, the other flies on
    at ``other``. Their boxes are within reach in frame 9 alone."""
    k = torch.arange(20, dtype=torch.float64)
    later = (k - 9).clamp_min(0) * DT
    first = -1.0 + DT * k.clamp_max(9) - 0.6 * later
    x = torch.stack([first, -0.01 + other * later], -1)
    return torch.stack([x, 0 * x, 0 * x], -1)


def test_collisions_conserve_the_momentum_of_both() -> None:
    # 1 kg loses 1.6 kg m/s, which 3 kg gain.
    assert momentum_drift(motion(collision(1.6 / 3), (1.0, 3.0))) == pytest.approx(0, abs=1e-12)


def test_collision_without_recoil_drifts() -> None:
    # Alone in frames 0 to 7 and 11 to 19, together in 8 to 10; a flight of n frames is n - 2 steps of dt.
    momentum, mass_time = 1.6, 4.0 * (6 + 7 + 1) * DT
    assert momentum_drift(motion(collision(0.0), (1.0, 3.0))) == pytest.approx(momentum / mass_time, rel=1e-12)


def test_objects_at_walls_or_pushed_are_not_free() -> None:
    still = torch.zeros(5, 1, 3)
    gravity = (0.0, 0.0, -5.0)
    assert momentum_drift(motion(still, (1.0,), gravity)) == pytest.approx(5.0)
    for place in ((0.0, 0.0, -0.95), (1.9, 0.0, 0.0), (-1.9, 0.0, 0.0), (0.0, 1.95, 0.0), (0.0, -1.95, 0.0)):
        assert math.isnan(momentum_drift(motion(still + torch.tensor(place), (1.0,), gravity)))
    assert math.isnan(momentum_drift(motion(still, (1.0,), gravity, torch.ones(4, 1, dtype=torch.bool))))


def test_what_rests_on_an_object_on_the_floor_is_not_free() -> None:
    """The lowest of three stands on the floor; the others on it and on each other. A fourth is far away and flies."""
    places = torch.tensor([[0.0, 0.0, -0.95], [0.0, 0.0, -0.9], [0.0, 0.0, -0.82], [1.0, 1.0, 0.5]])
    pile = places.expand(5, 4, 3).clone()
    t = torch.arange(5) * DT
    pile[:, 3, 2] -= 2.5 * t**2
    # float32 positions: 6e-8 / dt^2
    assert momentum_drift(motion(pile, (1.0,) * 4, (0.0, 0.0, -5.0))) == pytest.approx(0, abs=1e-4)


def test_energy_is_constant_in_free_flight() -> None:
    energy = mechanical_energy(motion(thrown(6, -5.0), (2.0,), (0.0, 0.0, -5.0)))
    torch.testing.assert_close(energy, energy[:1].expand(5), rtol=1e-12, atol=1e-12)


def test_energy_gained_by_hand() -> None:
    """1 kg goes from 1 to 2 m/s and back, 3 kg rest: (4 - 1) / 2 J over 4 kg."""
    x = torch.tensor([0.0, 0.1, 0.3, 0.4], dtype=torch.float64)
    centers = torch.zeros(4, 2, 3, dtype=torch.float64)
    centers[:, 0, 0], centers[:, 1, 1] = x, 1.0
    assert energy_gain(motion(centers, (1.0, 3.0))) == pytest.approx(1.5 / 4)
    assert energy_gain(motion(-centers[:2].flip(0), (1.0, 3.0))) == 0
    assert math.isnan(energy_gain(motion(centers, (1.0, 3.0), pushed=torch.ones(3, 2, dtype=torch.bool))))


def test_spin_has_energy() -> None:
    """Keypoints 0.02 m from the centre, which begin to turn by 0.3 rad a step, move on chords of 2 r sin(0.15)."""
    angles = torch.tensor([0.0, 0.0, 0.3, 0.6], dtype=torch.float64)
    turned = torch.stack([angles.cos(), angles.sin(), 0 * angles], -1)[:, None, None] * DUMBBELL[:, :1]
    spinning = motion(torch.zeros(4, 1, 3), (1.0,), shape=turned)
    chord = 2 * 0.02 * math.sin(0.15) / DT
    assert energy_gain(spinning) == pytest.approx(chord**2 / 2, rel=1e-9)


def test_floor_penetration_by_hand() -> None:
    centers = torch.zeros(3, 2, 3, dtype=torch.float64)
    centers[:, 0, 2] = torch.tensor([-0.9, -1.25, -1.5], dtype=torch.float64)  # the floor is at -1
    assert floor_penetration(motion(centers, (1.0, 1.0))).tolist() == pytest.approx([0, 0.25, 0.5])


def test_final_speed_is_of_the_last_five_steps() -> None:
    """One of two objects flies at 2 m/s since frame 2, so that of all squares the mean is half of 4."""
    centers = torch.zeros(8, 2, 3, dtype=torch.float64)
    centers[2:, 1, 0] = 0.2 * torch.arange(6)
    assert final_speed(motion(centers, (1.0, 1.0))) == pytest.approx(math.sqrt(2.0))
    assert final_speed(motion(centers[:2], (1.0, 1.0))) == 0


def test_reach_is_that_of_the_grid() -> None:
    assert contact_reach(0.0) == 0.1
    assert contact_reach(0.0625) == 0.1875
