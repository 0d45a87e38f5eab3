"""Say what every matcher of pictures' points takes and gives."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import torch


@dataclass(frozen=True)
class Matches:
    """A ``Matches`` holds M pairs of points that show the same, on the CPU.

    Attributes:
        points0, points1: (M, 2), x and y in pixels of each picture; the centre of the first pixel is (0.5, 0.5).
        scores: (M,), 0 to 1, the larger the surer; of one matcher they compare with each other alone.
    """

    points0: torch.Tensor
    points1: torch.Tensor
    scores: torch.Tensor

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def of_pixels(points0: torch.Tensor, points1: torch.Tensor, scores: torch.Tensor) -> "Matches":
        """Return matches of points as detectors count them: the centre of the first pixel is (0, 0)."""
        return Matches(points0.float().cpu() + 0.5, points1.float().cpu() + 0.5, scores.float().cpu())


class Matcher(ABC):
    """A ``Matcher`` finds points in two pictures that show the same."""

    def match(self, image0: torch.Tensor, image1: torch.Tensor) -> Matches:
        """Return the matches of two pictures, of any sizes.

        Args:
            image0, image1: (H, W) or (H, W, 3) uint8, grey or RGB.

        Raises:
            ValueError: a picture has another shape or type.
        """
        return self.match_all(image0, [image1])[0]

    def match_all(self, image: torch.Tensor, others: Iterable[torch.Tensor]) -> list[Matches]:
        """Return the matches of one picture with each of others; its own points are looked for once. See ``match``."""
        with torch.inference_mode():
            features = self._features(_checked(image))
            return [self._match(features, self._features(_checked(other))) for other in others]

    @abstractmethod
    def _features(self, image: torch.Tensor) -> Any:
        """Return the points of a picture and what describes them."""

    @abstractmethod
    def _match(self, features0: Any, features1: Any) -> Matches: ...


def _checked(image: torch.Tensor) -> torch.Tensor:
    if image.dtype != torch.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3)):
        raise ValueError(f"image: expected (H, W) or (H, W, 3) uint8, found {tuple(image.shape)} {image.dtype}")
    return image


def grey(image: torch.Tensor) -> torch.Tensor:
    """Return a grey picture (H, W) uint8 of a grey or RGB one, as OpenCV weighs the colours."""
    if image.ndim == 2:
        return image
    return torch.from_numpy(cv2.cvtColor(image.cpu().numpy(), cv2.COLOR_RGB2GRAY)).to(image.device)


def colored(image: torch.Tensor) -> torch.Tensor:
    """Return an RGB picture (H, W, 3) uint8 of a grey or RGB one."""
    return image[..., None].expand(-1, -1, 3) if image.ndim == 2 else image
