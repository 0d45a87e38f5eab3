"""Measure whether a motion obeys physics, simulated or predicted; docs/metrics.md has the formulas.

Everything is taken from the positions of keypoints, so that all motions are measured alike, whoever made them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from dynamic_models.evaluation.penetration import Interior, penetration_depths
from dynamic_models.evaluation.support import unsupported
from dynamic_models.models.building_blocks.body_frame import centers

_LAST_STEPS = 5  # over which the final speed is a mean
_LEAST_REACH = 0.1  # metres: the distance at which objects of the published models begin to act on each other


@dataclass(frozen=True)
class Motion:
    """A ``Motion`` is one scene in motion, in float64.

    Attributes:
        positions: (T, O, P, 3), keypoints, metres; T >= 2.
        mask: (O, P), bool, which of them exist; every object has one.
        shares: (O, P), of their object's mass; 0 where masked.
        masses: (O,), kg.
        gravity: (3,), m/s^2.
        walls: (5,), x_min, x_max, y_min, y_max, floor, metres.
        frame_dt: seconds from frame to frame.
        pushed: (T - 1, O), bool, on which objects external forces act between two frames.
        reach: metres; things nearer than this may act on each other.
        dx: cell size of the simulation's grid, metres; 0 for unknown.
    """

    positions: torch.Tensor
    mask: torch.Tensor
    shares: torch.Tensor
    masses: torch.Tensor
    gravity: torch.Tensor
    walls: torch.Tensor
    frame_dt: float
    pushed: torch.Tensor
    reach: float
    dx: float = 0.0

    def centers(self) -> torch.Tensor:
        """Return the centre of mass of every object, (T, O, 3), metres."""
        return centers(self.positions, self.shares)

    def velocities(self) -> torch.Tensor:
        """Return mean velocities between frames, (T - 1, O, P, 3), m/s."""
        return self.positions.diff(dim=0) / self.frame_dt

    def boxes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the smallest and the largest coordinates (T, O, 3) of every object, metres."""
        missing = ~self.mask[..., None]
        low = self.positions.masked_fill(missing, torch.inf).amin(-2)
        return low, self.positions.masked_fill(missing, -torch.inf).amax(-2)


@dataclass(frozen=True)
class Plausibility:
    """A ``Plausibility`` says what a motion does that nature does not; NaN where a scene cannot tell.

    Attributes:
        momentum_drift: change of momentum that nothing explains, over mass and time, m/s^2.
        energy_gain: largest rise of the mechanical energy above that at the start, over mass, J/kg.
        interpenetration: depth of the deepest keypoint inside another object, mean over frames, metres.
        floor_penetration: depth of the deepest keypoint below the floor, mean over frames, metres.
        final_speed: root mean squared speed of keypoints over the last steps, m/s.
        unsupported: share of what lies still whose centre of mass is not over its support, see ``support``.
    """

    momentum_drift: float
    energy_gain: float
    interpenetration: float
    floor_penetration: float
    final_speed: float
    unsupported: float


def plausibility(motion: Motion, interiors: Sequence[Interior]) -> Plausibility:
    """Return all measures of one motion.

    Args:
        interiors: the insides of its objects, as they lie in frame 0.
    """
    depths = penetration_depths(motion.positions, motion.mask, interiors)
    return Plausibility(
        momentum_drift=momentum_drift(motion),
        energy_gain=energy_gain(motion),
        interpenetration=float(depths.mean()),
        floor_penetration=float(floor_penetration(motion).mean()),
        final_speed=final_speed(motion),
        unsupported=unsupported(
            motion.positions, motion.mask, motion.centers(), motion.frame_dt, float(motion.walls[4]), motion.dx
        ),
    )


def contact_reach(dx: float) -> float:
    """Return the distance at which things act on each other in a simulation with cells of ``dx`` metres, metres.

    Things act on each other where their quadratic B-splines, 1.5 cells to each side, share a node of the grid.
    """
    return max(_LEAST_REACH, 3 * dx)


