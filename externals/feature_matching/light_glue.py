"""Match pictures by LightGlue and ALIKED or DISK, with kornia, from files that are there: nothing is downloaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from externals.checkpoint_files import load_strictly, read_checkpoint, require
from externals.feature_matching.matcher import Matcher, Matches, colored

_MOST = 2048
_DESCRIPTOR = 128
_LAYERS = 9
# Of points and descriptors, and of LightGlue for them.
_FILES = {
    "aliked": ("aliked-n16.pth", "aliked_lightglue.pth"),
    "disk": ("depth-save.pth", "disk_lightglue.pth"),
}


class LightGlue(Matcher):
    """A ``LightGlue`` (Lindenberger et al. 2023) matches the points of ALIKED (Zhao et al. 2023) or DISK (2020)."""

    def __init__(self, extractor: Any, network: Any, device: torch.device | str, **settings: Any) -> None:
        """See ``from_checkpoint``; ``settings`` go to the extractor along with each picture."""
        self.extractor = extractor.to(device)
        self.network = network.to(device)
        self.device = device
        self.settings = settings

    @staticmethod
    def from_checkpoint(
        folder: str | Path, device: torch.device | str, features: Literal["aliked", "disk"] = "aliked"
    ) -> "LightGlue":
        """Read ``aliked-n16.pth`` and ``aliked_lightglue.pth``, or ``depth-save.pth`` and ``disk_lightglue.pth``.

        Raises:
            InputError: one is missing, damaged or another model's, or kornia is not installed.
        """
        kornia = require("kornia.feature")
        of_points, of_matches = (Path(folder) / name for name in _FILES[features])
        if features == "aliked":
            settings = {}
            extractor = kornia.ALIKED("aliked-n16", max_num_keypoints=_MOST)
            tensors = {"dkd.hw_grid": extractor.dkd.hw_grid} | read_checkpoint(of_points)
            load_strictly(extractor, tensors, of_points, what="ALIKED")
        else:
            settings = {"n": _MOST, "pad_if_not_divisible": True}
            extractor = kornia.DISK()
            load_strictly(extractor, read_checkpoint(of_points, "extractor"), of_points, what="DISK")
        network = kornia.LightGlue(None, input_dim=_DESCRIPTOR)
        tensors = {"confidence_thresholds": network.confidence_thresholds} | _renamed(read_checkpoint(of_matches))
        load_strictly(network, tensors, of_matches, what=f"LightGlue for {features}")
        return LightGlue(extractor, network, device, **settings)

    def _features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        height, width = image.shape[:2]
        picture = colored(image).to(self.device).permute(2, 0, 1)[None].float() / 255
        found = self.extractor(picture, **self.settings)[0]
        return {
            "keypoints": found.keypoints[None],
            "descriptors": found.descriptors[None],
            "image_size": torch.tensor([[width, height]], device=self.device),
        }

    def _match(self, features0: dict[str, torch.Tensor], features1: dict[str, torch.Tensor]) -> Matches:
        found = self.network({"image0": features0, "image1": features1})
        first, second = found["matches"][0].unbind(1)
        return Matches.of_pixels(
            features0["keypoints"][0, first], features1["keypoints"][0, second], found["scores"][0]
        )


def _renamed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return LightGlue's tensors by the library's names, which the authors have given a common prefix since."""
    renamed = {}
    for name, tensor in tensors.items():
        for kind in ("self_attn", "cross_attn"):
            for layer in range(_LAYERS):
                if name.startswith(f"{kind}.{layer}."):
                    name = name.replace(f"{kind}.{layer}", f"transformers.{layer}.{kind}", 1)
        renamed[name] = tensor
    return renamed
