"""Match pictures by SuperPoint and SuperGlue, with transformers, from the published weights.

The library's networks are the published ones, but for three things that are done here: how channels belong to heads
in the files, which points are too near to borders, and pictures of different sizes and numbers of points.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from externals.checkpoint_files import load_strictly, read_checkpoint, require
from externals.feature_matching.matcher import Matcher, Matches, grey

SUPER_POINT = "superpoint_v1.pth"
_MOST = 1024
_LEAST_SCORE = 0.01  # of a point
_RADIUS, _BORDER = 4, 4  # pixels between points, and to the border
_ITERATIONS = 20
_LEAST_PROBABILITY = 0.4  # of a match
_CELL = 8  # pixels
_HEADS = 4

# Patterns of published names, and the library's.
_SUPER_POINT_NAMES = {
    r"conv(\d)(a|b)\.": lambda match: f"encoder.conv_blocks.{int(match[1]) - 1}.conv_{match[2]}.",
    r"convP(a|b)\.": r"keypoint_decoder.conv_score_\1.",
    r"convD(a|b)\.": r"descriptor_decoder.conv_descriptor_\1.",
}
_SUPER_GLUE_NAMES = {
    r"kenc\.encoder\.12\.": "keypoint_encoder.encoder.4.",
    r"kenc\.encoder\.(0|3|6|9)\.": lambda match: f"keypoint_encoder.encoder.{int(match[1]) // 3}.linear.",
    r"kenc\.encoder\.(1|4|7|10)\.": lambda match: f"keypoint_encoder.encoder.{int(match[1]) // 3}.batch_norm.",
    r"gnn\.layers\.(\d+)\.attn\.proj\.(0|1|2)\.": lambda match: (
        f"gnn.layers.{match[1]}.attention.self.{('query', 'key', 'value')[int(match[2])]}."
    ),
    r"gnn\.layers\.(\d+)\.attn\.merge\.": r"gnn.layers.\1.attention.output.dense.",
    r"gnn\.layers\.(\d+)\.mlp\.0\.": r"gnn.layers.\1.mlp.0.linear.",
    r"gnn\.layers\.(\d+)\.mlp\.1\.": r"gnn.layers.\1.mlp.0.batch_norm.",
    r"gnn\.layers\.(\d+)\.mlp\.3\.": r"gnn.layers.\1.mlp.1.",
    r"final_proj\.": "final_projection.final_proj.",
}


@dataclass(frozen=True)
class Keypoints:
    """A ``Keypoints`` holds the points of a picture.

    Attributes:
        points: (N, 2), x and y in pixels; the centre of the first pixel is (0, 0).
        scores: (N,), 0 to 1.
        descriptors: (N, 256), of unit length.
        size: height and width of the picture, pixels.
    """

    points: torch.Tensor
    scores: torch.Tensor
    descriptors: torch.Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Assignment:
    """An ``Assignment`` says which points of two pictures belong together.

    Attributes:
        similarity: (N0, N1), inner products of what describes the points.
        log_assignment: (N0 + 1, N1 + 1), logarithms of probabilities; the last row and column are for no match.
        matches0, matches1: (N0,) and (N1,), the other picture's point, or -1.
        scores0, scores1: (N0,) and (N1,), the probability of two points that choose each other, or 0.
    """

    similarity: torch.Tensor
    log_assignment: torch.Tensor
    matches0: torch.Tensor
    matches1: torch.Tensor
    scores0: torch.Tensor
    scores1: torch.Tensor


class SuperPoint:
    """A ``SuperPoint`` finds and describes points of a picture (DeTone et al. 2018)."""

    def __init__(self, network: Any) -> None:
        self.network = network

    @staticmethod
    def from_checkpoint(path: str | Path, device: torch.device | str) -> "SuperPoint":
        """Read the published file.

        Raises:
            InputError: it is missing, damaged or another model's, or transformers is not installed.
        """
        transformers = require("transformers")
        # Borders, and the number of points, are seen to here.
        settings = transformers.SuperPointConfig(
            keypoint_threshold=_LEAST_SCORE, nms_radius=_RADIUS, border_removal_distance=0, max_keypoints=-1
        )
        with torch.device("meta"):
            network = transformers.SuperPointForKeypointDetection(settings)
        tensors = _renamed(read_checkpoint(path), _SUPER_POINT_NAMES)
        load_strictly(network, tensors, path, what="SuperPoint")
        return SuperPoint(network.to(device))

    @torch.inference_mode()
    def detect(self, image: torch.Tensor) -> Keypoints:
        """Return at most 1,024 points of a grey picture (H, W) uint8: row by row, or if there were more, by score."""
        height, width = image.shape
        network = self.network
        encoded = network.encoder(image.to(network.device, torch.float32)[None, None] / 255)[0]
        points, scores = network.keypoint_decoder(encoded)
        seen = torch.tensor([width // _CELL * _CELL, height // _CELL * _CELL]).to(points)
        kept = ((points >= _BORDER) & (points < seen - _BORDER)).all(1)
        points, scores = points[kept], scores[kept]
        if len(points) > _MOST:
            scores, best = scores.topk(_MOST)
            points = points[best]
        return Keypoints(points, scores, network.descriptor_decoder(encoded, points), (height, width))


class SuperGlueNetwork:
    """A ``SuperGlueNetwork`` says which points of two pictures belong together (Sarlin et al. 2020)."""

    def __init__(self, network: Any) -> None:
        self.network = network

    @staticmethod
    def from_checkpoint(path: str | Path, device: torch.device | str) -> "SuperGlueNetwork":
        """Read a published file; see ``SuperPoint.from_checkpoint``."""
        transformers = require("transformers")
        with torch.device("meta"):
            network = transformers.SuperGlueForKeypointMatching(transformers.SuperGlueConfig())
        network.keypoint_detector = torch.nn.Identity()  # which has a file of its own
        tensors = _renamed(read_checkpoint(path), _SUPER_GLUE_NAMES)
        load_strictly(network, {name: _as_in_library(name, t) for name, t in tensors.items()}, path, what="SuperGlue")
        return SuperGlueNetwork(network.to(device))

    @torch.inference_mode()
    def assign(self, keypoints0: Keypoints, keypoints1: Keypoints) -> Assignment:
        """Return which points belong together, of pictures of any sizes and numbers of points."""
        from transformers.models.superglue.modeling_superglue import log_optimal_transport

        network = self.network
        states = [self._encoded(keypoints) for keypoints in (keypoints0, keypoints1)]
        for layer, kind in zip(network.gnn.layers, network.config.gnn_layers_types, strict=True):
            sources = states[::-1] if kind == "cross" else [None, None]
            states = [
                state + layer(state, encoder_hidden_states=source)[0]
                for state, source in zip(states, sources, strict=True)
            ]
        projected0, projected1 = (network.final_projection(state) for state in states)
        similarity = projected0 @ projected1.mT / network.config.hidden_size**0.5
        log_assignment = log_optimal_transport(similarity, network.bin_score, _ITERATIONS)[0]
        return Assignment(similarity[0], log_assignment, *_mutual(log_assignment[:-1, :-1]))

    def _encoded(self, keypoints: Keypoints) -> torch.Tensor:
        """Return descriptors (1, N, 256) that know where in the picture they are, and how sure."""
        height, width = keypoints.size
        middle = torch.tensor([width, height]).to(keypoints.points) / 2
        places = (keypoints.points - middle) / (0.7 * max(height, width))
        encoded: torch.Tensor = self.network.keypoint_encoder(places[None], keypoints.scores[None])[0]
        return keypoints.descriptors[None] + encoded


class SuperGlue(Matcher):
    """A ``SuperGlue`` matches SuperPoint's points, with the settings of the published system.

    Its weights are for academic, non-commercial research only.
    """

    def __init__(self, detector: SuperPoint, network: SuperGlueNetwork) -> None:
        self.detector = detector
        self.network = network

    @staticmethod
    def from_checkpoint(
        folder: str | Path, device: torch.device | str, scenes: Literal["indoor", "outdoor"] = "indoor"
    ) -> "SuperGlue":
        """Read ``superpoint_v1.pth`` and ``superglue_indoor.pth``, or ``_outdoor``, of a folder.

        Raises:
            InputError: one is missing, damaged or another model's, or transformers is not installed.
        """
        return SuperGlue(
            SuperPoint.from_checkpoint(Path(folder) / SUPER_POINT, device),
            SuperGlueNetwork.from_checkpoint(Path(folder) / f"superglue_{scenes}.pth", device),
        )

    def _features(self, image: torch.Tensor) -> Keypoints:
        return self.detector.detect(grey(image))

    def _match(self, features0: Keypoints, features1: Keypoints) -> Matches:
        if not len(features0.points) or not len(features1.points):
            return Matches(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0))
        assignment = self.network.assign(features0, features1)
        matched = assignment.matches0 >= 0
        others = features1.points[assignment.matches0[matched]]
        return Matches.of_pixels(features0.points[matched], others, assignment.scores0[matched])


def _renamed(tensors: Mapping[str, torch.Tensor], names: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return tensors by the library's names; names that no pattern fits stay, and are refused afterwards."""

    def renamed(name: str) -> str:
        for pattern, replacement in names.items():
            if re.match(pattern, name):
                return re.sub(pattern, replacement, name, count=1)
        return name

    return {renamed(name): tensor for name, tensor in tensors.items()}


