"""This module makes backgrounds of flat patches and small bodies, and turns them into Gaussians.

A background has z up, lengths in metres, and its table top at z = 0 around the origin.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dataset.shapes.covering import SurfaceSamples, cover_surface
from dataset.shapes.patterns import Pattern
from dataset.shapes.solid import Solid, surface_samples
from gaussians.numbers import Vector
from gaussians.representation import Gaussians
from gaussians.rotations import axis_rotation

ARENA = 2.3
"""Objects move inside [-ARENA, ARENA]^2, metres: there the table top has most of its Gaussians, and nothing stands."""

# One of this many Gaussians of a patch lies behind it, where it shows through the gaps between the others.
_BACKING = 8
_BACKING_DEPTH = 0.02
_SAMPLES_PER_CELL = 8
_ITERATIONS = 3


@dataclass(frozen=True)
class Patch:
    """Describes a flat rectangle with a pattern.

    Attributes:
        center: position of its centre, metres.
        half_u, half_v: vectors along half of each side, metres; the front is on the side of half_u x half_v.
        pattern: function that gives colours (N, 3) of points (N, 2), metres along u and v from the centre.
        weight: number of Gaussians per area, relative to the other patches.
        shape: the part that exists: negative there, for points (N, 2); all of it by default.
    """

    center: Vector
    half_u: Vector
    half_v: Vector
    pattern: Pattern
    weight: float = 1.0
    shape: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def area(self) -> float:
        return float(4 * np.linalg.norm(np.cross(self.half_u, self.half_v)))


@dataclass(frozen=True)
class Prop:
    """Describes a body that stands at (x, y), its lowest point at z, metres, turned by ``turn`` degrees about z."""

    solid: Solid
    x: float
    y: float
    z: float = 0.0
    turn: float = 0.0


@dataclass(frozen=True)
class Background:
    """Describes a table top with what lies around it."""

    patches: Sequence[Patch]
    props: Sequence[Prop] = ()
    prop_share: float = 0.16
    """Share of all Gaussians that the props get, 0 to 1."""


def background_gaussians(background: Background, count: int, rng: np.random.Generator) -> Gaussians:
    """Return ``count`` flat Gaussians on all surfaces of ``background``."""
    prop_count = round(background.prop_share * count) if background.props else 0
    parts = []
    if prop_count:
        samples = [surface_samples(prop.solid, 2_000, rng) for prop in background.props]
        for prop, sample, share in zip(background.props, samples, _split(prop_count, samples), strict=True):
            parts.append(_prop_gaussians(prop, sample, share, rng))
    weights = np.array([patch.area * patch.weight for patch in background.patches])
    for patch, share in zip(background.patches, _apportion(count - prop_count, weights), strict=True):
        parts.append(_patch_gaussians(patch, background.props, share, rng))
    return Gaussians.cat(parts)


def _split(count: int, samples: list[SurfaceSamples]) -> list[int]:
    return _apportion(count, np.array([sample.area for sample in samples]))


def _apportion(count: int, weights: np.ndarray) -> list[int]:
    """Split ``count`` in proportion to ``weights``, with at least one for each."""
    bounds = np.round(np.cumsum(weights) / weights.sum() * (count - len(weights))).astype(int)
    return [int(share) + 1 for share in np.diff(bounds, prepend=0)]


def _prop_gaussians(prop: Prop, sizing: SurfaceSamples, count: int, rng: np.random.Generator) -> Gaussians:
    samples = surface_samples(prop.solid, 10 * count, rng)
    gaussians = cover_surface(samples, count, _ITERATIONS, rng)
    offset = torch.tensor([prop.x, prop.y, prop.z - float(sizing.points[:, 2].min())], dtype=torch.float32)
    return gaussians.transformed(axis_rotation(2, prop.turn), offset)


def _patch_gaussians(patch: Patch, props: Sequence[Prop], count: int, rng: np.random.Generator) -> Gaussians:
    center, u, v = (np.asarray(vector, float) for vector in (patch.center, patch.half_u, patch.half_v))
    sides = np.array([np.linalg.norm(u), np.linalg.norm(v)])
    normal = np.cross(u, v) / sides.prod()
    flat = np.empty((0, 2))
    while len(flat) < _SAMPLES_PER_CELL * count:
        more = (2 * rng.random((2 * _SAMPLES_PER_CELL * count, 2)) - 1) * sides
        flat = np.concatenate([flat, more if patch.shape is None else more[patch.shape(more) < 0]])
    flat = flat[: _SAMPLES_PER_CELL * count]
    points = center + flat / sides @ np.stack([u, v])
    # Colours are light and shade too: a little darker far from the middle and under what stands there.
    light = 1 - 0.18 * np.clip(np.linalg.norm(points[:, :2], axis=1) / 7, 0, 1) ** 2
    if normal[2] > 0.9:
        for prop in props:
            away = np.linalg.norm(points - [prop.x, prop.y, prop.z], axis=1)
            light *= 1 - 0.45 * np.exp(-((away / (0.8 * prop.solid.reach)) ** 2))
    colours = np.clip(patch.pattern(flat) * light[:, None], 0, 1)
    samples = SurfaceSamples(points, np.broadcast_to(normal, points.shape), colours, patch.area)
    backing_count = count // _BACKING
    if backing_count == 0:
        return cover_surface(samples, count, _ITERATIONS, rng)
    front = cover_surface(samples, count - backing_count, _ITERATIONS, rng)
    backing = cover_surface(samples, backing_count, 1, rng)
    return Gaussians.cat([front, backing.transformed(translation=torch.from_numpy(-_BACKING_DEPTH * normal))])