def momentum_drift(motion: Motion) -> float:
    """Return the change of momentum that gravity does not explain, m/s^2, of clusters of objects that nothing touches.

    Objects form a cluster where one's box comes within ``reach`` of the other's, in this frame or in one next to it:
    what they do to each other does not change the momentum of both. A cluster counts while none of its objects is
    within ``reach`` of a wall or pushed.
    """
    centers = motion.centers()
    connected = _connected(_boxes_touch(motion))
    free = ~(connected & _exposed(motion)[:, None]).any(-1)
    drift, total = 0.0, 0.0
    for members, first, last in _free_flights(connected, free):
        if last - first < 2:
            continue
        masses = motion.masses[list(members), None]
        center = (masses * centers[first : last + 1, list(members)]).sum(1) / masses.sum()
        speeds = center.diff(dim=0) / motion.frame_dt
        time = (last - first - 1) * motion.frame_dt
        unexplained = speeds[-1] - speeds[0] - motion.gravity * time
        drift += float(masses.sum() * unexplained.norm())
        total += float(masses.sum()) * time
    return drift / total if total else float("nan")


def _boxes_touch(motion: Motion) -> torch.Tensor:
    """Return whether two boxes are within reach of each other in a frame or in one next to it, (T, O, O), bool."""
    low, high = motion.boxes()
    apart = (low[:, :, None] - high[:, None] > motion.reach).any(-1)
    touch = ~(apart | apart.mT)
    # One more frame on either side, so that a cluster lasts through the shortest collision.
    spread = touch.clone()
    spread[1:] |= touch[:-1]
    spread[:-1] |= touch[1:]
    return spread


def _connected(touch: torch.Tensor) -> torch.Tensor:
    """Return whether two objects touch, directly or through others, (T, O, O), bool."""
    connected = touch.double()
    for _ in range(int(touch.shape[-1]).bit_length()):
        connected = (connected @ connected).clamp_max(1)
    return connected > 0


def _exposed(motion: Motion) -> torch.Tensor:
    """Return which objects are near a wall or the floor, or pushed in the step before or after, (T, O), bool."""
    low, high = motion.boxes()
    x_min, x_max, y_min, y_max, floor = motion.walls
    gaps = [low[..., 0] - x_min, x_max - high[..., 0], low[..., 1] - y_min, y_max - high[..., 1], low[..., 2] - floor]
    near = torch.stack(gaps).amin(0) < motion.reach
    never = motion.pushed.new_zeros(1, motion.pushed.shape[1])
    return near | torch.cat([never, motion.pushed]) | torch.cat([motion.pushed, never])


def _free_flights(connected: torch.Tensor, free: torch.Tensor) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Yield members, first and last frame of every cluster, while it is free and no object joins or leaves."""
    begun: dict[tuple[int, ...], int] = {}
    for frame in range(len(free) + 1):
        now = set()
        if frame < len(free):
            rows = connected[frame][free[frame]].tolist()
            now = {tuple(i for i, member in enumerate(row) if member) for row in rows}
        for members in sorted(begun.keys() - now):
            yield members, begun.pop(members), frame - 1
        begun |= dict.fromkeys(now - begun.keys(), frame)


def mechanical_energy(motion: Motion) -> torch.Tensor:
    """Return the kinetic energy of all keypoints and the potential energy of the centres, (T - 1,), J/kg.

    Energies are those half-way between two frames; in free flight their sum is constant to rounding. What is stored in
    deformed objects is not seen.
    """
    kinetic = centers(motion.velocities().square().sum(-1, keepdim=True) / 2, motion.shares).squeeze(-1)
    middles = motion.centers()
    potential = -(middles[1:] + middles[:-1]) / 2 @ motion.gravity
    return ((kinetic + potential) * motion.masses).sum(-1) / motion.masses.sum()


def energy_gain(motion: Motion) -> float:
    """Return the largest rise of the mechanical energy above its first value, J/kg; NaN where external forces do work.

    Objects begin undeformed, so what they store is taken from this energy, and no more than that can come back.
    """
    if motion.pushed.any():
        return float("nan")
    energy = mechanical_energy(motion)
    return float((energy - energy[0]).amax())


def floor_penetration(motion: Motion) -> torch.Tensor:
    """Return how far below the floor the deepest keypoint is, (T,), metres."""
    low, _ = motion.boxes()
    return (motion.walls[4] - low[..., 2].amin(-1)).clamp_min(0)


def final_speed(motion: Motion) -> float:
    """Return the root mean squared speed of keypoints over the last steps, m/s."""
    squared = motion.velocities()[-_LAST_STEPS:].square().sum(-1)
    return float(squared[:, motion.mask].mean().sqrt())