def _as_in_library(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a published tensor of SuperGlue as the library has it.

    Convolutions of size 1 become matrices. In the files channel c belongs to head c mod 4, in the library to the head
    of its quarter.
    """
    if tensor.ndim == 3:
        tensor = tensor.squeeze(2)
    if ".attention.self." in name:
        return tensor.unflatten(0, (-1, _HEADS)).transpose(0, 1).flatten(0, 1)
    if name.endswith(".attention.output.dense.weight"):
        return tensor.unflatten(1, (-1, _HEADS)).transpose(1, 2).flatten(1, 2)
    return tensor


def _mutual(log_probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return matches and scores of both pictures: of points that choose each other, with enough probability."""
    best0, best1 = log_probabilities.max(1), log_probabilities.max(0)
    mutual0 = best1.indices[best0.indices] == torch.arange(len(best0.indices), device=log_probabilities.device)
    mutual1 = best0.indices[best1.indices] == torch.arange(len(best1.indices), device=log_probabilities.device)
    scores0, scores1 = best0.values.exp().where(mutual0, 0), best1.values.exp().where(mutual1, 0)
    matches0 = best0.indices.where(scores0 > _LEAST_PROBABILITY, -1)
    matches1 = best1.indices.where(scores1 > _LEAST_PROBABILITY, -1)
    return matches0, matches1, scores0, scores1
