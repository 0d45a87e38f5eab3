"""Small live worlds: objects that a model without forces of its own moves, and that fly freely."""

from dataset.config import Config
from dynamic_models.data.scene_state import World
from dynamic_models.models.checkpoints import CheckpointInfo
from dynamic_models.models.registry import build_model
from tests.videogen.small_scene import SETTINGS, two_clouds
from tools.live.live_world import LiveWorld

DT = 0.02
CONFIG = Config(g=(0.0, 0.0, -5.0), n_grid=64, frame_dt=DT)
WALLS = World(walls=(-1.94, 1.94, -1.94, 1.94, -0.94))


def free_fall() -> LiveWorld:
    """A world in which nothing but gravity and pushes acts."""
    info = CheckpointInfo(settings=SETTINGS, num_keypoints=64, frame_dt=DT, world=WALLS)
    return LiveWorld(two_clouds(), "0_a_b", build_model(SETTINGS), info, CONFIG)
