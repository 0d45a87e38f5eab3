"""prompts.json: where each object is in the first view, and what to call it."""

from typing import Any

import torch

from gaussians.cameras import Cameras
from gaussians.representation import Gaussians

_NEAR = 0.01


def object_prompts(gaussians: Gaussians, cameras: Cameras, texts: list[str]) -> dict[str, list[Any]]:
    """A point, a box and a text for each object, in pixels of the first camera.

    The box holds the Gaussians' centres, clipped to the image. The point is the centre nearest to their mean, so
    that it lies on the object even if the object is hollow.

    Args:
        gaussians: the scene, with labels 0 to ``len(texts)`` - 1.
        texts: the prompt of each label.

    Returns:
        {"point": [[u, v]], "center_point": the same, "bbox": [[u0, v0, u1, v1]], "text": [str]}.
    """
    if gaussians.labels is None:
        raise ValueError("gaussians: expected labels")
    rotation, translation = cameras.viewmats[0, :3, :3], cameras.viewmats[0, :3, 3]
    limit = torch.tensor([cameras.width - 1.0, cameras.height - 1.0])
    points, boxes = [], []
    for label in range(len(texts)):
        local = gaussians.means[gaussians.labels == label] @ rotation.T + translation
        local = local[local[:, 2] > _NEAR] if len(local) else local
        if len(local) == 0:
            local = torch.tensor([[0.0, 0.0, 1.0]])  # behind the camera: the image centre
        pixels = (local @ cameras.Ks[0].T)[:, :2] / local[:, 2:]
        pixels = torch.minimum(pixels.clamp_min(0), limit)
        nearest = (pixels - pixels.mean(0)).norm(dim=1).argmin()
        points.append(pixels[nearest].tolist())
        boxes.append([*pixels.amin(0).tolist(), *pixels.amax(0).tolist()])
    return {"point": points, "center_point": points, "bbox": boxes, "text": texts}
