from .data.scene_state import SceneState, World, mean_pushes
from .data.windows import SimulatedScene, load_scene, load_scenes
from .evaluation.metrics import TrajectoryErrors, trajectory_errors
from .models.ballistic import Ballistic
from .models.checkpoints import CheckpointInfo, load_checkpoint, save_checkpoint
from .models.interface import DynamicsModel, FrameModel
from .models.keypoint_prediction import PredictedKeypoints, predict_keypoints
from .models.registry import MODELS, build_model, default_checkpoint
from .models.rollout import Rollout

__all__ = [
    "MODELS",
    "Ballistic",
    "CheckpointInfo",
    "DynamicsModel",
    "FrameModel",
    "PredictedKeypoints",
    "Rollout",
    "SceneState",
    "SimulatedScene",
    "TrajectoryErrors",
    "World",
    "build_model",
    "default_checkpoint",
    "load_checkpoint",
    "load_scene",
    "load_scenes",
    "mean_pushes",
    "predict_keypoints",
    "save_checkpoint",
    "trajectory_errors",
]
