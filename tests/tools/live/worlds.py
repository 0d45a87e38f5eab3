"""Small live worlds: objects that a model without forces of its own moves, and that fly freely."""

from dataclasses import replace

import torch

from dataset.config import Config
from dataset.scenes.scene_files import Scene
from dataset.scenes.scene_objects import SceneObject
from dynamic_models.data.scene_state import World
from dynamic_models.models.checkpoints import CheckpointInfo
from dynamic_models.models.registry import build_model
from gaussians.representation import Gaussians
from tests.videogen.small_scene import SETTINGS, cloud
from tools.live.live_world import LiveWorld

DT = 0.02
CONFIG = Config(g=(0.0, 0.0, -5.0), n_grid=64, frame_dt=DT)
WALLS = World(walls=(-1.94, 1.94, -1.94, 1.94, -0.94))


def two_clouds() -> Scene:
    """A scene of two objects, one above the other."""
    parts = [cloud((-0.15, 0, -0.3), 0), cloud((0.15, 0, 0.3), 1)]
    labels = torch.arange(2, dtype=torch.int32).repeat_interleave(120)
    objects = tuple(SceneObject(label=i, name=name, youngs_modulus=1e5, density=500.0) for i, name in enumerate("ab"))
    return Scene(replace(Gaussians.cat(parts), labels=labels), objects)


def free_fall() -> LiveWorld:
    """A world in which nothing but gravity and pushes acts."""
    info = CheckpointInfo(settings=SETTINGS, num_keypoints=64, frame_dt=DT, world=WALLS)
    return LiveWorld(two_clouds(), "0_a_b", build_model(SETTINGS), info, CONFIG)
