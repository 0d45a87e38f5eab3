"""This module models the nine builtin backgrounds: table tops, what stands at their rims, and surroundings."""

from collections.abc import Callable

import numpy as np

from dataset.shapes import props
from dataset.shapes.patterns import Pattern, Rgb, choose
from dataset.shapes.scenery import Background, Patch, Prop
from dataset.shapes.surfaces import (
    bricks,
    carpet,
    fence,
    gingham,
    grass,
    hedge,
    lawn,
    marble,
    painted,
    paving,
    plain,
    planks,
    sand,
    sea,
    shoji,
    tatami,
    tiles,
)

_TOP = 2.7
_ROOM = 6.0
_FLOOR = -0.75


def _top(pattern: Pattern, edge: Rgb, half: float = _TOP) -> list[Patch]:
    """Return a square table top with a front edge on each side."""
    patches = [Patch((0, 0, 0), (half, 0, 0), (0, half, 0), pattern, weight=9)]
    for side in range(4):
        c, s = round(np.cos(side * np.pi / 2)), round(np.sin(side * np.pi / 2))
        center = (half * c, half * s, -0.07)
        patches.append(Patch(center, (-half * s, half * c, 0), (0, 0, 0.07), plain(edge), weight=1.5))
    return patches


def _round_top(pattern: Pattern, edge: Rgb, radius: float = 2.95) -> list[Patch]:
    top = Patch(
        *((0, 0, 0), (radius, 0, 0), (0, radius, 0)),
        pattern=pattern,
        weight=9,
        shape=lambda p: np.linalg.norm(p, axis=1) - radius,
    )
    rim = []
    half = radius * np.tan(np.pi / 32)
    for angle in np.arange(32) * np.pi / 16:
        c, s = np.cos(angle), np.sin(angle)
        rim.append(Patch((radius * c, radius * s, -0.06), (-half * s, half * c, 0), (0, 0, 0.06), plain(edge), 1.5))
    return [top, *rim]


def _walls(pattern: Pattern, height: float, level: float, half: float) -> list[Patch]:
    """Return four walls, less dense above 2.4 m, of which the orbit sees little.

    The pattern has its origin at the foot of each wall's middle.
    """
    patches = []
    for bottom, top, weight in ((0.0, min(height, 2.4), 1.8), (2.4, height, 0.3)):
        for side in range(4 if top > bottom else 0):
            c, s = round(np.cos(side * np.pi / 2)), round(np.sin(side * np.pi / 2))
            middle = (bottom + top) / 2
            center = (half * c, half * s, level + middle)
            across, up = (half * s, -half * c, 0), (0, 0, (top - bottom) / 2)
            patches.append(Patch(center, across, up, _shifted(pattern, (0, middle)), weight))
    return patches


def _shifted(pattern: Pattern, offset: tuple[float, float]) -> Pattern:
    return lambda points: pattern(points + np.asarray(offset))


def _room(
    floor: Pattern, wall: Pattern, height: float = 3.2, level: float = _FLOOR, half: float = _ROOM
) -> list[Patch]:
    """Return the walls of a room, and its floor as far as a table does not hide it."""
    ground = Patch((0, 0, level), (half, 0, 0), (0, half, 0), floor, 0.6, lambda p: 1.9 - np.abs(p).max(1))
    return [ground, *_walls(wall, height, level, half)]


def _ground(pattern: Pattern, far_pattern: Pattern, wall: Pattern, height: float = 3.0) -> list[Patch]:
    """Return ground that reaches from the middle to the horizon, where its pattern is to have no small details."""
    near = Patch((0, 0, 0), (2.8, 0, 0), (0, 2.8, 0), pattern, weight=9)
    far = Patch(
        *((0, 0, -0.002), (8, 0, 0), (0, 8, 0)),
        pattern=far_pattern,
        weight=0.5,
        shape=lambda p: 2.76 - np.abs(p).max(1),
    )
    return [near, far, *_walls(wall, height, 0.0, 7.5)]


def table() -> Background:
    """Return an oak table in a living room."""
    top = _top(planks((0.82, 0.62, 0.38), (0.60, 0.40, 0.21), 0.45), (0.48, 0.31, 0.16))
    room = _room(carpet((0.62, 0.56, 0.50), (0.48, 0.42, 0.40)), painted((0.90, 0.85, 0.74), panel=(0.86, 0.84, 0.79)))
    return Background(
        [*top, *room],
        [
            Prop(props.mug((0.20, 0.45, 0.62)), 2.45, 0.9, turn=40),
            Prop(props.books(), -2.42, -1.2, turn=25),
            Prop(props.plant(), -2.4, 2.35),
            Prop(props.fruit((0.80, 0.14, 0.12)), 1.6, 2.5),
            Prop(props.fruit((0.55, 0.72, 0.18)), 1.95, 2.48),
            Prop(props.mug((0.85, 0.72, 0.35)), 1.2, -2.48, turn=160),
        ],
    )


def table0() -> Background:
    """Return a white marble table in a grey room."""
    room = _room(planks((0.56, 0.52, 0.50), (0.36, 0.33, 0.32), 0.6), painted((0.62, 0.66, 0.70), (0.95, 0.95, 0.95)))
    return Background(
        [*_top(marble, (0.70, 0.70, 0.70)), *room],
        [
            Prop(props.fruit((0.98, 0.58, 0.10)), -2.5, 0.6),
            Prop(props.fruit((0.98, 0.58, 0.10)), -2.45, 0.95),
            Prop(props.fruit((0.95, 0.82, 0.20)), -2.5, 1.4),
            Prop(props.candle(), 2.45, -1.9),
            Prop(props.candle(), 2.5, -1.45),
            Prop(props.plant((0.92, 0.92, 0.90)), 2.4, 2.4),
            Prop(props.books(), 0.2, -2.48, turn=90),
        ],
    )


