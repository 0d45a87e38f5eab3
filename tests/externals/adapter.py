"""Run each perception model on arrays, by the names of the goldens: published weights in, arrays out.

All goes through the models' own classes: the weights are written as the published checkpoint has them, and read,
renamed and checked as a user's are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from externals.feature_matching.super_glue import SUPER_POINT, Keypoints, SuperGlueNetwork, SuperPoint
from externals.pi3_splat import Pi3Reconstruction, Pi3Splat
from externals.pi3_splat.intrinsics import published_intrinsics
from externals.sam2 import ObjectPrompt, Sam2
from gaussians.rotations import matrix_to_quaternion, quaternion_to_matrix
from tests.externals import generation_targets

Arrays = dict[str, np.ndarray]
Weights = Mapping[str, Any]
"""Arrays by the published names of the tensors; of several networks such mappings, by the networks' names."""


def run(target: str, weights: Weights, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Return the outputs of a golden.

    Args:
        target: the golden's name, one of ``TARGETS``.
        weights: see ``Weights``.
        inputs: the golden's inputs, by its names.
    """
    if target not in TARGETS:
        raise ValueError(f"target: expected one of {', '.join(TARGETS)}, found {target!r}")
    return TARGETS[target](weights, inputs)


def as_tensors(weights: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return the arrays of a checkpoint as tensors."""
    return {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}


def write_pickle(path: Path, contents: object) -> Path:
    """Write a checkpoint as PyTorch pickles it, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(contents, path)
    return path


def write_safetensors(path: Path, weights: Mapping[str, np.ndarray]) -> Path:
    """Write a checkpoint in the format safetensors, and return its path."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(as_tensors(weights), path)
    return path


def pi3_splat(weights_path: str | Path, images: np.ndarray) -> Arrays:
    """Return what Pi3_splat published says of images (N, 3, H, W), 0 to 1, with M = N H W Gaussians.

    ``harmonics`` are in the camera's frame, ``scales`` fall from the largest to the smallest, at least 1e-4, and
    ``rotations`` are wxyz.
    """
    model = Pi3Splat.from_checkpoint(weights_path, "cpu")
    output = model.predict(torch.from_numpy(images))
    world = Pi3Reconstruction.of(output)
    gaussians = world.gaussians
    assert gaussians.scales is not None
    assert gaussians.quaternions is not None
    scales, order = gaussians.scales.sort(dim=1, descending=True)
    axes = quaternion_to_matrix(gaussians.quaternions).gather(2, order[:, None].expand(-1, 3, -1))
    axes[..., 2] *= torch.linalg.det(axes)[:, None].sign()
    outputs = {
        "points": world.points,
        "local_points": output.local_points,
        "conf": output.confidence_logits,
        "camera_poses": output.camera_to_worlds,
        "intrinsics": published_intrinsics(output.local_points),
        "means": gaussians.means,
        "covariances": gaussians.covariance(),
        "harmonics": output.gaussians.sh.flatten(0, 2).mT,
        "opacities": gaussians.opacities,
        "scales": scales.clamp_min(1e-4),
        "rotations": matrix_to_quaternion(axes),
    }
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def superpoint(weights: Weights, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Return the points of two grey pictures, and with SuperGlue's weights, too, which of them belong together."""
    with TemporaryDirectory() as folder:
        path = write_pickle(Path(folder) / SUPER_POINT, as_tensors(weights.get("superpoint", weights)))
        detector = SuperPoint.from_checkpoint(path, "cpu")
    keypoints = [detector.detect(torch.from_numpy(inputs[name])) for name in ("image0", "image1")]
    outputs = {}
    for number, found in enumerate(keypoints):
        outputs[f"keypoints{number}"] = found.points.numpy()
        outputs[f"scores{number}"] = found.scores.numpy()
        outputs[f"descriptors{number}"] = found.descriptors.T.numpy()
    if "superglue" in weights:
        outputs |= _assigned(weights["superglue"], *keypoints)
        del outputs["similarity"]
    return outputs


def superglue_features(weights: Weights, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Return which points of two pictures belong together."""
    keypoints = [
        Keypoints(
            points=torch.from_numpy(inputs[f"keypoints{number}"]),
            scores=torch.from_numpy(inputs[f"scores{number}"]),
            descriptors=torch.from_numpy(inputs[f"descriptors{number}"]).T,
            size=tuple(inputs[f"image_size{number}_hw"].tolist()),
        )
        for number in (0, 1)
    ]
    return _assigned(weights.get("superglue", weights), *keypoints)


def _assigned(weights: Mapping[str, np.ndarray], keypoints0: Keypoints, keypoints1: Keypoints) -> Arrays:
    with TemporaryDirectory() as folder:
        path = write_pickle(Path(folder) / "superglue_indoor.pth", as_tensors(weights))
        found = SuperGlueNetwork.from_checkpoint(path, "cpu").assign(keypoints0, keypoints1)
    return {
        "similarity": found.similarity.numpy(),
        "log_assignment": found.log_assignment.numpy(),
        "matches0": found.matches0.numpy(),
        "matches1": found.matches1.numpy(),
        "matching_scores0": found.scores0.numpy(),
        "matching_scores1": found.scores1.numpy(),
    }


def sam2_tiny(weights: Weights, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Return what SAM 2.1 says of frames (N, H, W, 3), of the object at a point and of that in a box of the first."""
    with TemporaryDirectory() as folder:
        path = write_pickle(Path(folder, "sam2.1_hiera_tiny.pt"), {"model": as_tensors(weights)})
        sam2 = Sam2.from_checkpoint(path)
    frames = torch.from_numpy(inputs["frames"])
    height, width = frames.shape[1:3]
    point = ObjectPrompt(0, points=((float(inputs["point"][0]), float(inputs["point"][1])),))
    u0, v0, u1, v1 = (float(side) for side in inputs["box"])
    features = sam2.encode(frames)
    followed = [
        sam2.follow(features, prompt, (width, height)) for prompt in (point, ObjectPrompt(0, box=(u0, v0, u1, v1)))
    ]
    logits = torch.stack([torch.stack([output.logits for output in outputs]) for outputs in followed], dim=1)
    fine, middle, coarse = (
        level[:, 0].T.reshape(-1, *[round(level.shape[0] ** 0.5)] * 2) for level in features.levels[0]
    )
    arrays = {
        "fpn0_sub": fine[:, ::32, ::32],
        "fpn1_sub": middle[:, ::16, ::16],
        "fpn2_sub": coarse[:, ::8, ::8],
        "low_res_logits_sub": logits[..., ::4, ::4],
        "video_res_logits": torch.nn.functional.interpolate(logits, (height, width), mode="bilinear"),
        "obj_ptr": torch.stack([torch.stack([output.pointer for output in outputs]) for outputs in followed], dim=1),
        "maskmem_frame0_obj1_sub": followed[0][0].memory[:, ::8, ::8],
    }
    return {name: array.numpy() for name, array in arrays.items()}


TARGETS: dict[str, Callable[[Weights, Mapping[str, np.ndarray]], Arrays]] = {
    "sam2_tiny": sam2_tiny,
    "superpoint": superpoint,
    "superglue_features": superglue_features,
    "diffsplat_mv_denoisers": generation_targets.diffsplat_mv_denoisers,
    "diffsplat_sd15_loop": generation_targets.diffsplat_sd15_loop,
    "diffsplat_gsrecon_geometry": generation_targets.diffsplat_gsrecon_geometry,
    "osediff_tiny": generation_targets.osediff_tiny,
    "ram_dape_tiny": generation_targets.ram_dape_tiny,
}
