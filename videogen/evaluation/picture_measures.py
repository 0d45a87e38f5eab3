"""Measure how far predicted pictures, masks and bodies are from true ones."""

import numpy as np
import torch

from dataset.mpm.lattice import Lattice
from gaussians.representation import Gaussians

_CELLS = Lattice(n_grid=200)  # 2 cm a side, somewhat more than Gaussians are apart


def mask_iou(masks: torch.Tensor, truth: torch.Tensor, num_objects: int) -> torch.Tensor:
    """Return the intersection over union of each object's pixels, NaN where an object shows in neither mask.

    Args:
        masks, truth: (H, W) uint8, 0 for none, else an object's label + 1.

    Returns:
        (num_objects,) float64, on the CPU.
    """
    ours, true = (_pixels(mask, num_objects) for mask in (masks, truth))
    union = (ours | true).sum((1, 2)).double()
    return ((ours & true).sum((1, 2)) / union).cpu()  # 0 / 0 is NaN


def mask_centers(masks: torch.Tensor, num_objects: int) -> torch.Tensor:
    """Return the mean position (u, v) of each object's pixels, NaN where it shows in none.

    Args:
        masks: (H, W) uint8, 0 for none, else an object's label + 1.

    Returns:
        (num_objects, 2) float64, pixels, on the CPU.
    """
    shown = _pixels(masks, num_objects).double()
    count = shown.sum((1, 2))
    v, u = (torch.arange(size, dtype=torch.float64, device=masks.device) + 0.5 for size in masks.shape)
    sums = torch.stack([(shown.sum(1) * u).sum(1), (shown.sum(2) * v).sum(1)], 1)
    return (sums / count[:, None]).cpu()


def _pixels(masks: torch.Tensor, num_objects: int) -> torch.Tensor:
    """Return which pixels show each object, (num_objects, H, W)."""
    return masks == torch.arange(1, num_objects + 1, device=masks.device)[:, None, None]


class MassCenters:
    """A ``MassCenters`` tells where the centres of mass of moving objects are.

    The Gaussians that an object has at the start in a cell of 2 cm share its volume, as particles of a simulation do.
    So surfaces that are described by more Gaussians than others weigh no more for that.

    Args:
        rest: the objects at the start, with labels, metres.
        num_objects: number of objects.

    Raises:
        ValueError: there are no labels.
    """

    def __init__(self, rest: Gaussians, num_objects: int) -> None:
        if rest.labels is None:
            raise ValueError("rest: expected labels")
        self._rows = torch.nonzero(rest.labels >= 0).squeeze(1)
        self._labels = rest.labels[self._rows].long()
        volumes = np.zeros(len(self._rows))
        labels, positions = self._labels.cpu().numpy(), rest.means[self._rows].double().cpu().numpy()
        for label in range(num_objects):
            rows = labels == label
            volumes[rows] = _CELLS.particle_volumes(positions[rows])
        self._volumes = torch.from_numpy(volumes).to(rest.device)
        self._totals = self._sums(self._volumes[:, None], num_objects)

    def of(self, means: torch.Tensor) -> torch.Tensor:
        """Return the centre of each object, (num_objects, 3) float64, metres, on the CPU.

        Args:
            means: (N, 3), all Gaussians of the scene, in the order in which they were at the start.
        """
        weighted = self._volumes[:, None] * means[self._rows].double()
        return (self._sums(weighted, len(self._totals)) / self._totals).cpu()

    def _sums(self, values: torch.Tensor, num_objects: int) -> torch.Tensor:
        sums = torch.zeros(num_objects, values.shape[1], dtype=values.dtype, device=values.device)
        return sums.index_add_(0, self._labels, values)
