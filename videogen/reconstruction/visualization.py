"""Draw what a reconstruction found: masks over pictures, cameras around objects, renderings beside pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError
from videogen.reconstruction.posing.posed_pictures import PosedPictures

_MOST = 8  # pictures in a sheet
_GAP = 2  # pixels
_OVER = 0.5  # opacity of masks
_POINTS = 1500  # of each object
_AXES = 0.15  # of the cameras' distance


def write_visualization(
    folder: Path,
    seen: PosedPictures,
    held: PosedPictures | None,
    labels: torch.Tensor,
    gaussians: Gaussians,
    world: Gaussians,
    cameras: Cameras,
    names: Sequence[str],
) -> list[Path]:
    """Write masks.png, renderings.png and cameras.png, and return their paths.

    Args:
        folder: where to.
        seen: pictures that the Gaussians were made from.
        held: pictures that were left out, shown first.
        labels: (N, H, W), of the seen pictures, 0 for no object.
        gaussians: the Gaussians in the frame of the pictures' cameras.
        world: the same in the world, labelled.
        cameras: all cameras, in the world.
        names: of the objects.

    Raises:
        InputError: a file cannot be written.
    """
    sheets = {"masks": _sheet(_masked(seen, labels)), "renderings": _sheet(_renderings(gaussians, seen, held))}
    paths = []
    for name, sheet in sheets.items():
        paths.append(folder / f"{name}.png")
        with atomic_path(paths[-1]) as temporary:
            Image.fromarray(sheet).save(temporary, "PNG")
    paths.append(folder / "cameras.png")
    with atomic_path(paths[-1]) as temporary:
        _draw_cameras(temporary, world, cameras, names)
    return paths


def palette(count: int) -> torch.Tensor:
    """Return distinct colours (count, 3), 0 to 1."""
    hues = torch.arange(count) * 0.618 % 1
    return (0.5 + 0.5 * torch.cos(2 * torch.pi * (hues[:, None] - torch.tensor([0, 1 / 3, 2 / 3])))).clamp(0, 1)


def _masked(seen: PosedPictures, labels: torch.Tensor) -> list[list[np.ndarray]]:
    """Return rows of a picture and the same with its objects coloured."""
    colors = palette(max(1, int(labels.max())))
    rows = []
    for row in _spread(len(seen)):
        picture, shown = seen.images[row].cpu().float() / 255, labels[row].cpu().long()
        over = torch.where((shown > 0)[..., None], colors[(shown - 1).clamp_min(0)], picture)
        rows.append([_bytes(picture), _bytes((1 - _OVER) * picture + _OVER * over)])
    return rows


@torch.no_grad()
def _renderings(gaussians: Gaussians, seen: PosedPictures, held: PosedPictures | None) -> list[list[np.ndarray]]:
    """Return rows of a picture, the rendering from its camera, and four times their difference; held-out ones first."""
    rows = []
    for pictures in (held, seen):
        for row in _spread(len(pictures)) if pictures is not None else []:
            assert pictures is not None
            picture = pictures.images[row].float() / 255
            drawn = rasterize(gaussians, pictures.cameras[row : row + 1]).rgb[0].clamp(0, 1)
            rows.append([_bytes(picture), _bytes(drawn), _bytes((4 * (drawn - picture).abs()).clamp(0, 1))])
    return rows


def _spread(count: int) -> list[int]:
    """Return the numbers of at most ``_MOST`` of ``count`` pictures, evenly spaced."""
    return sorted({round(k) for k in np.linspace(0, count - 1, min(count, _MOST)).tolist()})


def _bytes(picture: torch.Tensor) -> np.ndarray:
    return np.asarray((255 * picture).round().to(torch.uint8).cpu().numpy())


def _sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Return pictures (H, W, 3) of one size in rows, with a gap between."""
    bordered = [
        [np.pad(picture, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for picture in row] for row in rows
    ]
    return np.concatenate([np.concatenate(row, 1) for row in bordered])


def _draw_cameras(path: Path, world: Gaussians, cameras: Cameras, names: Sequence[str]) -> None:
    try:
        from matplotlib.figure import Figure  # slow to import, and needed only here
    except ImportError:
        raise InputError("--visualize: needs matplotlib: pip install matplotlib") from None

    assert world.labels is not None
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.add_subplot(projection="3d")
    colors = palette(max(1, len(names)))
    for label, name in enumerate(names):
        points = world.means[world.labels == label].cpu()
        points = points[:: 1 + len(points) // _POINTS]
        axes.scatter(*points.T.numpy(), s=1, color=tuple(colors[label].tolist()), label=name)
    viewmats, positions = cameras.viewmats.cpu(), cameras.positions.cpu()
    length = _AXES * (positions - positions.mean(0)).norm(dim=1).max().clamp_min(1e-6)
    for row, color in enumerate(("red", "green", "blue")):  # right, down, forward
        axes.quiver(*positions.T.numpy(), *(length * viewmats[:, row, :3]).T.numpy(), color=color, linewidth=0.8)
    axes.text(*positions[0].tolist(), "first")
    axes.set(xlabel="x (m)", ylabel="y (m)", zlabel="z (m)")
    axes.set_aspect("equal")
    if names:
        axes.legend(markerscale=6)
    figure.savefig(path, format="png", dpi=120)
