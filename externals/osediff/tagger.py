"""Say what a picture shows in words: RAM (Zhang et al. 2023), which DAPE (Wu et al. 2024) adapts to blurred ones."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate

from externals.checkpoint_files import require
from gaussians.stage.errors import InputError
from gaussians.stage.shape_checks import check_shape

if TYPE_CHECKING:
    from externals.osediff.tag_network import TagNetwork

_SIZE = 384  # pixels that pictures are squeezed to
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours


class Tagger:
    """A ``Tagger`` names what a picture shows, as OSEDiff's prompts do."""

    def __init__(self, network: "TagNetwork", names: list[str], thresholds: torch.Tensor) -> None:
        self._network = network
        self._names = names
        self._thresholds = thresholds

    @classmethod
    def from_checkpoint(cls, root: str | Path, device: torch.device | str) -> "Tagger":
        """Read the networks and the tags from a folder.

        Args:
            root: holds ram_swin_large_14m.pth, DAPE.pth, ram_tag_list.txt and ram_tag_list_threshold.txt.

        Raises:
            InputError: a library or a file is missing, or a file is damaged or of another network.
        """
        require("transformers")
        from externals.osediff.tag_network import TagNetwork

        root = Path(root)
        names, path = _lines(root / "ram_tag_list.txt"), root / "ram_tag_list_threshold.txt"
        try:
            thresholds = torch.tensor([float(line) for line in _lines(path)])
        except ValueError as error:
            raise InputError(f"{path}: expected a number in each line: {error}") from None
        network = TagNetwork.from_checkpoint(root)
        tags = len(network.label_embed)
        for file, found in ((root / "ram_tag_list.txt", len(names)), (path, len(thresholds))):
            if found != tags:
                raise InputError(f"{file}: expected {tags} lines, one for each tag, found {found}")
        return cls(network.float().to(device), names, thresholds.to(device))

    @torch.inference_mode()
    def tags(self, image: torch.Tensor) -> list[str]:
        """Return the names of what a picture (H, W, 3) uint8 shows, in the list's order."""
        check_shape("image", image, "H", "W", 3)
        rgb = image.to(self._thresholds.device).permute(2, 0, 1)[None].float() / 255
        rgb = interpolate(rgb, size=(_SIZE, _SIZE), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values).to(rgb)[:, None, None] for values in (_MEAN, _STD))
        network = self._network
        logits = network.decode(network.project(network.encode((rgb - mean) / std)))[0]
        return [self._names[k] for k in (logits.sigmoid() > self._thresholds).nonzero()[:, 0].tolist()]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: expected RAM's list of tags") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
