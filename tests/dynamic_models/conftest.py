"""Toy scenes: balls that fall and bounce, written as trajectories like the simulator's."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dataset.layout import Layout
from gaussians.files.trajectory_format import Frame, TrajectoryMeta, TrajectoryObject, Walls
from gaussians.files.trajectory_writer import TrajectoryWriter

FLOOR, GRAVITY, FRAME_DT = -0.94, -5.0, 0.02
BALL = {"youngs_modulus": 8e5, "nu": 0.3, "density": 600.0, "mass": 20.0, "volume": 0.03}


def ball(count: int, generator: torch.Generator, radius: float = 0.2) -> torch.Tensor:
    """Points (count, 3) inside a ball about the origin."""
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return directions * radius * torch.rand(count, 1, generator=generator) ** (1 / 3)


def bounce(
    center: torch.Tensor, velocity: torch.Tensor, radius: float, frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres and velocities (frames, 3) of a ball that bounces on the floor with restitution 0.5, in 1 ms steps."""
    x, v, h = center.double().clone(), velocity.double().clone(), 1e-3
    centers, velocities = [], []
    for step in range(round((frames - 1) * FRAME_DT / h) + 1):
        if step % round(FRAME_DT / h) == 0:
            centers.append(x.clone())
            velocities.append(v.clone())
        v[2] += h * GRAVITY
        x += h * v
        if x[2] < FLOOR + radius and v[2] < 0:
            v[2] *= -0.5
            v[:2] *= 0.9
            x[2] = FLOOR + radius
    return torch.stack(centers).float(), torch.stack(velocities).float()


def write_toy_scene(
    path: Path,
    seed: int,
    objects: int = 2,
    frames: int = 50,
    count: int = 300,
    fields: tuple[str, ...] = ("pos", "vel"),
) -> None:
    """A trajectory directory with ``objects`` balls side by side, of ``count`` Gaussians each."""
    generator = torch.Generator().manual_seed(seed)
    radius = 0.2
    shapes, motions = [], []
    for i in range(objects):
        place = torch.tensor([0.6 * i - 0.3 * (objects - 1), 0.0, 0.0]) + 0.2 * torch.rand(3, generator=generator) - 0.1
        place[2] = -0.65 + 0.5 * torch.rand((), generator=generator)
        push = torch.randn(3, generator=generator) * torch.tensor([0.1, 0.3, 0.3])
        shapes.append(ball(count, generator, radius))
        motions.append(bounce(place, push, radius, frames))
    meta = TrajectoryMeta(
        frame_dt=FRAME_DT,
        substep_dt=1e-3,
        frame_count=frames,
        dx=0.02,
        gravity=(0.0, 0.0, GRAVITY),
        walls=Walls(x=(-1.94, 1.94), y=(-1.94, 1.94), floor=FLOOR),
        objects=[TrajectoryObject(name="ball", label=i, index=0, count=count, **BALL) for i in range(objects)],
    )
    labels = torch.arange(objects).repeat_interleave(count).int()
    total = objects * count
    opacities, sh = torch.ones(total), torch.zeros(total, 1, 3)
    with TrajectoryWriter(path, meta, opacities, sh, labels, fields=fields) as writer:
        for k in range(frames):
            means = torch.cat([shape + centers[k] for shape, (centers, _) in zip(shapes, motions, strict=True)])
            velocities = torch.cat([v[k].expand(count, 3) for _, v in motions])
            writer.write(Frame(means, velocities=velocities))
        writer.finish()


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset root with a group ``toy`` of three scenes and a group ``held`` of one, 30 frames each."""
    root = tmp_path_factory.mktemp("toy")
    layout = Layout(root)
    for seed in range(3):
        write_toy_scene(layout.mpm_dir("toy", f"{seed}_ball_ball"), seed, frames=30)
    write_toy_scene(layout.mpm_dir("held", "0_ball_ball"), 7, frames=30)
    return root


@pytest.fixture(scope="session")
def toy_scene_writer() -> Callable[..., None]:
    return write_toy_scene


@pytest.fixture
def ball_points() -> torch.Tensor:
    """(2000, 3) inside a ball of radius 0.2 m about the origin."""
    return ball(2000, torch.Generator().manual_seed(0))
