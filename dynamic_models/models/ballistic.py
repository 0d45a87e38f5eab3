"""Predict free flight that ends on the floor, the comparison that needs no learning."""

import torch

from dynamic_models.data.scene_state import SceneState


class Ballistic(torch.nn.Module):
    """A ``Ballistic`` is a ``DynamicsModel`` in which objects fly freely and stay where they land.

    An object keeps its shape and orientation until its lowest keypoint reaches the floor; there it stays. It passes
    through walls and other objects.
    """

    def forward(
        self, scene: SceneState, num_frames: int, frame_dt: float, pushes: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Predict world keypoints, see ``DynamicsModel``; torques do nothing."""
        if pushes is not None and pushes.any():
            return self._pushed(scene, frame_dt, pushes)
        mask = scene.mask[..., None]
        velocity, gravity = _mean_velocity(scene), scene.gravity[:, None]
        landing = _time_to_fall(_height(scene.points, scene), velocity[..., 2], gravity[..., 2])
        times = torch.arange(num_frames).to(scene.points) * frame_dt
        times = torch.minimum(times[:, None], landing[:, None])[..., None]  # (B, T, O, 1)
        moved = velocity[:, None] * times + gravity[:, None] * times**2 / 2
        return (scene.points[:, None] + moved[..., None, :]) * mask[:, None]

    def _pushed(self, scene: SceneState, frame_dt: float, pushes: torch.Tensor) -> torch.Tensor:
        """Predict frame by frame, each with a constant acceleration; what lands stays."""
        velocity, points, frames = _mean_velocity(scene), scene.points, [scene.points]
        landed = torch.zeros_like(velocity[..., 0], dtype=torch.bool)
        for push in pushes.unbind(1):
            acceleration = scene.gravity[:, None] + push[..., :3]
            landing = _time_to_fall(_height(points, scene), velocity[..., 2], acceleration[..., 2])
            time = landing.clamp_max(frame_dt).masked_fill(landed, 0)[..., None]
            points = points + (velocity * time + acceleration * time**2 / 2)[..., None, :]
            velocity = velocity + acceleration * frame_dt
            landed = landed | (landing <= frame_dt)
            frames.append(points)
        return torch.stack(frames, 1) * scene.mask[:, None, ..., None]


def _mean_velocity(scene: SceneState) -> torch.Tensor:
    """Return the mean velocity (B, O, 3) of each object's points, m/s."""
    mask = scene.mask[..., None]
    return (scene.velocities * mask).sum(-2) / mask.sum(-2).clamp_min(1)


def _height(points: torch.Tensor, scene: SceneState) -> torch.Tensor:
    """Return the height (B, O) of each object's lowest point over the floor, metres."""
    return points[..., 2].masked_fill(~scene.mask, torch.inf).amin(-1) - scene.walls[:, None, 4]


def _time_to_fall(height: torch.Tensor, speed: torch.Tensor, gravity: torch.Tensor) -> torch.Tensor:
    """Return the first t >= 0 with height + speed t + gravity t^2 / 2 = 0, seconds; a very long time if none is."""
    never = torch.full_like(height, 1e9)
    discriminant = speed**2 - 2 * gravity * height
    # This form of the root, t = 2 h / (sqrt(D) - v), does not cancel for small gravity.
    denominator = discriminant.clamp_min(0).sqrt() - speed
    reached = (discriminant >= 0) & (denominator > 0) & height.isfinite()
    t = 2 * height / torch.where(reached, denominator, torch.ones_like(denominator))
    return torch.where(reached, t.clamp_min(0), torch.where(height <= 0, torch.zeros_like(t), never))
