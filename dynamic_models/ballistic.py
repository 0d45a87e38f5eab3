"""The comparison that needs no learning: free flight, stopped at the floor."""

import torch

from dynamic_models.state import SceneState


class Ballistic(torch.nn.Module):
    """Every object keeps its shape and orientation and flies freely until its lowest keypoint reaches the floor; there
    it stays. It passes through walls and other objects. A ``DynamicsModel``."""

    def forward(self, state: SceneState, num_frames: int, frame_dt: float) -> torch.Tensor:
        """World keypoints (B, num_frames, O, P, 3), metres; masked entries are 0."""
        mask = state.mask[..., None]
        velocity = (state.velocities * mask).sum(-2) / mask.sum(-2).clamp_min(1)  # (B, O, 3)
        gravity = state.gravity[:, None]
        lowest = state.points[..., 2].masked_fill(~state.mask, torch.inf).amin(-1)
        landing = _time_to_fall(lowest - state.walls[:, None, 4], velocity[..., 2], gravity[..., 2])
        times = torch.arange(num_frames).to(state.points) * frame_dt
        times = torch.minimum(times[:, None], landing[:, None])[..., None]  # (B, T, O, 1)
        moved = velocity[:, None] * times + gravity[:, None] * times**2 / 2
        return (state.points[:, None] + moved[..., None, :]) * mask[:, None]


def _time_to_fall(height: torch.Tensor, speed: torch.Tensor, gravity: torch.Tensor) -> torch.Tensor:
    """First t >= 0 with height + speed t + gravity t^2 / 2 = 0, seconds; a very long time if there is none."""
    never = torch.full_like(height, 1e9)
    discriminant = speed**2 - 2 * gravity * height
    # The root in the form that does not cancel for small gravity: t = 2 h / (sqrt(D) - v).
    denominator = discriminant.clamp_min(0).sqrt() - speed
    reached = (discriminant >= 0) & (denominator > 0) & height.isfinite()
    t = 2 * height / torch.where(reached, denominator, torch.ones_like(denominator))
    return torch.where(reached, t.clamp_min(0), torch.where(height <= 0, torch.zeros_like(t), never))
