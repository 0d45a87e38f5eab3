"""Which objects a trajectory shows, and which of its Gaussians are theirs."""

from dataclasses import dataclass

import numpy as np
import torch

from dataset.catalog import object_by_name
from dataset.layout import Layout
from dataset.scenes.scene_objects import label_rows, scene_objects
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError


@dataclass(frozen=True)
class TrajectoryObjects:
    """The objects of a trajectory.

    Attributes:
        names: by label.
        labels: (N,) int32, the object of each Gaussian, -1 for none.
    """

    names: tuple[str, ...]
    labels: torch.Tensor

    def prompts(self, layout: Layout) -> list[str]:
        """A text for each object: the catalogue's, or for one that came with a scene only its name."""
        return [_prompt(name, layout) for name in self.names]


def trajectory_objects(trajectory: TrajectoryReader, layout: Layout) -> TrajectoryObjects:
    """The objects that meta.json names or, of a published trajectory, its name, with the labels of its scene.

    Raises:
        InputError: nothing tells the objects apart.
    """
    path, meta, labels = trajectory.path, trajectory.meta, trajectory.labels
    if meta is not None and meta.objects and labels is not None:
        names = {entry.label: entry.name for entry in meta.objects}
        count = max([*names, int(labels.max())]) + 1
        return TrajectoryObjects(tuple(names.get(label, f"object{label}") for label in range(count)), labels)
    objects = scene_objects(path, layout)
    scene = layout.scene_dir(path.resolve().parent.name, path.resolve().name)
    segmented = [place for place in (path, scene) if (place / "segmentation.npy").is_file()]
    rows = label_rows((segmented or [path])[0], objects, trajectory.count)
    return TrajectoryObjects(tuple(entry.name for entry in objects), torch.from_numpy(rows.astype(np.int32)))


def _prompt(name: str, layout: Layout) -> str:
    try:
        return object_by_name(name, layout).prompt
    except InputError:
        return f"A {name}."
