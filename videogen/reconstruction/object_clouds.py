"""Turn the labelled Gaussians of an optimisation into objects that can be simulated."""

import re
from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dataset.catalog import OBJECTS
from dataset.scenes.scene_objects import SceneObject
from gaussians.cameras import Cameras
from gaussians.representation import Gaussians
from videogen.reconstruction.completion.visual_hull import see_object, seen_through
from videogen.reconstruction.placement import FLOOR

_NEIGHBOURS = 6
_SPARSE = 4.0  # times the median distance to the neighbours
_SMALL = 0.05  # share of an object's Gaussians
_FAINTEST = 0.02  # opacity


def without_floaters(gaussians: Gaussians) -> Gaussians:
    """Return Gaussians without the faint ones, and without those of objects that float apart from the others.

    A Gaussian floats where its neighbours are several times farther than is usual in its object, or where it belongs to
    a cluster of few. What counts is local, so that a rope keeps its ends.
    """
    assert gaussians.labels is not None
    kept = (gaussians.opacities >= _FAINTEST).cpu().numpy()
    labels, means = gaussians.labels.cpu().numpy(), gaussians.means.double().cpu().numpy()
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(kept & (labels == label))
        kept[rows] = hold_together(means[rows])
    return gaussians[torch.from_numpy(kept).to(gaussians.device)]


def hold_together(points: np.ndarray) -> np.ndarray:
    """Return which points (N, 3) are in dense places and large clusters."""
    if len(points) <= _NEIGHBOURS:
        return np.ones(len(points), bool)
    distances, neighbours = cKDTree(points).query(points, _NEIGHBOURS + 1)
    reach = _SPARSE * np.median(distances[:, -1])
    dense = distances[:, _NEIGHBOURS // 2] <= reach
    rows, columns = np.nonzero((distances <= reach) & dense[:, None] & dense[neighbours])
    links = coo_array((np.ones(len(rows)), (rows, neighbours[rows, columns])), shape=(len(points),) * 2)
    _, cluster = connected_components(links, directed=False)
    sizes = np.bincount(cluster[dense], minlength=cluster.max() + 1)
    return dense & (sizes >= _SMALL * dense.sum())[cluster]


def strays(world: Gaussians, cameras: Cameras, count: int) -> torch.Tensor:
    """Return which Gaussians (N,) of objects are where pictures see past their object, or through to it.

    Few and faint as they are, objects would collide by them before they touch. An object that pictures see through
    everywhere, such as glass, has none.

    Args:
        world: Gaussians in the world, labelled 0 to ``count`` - 1, -1 for all else.
        cameras: those that took the pictures that the Gaussians look like, of their size.
        count: number of objects, of which each has Gaussians.
    """
    assert world.labels is not None
    found = torch.zeros_like(world.labels, dtype=torch.bool)
    for label in range(count):
        rows = torch.nonzero(world.labels == label).squeeze(1)
        through = seen_through(see_object(world, label, cameras, FLOOR), world.means[rows])
        found[rows] = through & ~through.all()
    return found


def described_objects(texts: Sequence[str], labels: torch.Tensor) -> list[SceneObject]:
    """Return what the prompts' texts say of the objects 0 to K-1, and how many Gaussians (N,) ``labels`` gives each.

    A text of the catalogue, such as "A rubber duck.", stands for that object and its material; others become names.
    """
    catalogue = {entry.prompt: entry for entry in OBJECTS}
    counts = torch.bincount(labels[labels >= 0].cpu().long(), minlength=len(texts)).tolist()
    objects = []
    for label, text in enumerate(texts):
        entry = catalogue.get(text)
        known = {}
        if entry is not None:
            known = {key: getattr(entry, key) for key in ("index", "youngs_modulus", "density", "material")}
        name = entry.name if entry is not None else _name(text) or f"object{label}"
        objects.append(SceneObject(label=label, name=name, count=counts[label], **known))
    return objects


def _name(text: str) -> str:
    """Return a text in small letters with underscores, without its article, as "rubber_duck"."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "_".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)
