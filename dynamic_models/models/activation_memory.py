"""Decide whether activations are kept until backpropagation needs them, or recomputed to save memory."""

import psutil
import torch

from dynamic_models.data.scene_state import SceneState
from dynamic_models.models.interface import FrameModel

SHARE_OF_FREE_MEMORY = {"cpu": 0.5, "cuda": 0.8}
"""The share of free memory that activations may take."""
LARGEST_ON_CPU = 2**32
"""Bytes, at most, for activations on a CPU: jobs on a cluster may use less than what is free."""


def exceeds_memory(model: FrameModel, scene: SceneState, num_frames: int, frame_dt: float) -> bool:
    """Return whether the activations of a rollout of ``num_frames`` take more memory than there is for them."""
    needed = model.activation_bytes(scene, frame_dt) * (num_frames - 1)
    return needed > min(model.activation_limit, memory_for_activations(scene.points.device))


def memory_for_activations(device: torch.device) -> float:
    """Return how many bytes of ``device`` activations may take now."""
    share = SHARE_OF_FREE_MEMORY[device.type]
    if device.type != "cuda":
        return min(LARGEST_ON_CPU, share * psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return share * (free + unused)
