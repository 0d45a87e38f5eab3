"""A tiny scene that tests predict the motion of."""

from dataclasses import replace

import torch

from dataset.scenes.scene_files import Scene
from dataset.scenes.scene_objects import SceneObject
from gaussians.representation import Gaussians

SETTINGS = {"dynamic_model": "ngff", "hidden_dim": 8, "num_layers": 1, "ode_method": "leapfrog", "step_size": 0.02}
FRAMES = 8


def cloud(center: tuple[float, float, float], seed: int, count: int = 120) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.tensor(center) + 0.1 * torch.randn(count, 3, generator=generator),
        opacities=torch.full((count,), 0.9),
        sh=torch.randn(count, 4, 3, generator=generator),
        scales=0.01 + 0.02 * torch.rand(count, 3, generator=generator),
        quaternions=torch.randn(count, 4, generator=generator),
    )


def two_clouds() -> Scene:
    """A scene of two objects, one above the other."""
    parts = [cloud((-0.15, 0, -0.3), 0), cloud((0.15, 0, 0.3), 1)]
    labels = torch.arange(2, dtype=torch.int32).repeat_interleave(120)
    objects = tuple(SceneObject(label=i, name=name, youngs_modulus=1e5, density=500.0) for i, name in enumerate("ab"))
    return Scene(replace(Gaussians.cat(parts), labels=labels), objects)
