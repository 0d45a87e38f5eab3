"""This module makes coloured bodies of signed distance fields, and turns them into Gaussians."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from dataset.shapes.covering import ITERATIONS, SAMPLES_PER_CELL, SurfaceSamples, cover_surface, fill_volume
from dataset.shapes.fields import Field, smooth_union, union
from dataset.shapes.sampling import FieldSampler
from gaussians.representation import Gaussians

Rgb = tuple[float, float, float]
Colour = Rgb | Callable[[np.ndarray], np.ndarray]
"""One colour, 0 to 1, or a function from points (N, 3) to colours (N, 3)."""

INTERIOR_SPACING = 1.6
"""Ratio of the distance of neighbours inside a body to that on its surface.

Looks come from the surface, but a simulation needs particles inside."""

_LIGHT = np.array([0.12, -0.28, 0.95]) / np.linalg.norm([0.12, -0.28, 0.95])


@dataclass(frozen=True)
class Part:
    """Gives a field a colour: as a piece of a body, or as paint where the field is negative."""

    field: Field
    colour: Colour


@dataclass(frozen=True)
class Solid:
    """Describes a coloured body, lengths in metres.

    Attributes:
        parts: the pieces; a point has the colour of the piece nearest to it.
        paints: colours put on top, later ones over earlier ones.
        blend: width of the fillets between the parts, metres.
        gloss: strength of the baked highlight, 0 to 1.
        reach: the body lies inside [-reach, reach]^3, metres.
        extent: largest extent that the body is to have in a scene, metres; None: as modelled.
    """

    parts: Sequence[Part]
    paints: Sequence[Part] = ()
    blend: float = 0.0
    gloss: float = 0.0
    reach: float = 0.4
    extent: float | None = None

    @property
    def field(self) -> Field:
        fields = [part.field for part in self.parts]
        return smooth_union(self.blend, *fields) if self.blend and len(fields) > 1 else union(*fields)

    def colours(self, points: np.ndarray) -> np.ndarray:
        """Return the colours of points (N, 3) of the surface without light: (N, 3), 0 to 1."""
        nearest = np.argmin([part.field(points) for part in self.parts], axis=0)
        colours = np.empty_like(points)
        for index, part in enumerate(self.parts):
            _paint(colours, points, nearest == index, part.colour)
        for paint in self.paints:
            _paint(colours, points, paint.field(points) < 0, paint.colour)
        return colours


def _paint(colours: np.ndarray, points: np.ndarray, where: np.ndarray, colour: Colour) -> None:
    if where.any():
        colours[where] = colour(points[where]) if callable(colour) else colour


def solid_gaussians(solid: Solid, count: int, rng: np.random.Generator) -> Gaussians:
    """Return ``count`` Gaussians, flat ones on the surface of ``solid`` and round ones inside, evenly spaced."""
    sampler = FieldSampler(solid.field, solid.reach, rng)
    area, volume = sampler.area_and_volume()
    surface_count = surface_share(count, area, volume)
    surface = _lit_samples(solid, sampler, SAMPLES_PER_CELL * surface_count, area)
    shell = cover_surface(surface, surface_count, ITERATIONS, rng)
    if surface_count == count:
        return shell
    depth = 0.5 * np.sqrt(area / surface_count)
    points, inside = sampler.interior(SAMPLES_PER_CELL * (count - surface_count), depth)
    return Gaussians.cat([shell, fill_volume(points, inside, count - surface_count, surface, rng)])


def object_gaussians(solid: Solid, count: int, scale: float, rng: np.random.Generator) -> Gaussians:
    """Return ``count`` Gaussians of ``solid`` as objects are stored: centred, at its size divided by ``scale``."""
    gaussians = solid_gaussians(solid, count, rng)
    low, high = gaussians.means.min(0).values, gaussians.means.max(0).values
    longest = float((high - low).max())
    factor = (solid.extent or longest) / longest / scale
    return gaussians.transformed(translation=-factor * (low + high) / 2, scale=factor)


def surface_share(count: int, area: float, volume: float) -> int:
    """Return how many of ``count`` Gaussians go to the surface.

    With spacing h these are area / h^2. Below a skin of h / 2, with INTERIOR_SPACING h as spacing, there are inner
    volume / spacing^3.
    """

    def surplus(h: float) -> float:
        inner = max(volume - 0.5 * h * area, 0.0)
        return area / h**2 + inner / (INTERIOR_SPACING * h) ** 3 - count

    finest = np.sqrt(area / count)
    spacing = brentq(surplus, finest, 100 * finest) if surplus(finest) > 0 else finest
    return min(count, max(1, round(area / spacing**2)))


def surface_samples(solid: Solid, count: int, rng: np.random.Generator) -> SurfaceSamples:
    """Return ``count`` even random samples of the surface with lit colours."""
    sampler = FieldSampler(solid.field, solid.reach, rng)
    return _lit_samples(solid, sampler, count, sampler.area_and_volume()[0])


def _lit_samples(solid: Solid, sampler: FieldSampler, count: int, area: float) -> SurfaceSamples:
    points, normals = sampler.surface(count)
    return SurfaceSamples(points, normals, _lit(solid, solid.field, points, normals), area)


def soft_light(normals: np.ndarray) -> np.ndarray:
    """Return how bright surfaces with unit ``normals`` (N, 3) are under a soft light from above and in front: (N,)."""
    return 0.66 + 0.4 * (0.5 + 0.5 * normals @ _LIGHT) ** 1.3


def _lit(solid: Solid, field: Field, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return colours (N, 3) under a soft light from above, darker in creases, with a highlight on glossy bodies."""
    light = soft_light(normals)
    for reach in (0.02, 0.05):
        light *= 1 - 0.3 * np.clip(1 - field(points + reach * normals) / reach, 0, 1)
    colours = solid.colours(points) * light[:, None]
    highlight = solid.gloss * np.clip(normals @ _LIGHT, 0, 1)[:, None] ** 40
    return np.clip(colours + (1 - colours) * highlight, 0, 1)
