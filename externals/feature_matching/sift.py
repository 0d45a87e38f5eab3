"""Match pictures by SIFT, with OpenCV."""

from typing import Any

import cv2
import numpy as np
import torch

from externals.feature_matching.matcher import Matcher, Matches, grey

_MOST = 4096
_RATIO = 0.8  # Lowe 2004, section 7.1: of wrong matches 90 % have more, of right ones 5 %
_FEWEST = 8  # for which a fundamental matrix says something
_DISTANCE = 2.0  # pixels, from the line of the other point
_CONFIDENCE, _ITERATIONS = 0.999, 10_000


class Sift(Matcher):
    """A ``Sift`` matches scale-invariant points (Lowe 2004) whose descriptors are each other's nearest and stand out.

    Of these it keeps those that one fundamental matrix explains, as it does of any rigid scene (RANSAC, with the
    scores of MAGSAC++, Barath et al. 2020). Descriptors are compared as RootSIFT (Arandjelović and Zisserman 2012).
    """

    def _features(self, image: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
        # Without the precise upscaling all points lie a quarter of a pixel too far right and down.
        detector = cv2.SIFT.create(_MOST, enable_precise_upscale=True)
        detected, descriptors = detector.detectAndCompute(grey(image).cpu().numpy(), None)
        points = np.array([point.pt for point in detected], np.float32).reshape(-1, 2)
        if descriptors is None:
            descriptors = np.zeros((0, 128), np.float32)
        return points, torch.nn.functional.normalize(torch.from_numpy(descriptors), p=1.0, dim=1).sqrt()

    def _match(self, features0: Any, features1: Any) -> Matches:
        (points0, descriptors0), (points1, descriptors1) = features0, features1
        chosen0, chosen1, scores = _outstanding(descriptors0, descriptors1)
        pairs = np.c_[points0[chosen0.numpy()], points1[chosen1.numpy()]]
        # A point may have several directions.
        pairs, rows = np.unique(pairs, axis=0, return_index=True)
        points0, points1, scores = pairs[:, :2].copy(), pairs[:, 2:].copy(), scores[torch.from_numpy(rows)]
        kept = np.zeros(len(points0), bool)
        if len(points0) >= _FEWEST:
            _, inliers = cv2.findFundamentalMat(points0, points1, cv2.USAC_MAGSAC, _DISTANCE, _CONFIDENCE, _ITERATIONS)
            if inliers is not None:
                kept = inliers[:, 0].astype(bool)
        return Matches.of_pixels(
            torch.from_numpy(points0[kept]), torch.from_numpy(points1[kept]), scores[torch.from_numpy(kept)]
        )


def _outstanding(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return rows of descriptors that are each other's nearest, with none nearly as near, and 1 - the ratio."""
    if len(first) < 2 or len(second) < 2:
        nothing = torch.zeros(0, dtype=torch.long)
        return nothing, nothing, torch.zeros(0)
    distances = torch.cdist(first, second)
    two, nearest = distances.topk(2, dim=1, largest=False)
    ratios = two[:, 0] / two[:, 1].clamp_min(1e-12)
    rows = torch.arange(len(first))
    kept = (ratios < _RATIO) & (distances.argmin(0)[nearest[:, 0]] == rows)
    return rows[kept], nearest[kept, 0], 1 - ratios[kept]
