"""A small trajectory to render."""

from collections.abc import Callable
from pathlib import Path

import torch

from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_format import Frame, TrajectoryMeta, TrajectoryObject
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp

Render = Callable[..., Path]
FRAMES = 6
CONFIG = {"frame_dt": 0.04, "substep_dt": 1e-3, "g": [0, 0, -5], "init_radius": 4}


def write_trajectory(path: Path, fields: tuple[str, ...] = ("pos", "cov3D", "rot")) -> Path:
    """A red ball above the origin, sinking, and a blue one beside it at rest."""
    generator = torch.Generator().manual_seed(0)
    count = 200
    means = 0.2 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    labels = torch.arange(count, dtype=torch.int32) % 2
    means[labels == 1, 0] += 0.8
    red, blue = torch.tensor([1.7, -1.7, -1.7]), torch.tensor([-1.7, -1.7, 1.7])
    sh = torch.where(labels[:, None, None] == 0, red, blue).expand(count, 1, 3)
    objects = [
        TrajectoryObject(
            name=name,
            label=label,
            index=label,
            count=count // 2,
            youngs_modulus=1e5,
            nu=0.3,
            density=500,
            mass=1,
            volume=0.002,
        )
        for label, name in enumerate(("ball", "duck"))
    ]
    meta = TrajectoryMeta(
        frame_dt=0.04, substep_dt=1e-3, frame_count=FRAMES, dx=0.05, gravity=(0, 0, -5), objects=objects
    )
    with TrajectoryWriter(path, meta, torch.full((count,), 0.9), sh, labels, fields=fields) as writer:
        for k in range(FRAMES):
            moved = means.clone()
            moved[labels == 0, 2] -= 0.1 * k
            R = rotation_exp(torch.tensor([0.0, 0.0, 0.1 * k])).expand(count, 3, 3)
            covariances = torch.tensor([4e-4, 0, 0, 4e-4, 0, 4e-4]).expand(count, 6)
            writer.write(Frame(moved, covariances, R))
        writer.finish()
    return path


def write_wall(path: Path, sh: list[float]) -> None:
    wall = Gaussians(
        means=torch.tensor([[0.0, 0.0, -0.3]]),
        opacities=torch.tensor([0.99]),
        sh=torch.tensor([[sh]]),
        scales=torch.full((1, 3), 3.0),
        quaternions=torch.tensor([[1.0, 0, 0, 0]]),
    )
    write_ply(path, wall)