def table1() -> Background:
    """Return a gingham cloth on a picnic table in a garden."""
    return Background(
        [*_top(gingham, (0.80, 0.40, 0.38)), *_room(lawn, hedge)],
        [
            Prop(props.basket(), -2.4, -2.3, turn=45),
            Prop(props.fruit((0.80, 0.14, 0.12)), -1.75, -2.5),
            Prop(props.fruit((0.56, 0.74, 0.18)), -1.4, -2.46),
            Prop(props.mug((0.97, 0.96, 0.92)), 2.46, 0.4, turn=70),
            Prop(props.fruit((0.98, 0.58, 0.10)), 2.4, 1.8),
            Prop(props.mug((0.25, 0.62, 0.55)), 0.6, 2.5, turn=10),
        ],
    )


def table2() -> Background:
    """Return a lawn with flowers and a picket fence."""
    bushes = [(4.2, 1.5), (-4.4, 2.6), (-3.0, -4.5), (2.2, -5.0), (5.0, -3.2), (-5.2, -1.2), (0.8, 5.2)]
    return Background(
        _ground(grass, lawn, fence),
        [
            *(Prop(props.bush(), x, y, turn=37.0 * i) for i, (x, y) in enumerate(bushes)),
            Prop(props.mushroom(), 2.5, 1.2),
            Prop(props.mushroom(), 2.62, 0.85),
            Prop(props.stone(), -2.5, 0.5),
            Prop(props.stone(), -0.9, 2.6, turn=70),
            Prop(props.mushroom(), -1.6, -2.6),
        ],
        prop_share=0.2,
    )


def table3() -> Background:
    """Return a round walnut table in a green study."""

    def walnut(points: np.ndarray) -> np.ndarray:
        radius = np.linalg.norm(points, axis=1)
        wood = planks((0.46, 0.28, 0.16), (0.25, 0.14, 0.08), 0.6, 4.0)(points)
        return choose(np.abs(radius - 2.55) < 0.04, (0.80, 0.62, 0.30), wood)

    room = _room(
        carpet((0.50, 0.12, 0.14), (0.30, 0.08, 0.10)),
        painted((0.14, 0.32, 0.26), (0.30, 0.18, 0.10), (0.34, 0.21, 0.12)),
    )
    return Background(
        [*_round_top(walnut, (0.20, 0.11, 0.06)), *room],
        [
            Prop(props.books(), 2.35, 0.9, turn=-40),
            Prop(props.books(), -2.35, -1.05, turn=70),
            Prop(props.candle(), -2.07, 1.95),
            Prop(props.mug((0.92, 0.90, 0.84)), 1.2, -2.35, turn=200),
            Prop(props.candle(), 2.6, 0.3),
        ],
    )


def table4() -> Background:
    """Return tatami mats between paper screens."""
    return Background(
        _ground(tatami, tatami, shoji),
        [
            Prop(props.mat_cushion((0.50, 0.14, 0.30)), 3.3, 0.4),
            Prop(props.mat_cushion((0.16, 0.26, 0.48)), -3.3, -0.6),
            Prop(props.mat_cushion((0.72, 0.54, 0.18)), 0.3, 3.4),
            Prop(props.mug((0.26, 0.36, 0.32)), 2.5, -1.4),
            Prop(props.plant((0.25, 0.25, 0.28)), -4.6, 4.4),
            Prop(props.stone(), 0.8, -2.6),
        ],
    )


def table5() -> Background:
    """Return a terrace of flagstones before brick walls."""
    pots = [(2.7, 2.7), (-2.8, 2.5), (2.9, -2.6), (-4.4, -3.9), (4.6, 0.2)]
    return Background(
        _ground(paving, paving, bricks),
        [
            *(Prop(props.plant(), x, y, turn=50.0 * i) for i, (x, y) in enumerate(pots)),
            Prop(props.stone(), -2.55, -0.6),
        ],
        prop_share=0.14,
    )


def table6() -> Background:
    """Return blue and white kitchen tiles."""
    room = _room(
        planks((0.80, 0.72, 0.60), (0.66, 0.56, 0.44), 0.5), painted((0.95, 0.88, 0.62), panel=(0.62, 0.78, 0.80))
    )
    return Background(
        [*_top(tiles, (0.85, 0.85, 0.84)), *room],
        [
            Prop(props.pot(), -2.3, 2.3, turn=30),
            Prop(props.fruit((0.96, 0.85, 0.16)), 2.5, 0.2),
            Prop(props.fruit((0.96, 0.85, 0.16)), 2.44, -0.2),
            Prop(props.fruit((0.82, 0.18, 0.12)), 0.9, 2.5),
            Prop(props.mug((0.90, 0.35, 0.28)), -1.1, -2.48, turn=120),
            Prop(props.basket(), 2.35, -2.3),
        ],
    )


def table7() -> Background:
    """Return a sandy beach by the sea."""
    return Background(
        _ground(sand, sand, sea),
        [
            Prop(props.beach_ball(), 2.75, 2.1),
            Prop(props.bucket(), -2.6, 1.6),
            Prop(props.starfish(), 2.5, -0.8, turn=20),
            Prop(props.starfish(), -1.2, -2.6, turn=-33),
            Prop(props.stone(), -3.6, -2.8),
            Prop(props.stone(), 4.3, -3.4, turn=80),
        ],
        prop_share=0.12,
    )


SCENERIES: dict[str, Callable[[], Background]] = {
    builder.__name__: builder for builder in (table, table0, table1, table2, table3, table4, table5, table6, table7)
}
