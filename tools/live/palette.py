"""Hold what a person may drop into a scene: objects of the catalogue, and files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dataset.catalog import ObjectEntry, all_objects
from dataset.layout import Layout
from dataset.objects.builtin_objects import SOLIDS
from dataset.scenes.capture_settings import CaptureSettings
from dataset.scenes.scene_files import Scene, read_scene
from dataset.scenes.scene_objects import SceneObject
from dataset.shapes.solid import object_gaussians
from gaussians.files.splats.ply import read_ply
from gaussians.stage.errors import InputError

GAP = 0.05
"""Least distance of what is dropped from what is there, metres."""
_STEP = 0.1  # metres from place to place that are tried


class Palette:
    """A ``Palette`` is what a person may drop into a scene.

    Args:
        layout: of the dataset, whose objects are taken where it has them.
        files: files of Gaussians, or directories of scenes.
        count: number of Gaussians of a builtin object that the dataset lacks.

    Raises:
        InputError: one of the files is missing.
    """

    def __init__(self, layout: Layout, files: Sequence[Path] = (), count: int = 4000) -> None:
        self.layout, self._count = layout, count
        self._entries = {
            entry.name: entry
            for entry in all_objects(layout)
            if entry.name in SOLIDS or layout.object_ply(entry.name).is_file()
        }
        for file in files:
            if not file.exists():
                raise InputError(f"{file}: no such file or directory")
        self._files = {file.name if file.name not in self._entries else str(file): file for file in files}

    @property
    def names(self) -> tuple[str, ...]:
        """Return what each can be asked for by, files first."""
        return (*self._files, *self._entries)

    def scene(self, name: str) -> Scene:
        """Return one of them as a scene of its own, metres.

        Raises:
            InputError: there is none of that name, or its file is damaged.
        """
        if name in self._files:
            return read_scene(self._files[name], self.layout, capture=CaptureSettings())
        if name not in self._entries:
            raise InputError(f"{name}: expected one of {', '.join(self.names)}")
        return self._catalogue_object(self._entries[name])

    def _catalogue_object(self, entry: ObjectEntry) -> Scene:
        file = self.layout.object_ply(entry.name)
        if file.is_file():
            stored = read_ply(file)
        else:
            stored = object_gaussians(
                SOLIDS[entry.name](), self._count, entry.scale, np.random.default_rng(entry.index)
            )
        gaussians = stored.transformed(scale=entry.scale)
        described = SceneObject(
            label=0,
            name=entry.name,
            index=entry.index,
            count=len(gaussians),
            youngs_modulus=entry.youngs_modulus,
            density=entry.density,
            material=entry.material,
        )
        return Scene(replace(gaussians, labels=torch.zeros(len(gaussians), dtype=torch.int32)), (described,))


Box = tuple[torch.Tensor, torch.Tensor]
"""The lower and upper corner (3,), metres, of a cuboid along the axes."""


def free_place(body: Box, others: Sequence[Box], over: torch.Tensor, room: Box) -> torch.Tensor | None:
    """Return the translation (3,), metres, that brings a body above all others, at or next to a place.

    Of the places in reach that are inside the room the nearest one is taken.

    Args:
        body: what is moved.
        others: what it must not touch from above.
        over: (2,), x and y of the place, metres.
        room: what it has to stay in.

    Returns:
        None: it fits nowhere.
    """
    half, center = (body[1] - body[0]) / 2, (body[0] + body[1]) / 2
    reach = torch.arange(-10, 11) * _STEP
    offsets = torch.cartesian_prod(reach, reach)
    for offset in offsets[offsets.square().sum(1).argsort(stable=True)]:
        place = over + offset
        low, high = place - half[:2], place + half[:2]
        if (low < room[0][:2]).any() or (high > room[1][:2]).any():
            continue
        below = [
            float(other[1][2])
            for other in others
            if (low - GAP < other[1][:2]).all() and (high + GAP > other[0][:2]).all()
        ]
        bottom = max([float(room[0][2]), *below]) + GAP
        if bottom + 2 * float(half[2]) <= float(room[1][2]):
            return torch.tensor([*place.tolist(), bottom + float(half[2])]) - center
    return None
