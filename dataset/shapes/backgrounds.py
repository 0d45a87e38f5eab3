"""The nine builtin backgrounds: a table top, what stands at its rim, and the surroundings."""

from collections.abc import Callable

import numpy as np

from dataset.shapes import props
from dataset.shapes.patterns import Pattern, Rgb, blend, choose, hash_noise, near_random_points, smooth_noise
from dataset.shapes.scenery import Background, Patch, Prop

_TOP = 2.7
_ROOM = 6.0
_FLOOR = -0.75


def _top(pattern: Pattern, edge: Rgb, half: float = _TOP) -> list[Patch]:
    """A square table top with a front edge on each side."""
    patches = [Patch((0, 0, 0), (half, 0, 0), (0, half, 0), pattern, weight=9)]
    for side in range(4):
        c, s = round(np.cos(side * np.pi / 2)), round(np.sin(side * np.pi / 2))
        center = (half * c, half * s, -0.07)
        patches.append(Patch(center, (-half * s, half * c, 0), (0, 0, 0.07), _plain(edge), weight=1.5))
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
        rim.append(Patch((radius * c, radius * s, -0.06), (-half * s, half * c, 0), (0, 0, 0.06), _plain(edge), 1.5))
    return [top, *rim]


def _walls(pattern: Pattern, height: float, level: float, half: float) -> list[Patch]:
    """Four walls; the pattern has its origin at the foot of a wall's middle. The orbit sees little above 2.4 m."""
    patches = []
    for bottom, top, weight in ((0.0, min(height, 2.4), 1.3), (2.4, height, 0.3)):
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
    """Walls, and the floor as far as a table does not hide it."""
    ground = Patch((0, 0, level), (half, 0, 0), (0, half, 0), floor, 0.6, lambda p: 1.9 - np.abs(p).max(1))
    return [ground, *_walls(wall, height, level, half)]


def _ground(pattern: Pattern, wall: Pattern, height: float = 3.0) -> list[Patch]:
    """Ground that reaches from the middle to the horizon."""
    near = Patch((0, 0, 0), (2.8, 0, 0), (0, 2.8, 0), pattern, weight=9)
    far = Patch(
        *((0, 0, -0.002), (8, 0, 0), (0, 8, 0)),
        pattern=pattern,
        weight=0.8,
        shape=lambda p: 2.76 - np.abs(p).max(1),
    )
    return [near, far, *_walls(wall, height, 0.0, 7.5)]


def _plain(colour: Rgb) -> Pattern:
    return lambda points: np.broadcast_to(np.asarray(colour), (len(points), 3))


def _planks(light: Rgb, dark: Rgb, width: float, length: float = 2.2) -> Pattern:
    """Boards along u with grain, each of its own shade."""

    def pattern(points: np.ndarray) -> np.ndarray:
        row = np.floor(points[:, 1] / width)
        shifted = points[:, 0] + 0.37 * length * row
        board = np.stack([row, np.floor(shifted / length)], 1)
        grain = smooth_noise(points + 7 * hash_noise(board)[:, None], (0.7, 0.05), 3)
        tone = 0.75 * grain + 0.45 * hash_noise(board, 4) - 0.1
        joint = (points[:, 1] % width < 0.022) | (shifted % length < 0.022)
        return choose(joint, np.asarray(dark) * 0.55, blend(tone, light, dark))

    return pattern


def _marble(points: np.ndarray) -> np.ndarray:
    bent = points + 0.5 * (smooth_noise(points, 0.9, 3)[:, None] - 0.5) * [1.0, 1.4]
    vein = np.abs(smooth_noise(bent, (1.3, 0.7), 3, salt=20) - 0.5)
    fine = np.abs(smooth_noise(bent, 0.45, 2, salt=30) - 0.5)
    shade = np.maximum(0.9 * np.exp(-vein / 0.02), 0.35 * np.exp(-fine / 0.02))
    cloud = smooth_noise(points, 1.2, 2, salt=40)
    return blend(shade, blend(cloud, (0.95, 0.94, 0.92), (0.84, 0.85, 0.87)), (0.42, 0.44, 0.48))


def _gingham(points: np.ndarray) -> np.ndarray:
    """Two crossing sets of stripes, 0.18 m wide: white, half tone, full tone."""
    on = (np.floor(points / 0.18) % 2).sum(1)
    weave = 0.06 * hash_noise(np.floor(points / 0.03))
    return blend(np.array([0.0, 0.5, 1.0])[on.astype(int)] + weave, (0.97, 0.95, 0.92), (0.76, 0.10, 0.12))


def _grass(points: np.ndarray) -> np.ndarray:
    tone = 0.5 * smooth_noise(points, 0.9, 2) + 0.6 * smooth_noise(points, 0.09, 2, salt=7)
    colours = blend(1.5 * tone - 0.35, (0.15, 0.36, 0.08), (0.50, 0.70, 0.22))
    daisy = near_random_points(points, 0.42, 0.55, salt=50)
    colours = choose(daisy < 0.036, (0.97, 0.96, 0.92), colours)
    colours = choose(daisy < 0.014, (0.96, 0.78, 0.15), colours)
    return choose(near_random_points(points, 0.8, 0.4, salt=60) < 0.03, (0.86, 0.30, 0.45), colours)


def _tatami(points: np.ndarray) -> np.ndarray:
    """Mats of 1.8 m by 0.9 m with dark cloth borders, in alternating rows."""
    row = np.floor(points[:, 1] / 0.9)
    x, y = (points[:, 0] + 0.9 * (row % 2) + 0.9) % 1.8, points[:, 1] % 0.9
    straw = 0.6 * smooth_noise(points, (0.5, 0.03), 2) + 0.4 * hash_noise(np.stack([np.floor(points[:, 1] / 0.03)], 1))
    colours = blend(straw, (0.83, 0.79, 0.52), (0.63, 0.64, 0.34))
    border = (y < 0.05) | (y > 0.85)
    colours = choose((x < 0.012) | (x > 1.788), (0.45, 0.44, 0.25), colours)
    gold = border & (np.abs((x * 12.5) % 1 - 0.5) < 0.2) & (np.abs(np.where(y < 0.45, y, y - 0.9)) < 0.03)
    return choose(gold, (0.72, 0.60, 0.28), choose(border, (0.10, 0.22, 0.17), colours))


def _paving(points: np.ndarray) -> np.ndarray:
    """Irregular flagstones: cells of randomly placed centres."""
    base = np.floor(points / 0.55)
    first = second = np.full(len(points), np.inf)
    owner = np.zeros_like(base)
    for offset in np.ndindex(3, 3):
        cells = base + np.asarray(offset) - 1
        spot = 0.2 + 0.6 * np.stack([hash_noise(cells, 1), hash_noise(cells, 2)], 1)
        distance = np.linalg.norm((cells + spot) * 0.55 - points, axis=1)
        owner = np.where((distance < first)[:, None], cells, owner)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    tone = 0.55 * hash_noise(owner, 5) + 0.5 * smooth_noise(points, 0.12, 2, salt=3)
    stones = blend(tone, (0.50, 0.48, 0.46), (0.76, 0.71, 0.64))
    warm = hash_noise(owner, 8) > 0.72
    stones = choose(warm, stones * [1.05, 0.86, 0.72], stones)
    return choose(second - first < 0.035, (0.27, 0.28, 0.24), stones)


def _tiles(points: np.ndarray) -> np.ndarray:
    """White tiles of 0.45 m with blue ornaments."""
    cell = np.floor(points / 0.45)
    local = points / 0.45 - cell - 0.5
    radius, angle = np.linalg.norm(local, axis=1), np.arctan2(local[:, 1], local[:, 0])
    petals = radius < 0.2 + 0.1 * np.cos(4 * angle)
    corner = np.linalg.norm(np.abs(local) - 0.5, axis=1)
    plain = (cell.sum(1) % 2) == 0
    blue, pale = (0.13, 0.30, 0.62), (0.62, 0.76, 0.90)
    colours = np.broadcast_to(np.array([0.95, 0.95, 0.94]), (len(points), 3))
    colours = choose(petals & ~plain, blue, colours)
    colours = choose((radius < 0.1) & ~plain, (0.94, 0.76, 0.26), colours)
    colours = choose((corner < 0.3) & ~plain, pale, colours)
    colours = choose((corner < 0.2), blue, colours)
    return choose(np.abs(local).max(1) > 0.478, (0.72, 0.72, 0.70), colours)


def _sand(points: np.ndarray) -> np.ndarray:
    bent = points[:, 0] * 0.5 + points[:, 1] + 0.35 * smooth_noise(points, 1.1, 2)
    ripple = 0.5 + 0.5 * np.sin(bent * 19)
    tone = 0.45 * ripple + 0.35 * smooth_noise(points, 0.5, 2, salt=5) + 0.2 * smooth_noise(points, 0.06, 1, salt=6)
    colours = blend(tone, (0.74, 0.61, 0.42), (0.96, 0.87, 0.68))
    return choose(near_random_points(points, 0.5, 0.4, salt=70) < 0.026, (0.93, 0.90, 0.86), colours)


def _painted(colour: Rgb, skirting: Rgb = (0.93, 0.92, 0.90), panel: Rgb | None = None) -> Pattern:
    """A painted wall with a skirting board, a dado rail, and framed pictures."""

    def pattern(points: np.ndarray) -> np.ndarray:
        x, z = points[:, 0], points[:, 1]
        colours = blend(0.25 * smooth_noise(points, 1.5, 2), colour, (0, 0, 0))
        if panel is not None:
            groove = (z < 1.0) & (x % 0.5 < 0.035)
            colours = choose(z < 1.0, panel, colours)
            colours = choose(groove | (np.abs(z - 1.0) < 0.035), np.asarray(panel) * 0.72, colours)
        number = np.floor((x + 6) / 2.4)
        u, v = (x + 6) % 2.4 - 1.2, z - 1.85
        frame = (np.abs(u) < 0.62) & (np.abs(v) < 0.42)
        inside = (np.abs(u) < 0.54) & (np.abs(v) < 0.34)
        sky = blend(v / 0.7 + 0.5, (0.93, 0.72, 0.50), (0.36, 0.58, 0.82))
        hills = v < 0.08 * np.sin(6 * u + 2 * number) - 0.1
        art = choose(hills, (0.22, 0.42, 0.30), sky)
        colours = choose(inside, art, choose(frame, (0.36, 0.24, 0.14), colours))
        return choose(z < 0.16, skirting, colours)

    return pattern


def _shoji(points: np.ndarray) -> np.ndarray:
    """Paper screens in a dark wooden lattice."""
    x, z = points[:, 0] % 1.2, points[:, 1]
    lattice = (np.abs(x % 0.4 - 0.2) > 0.182) | (np.abs(z % 0.5 - 0.25) > 0.232)
    post = (x < 0.06) | (x > 1.14)
    paper = blend(0.3 * smooth_noise(points, 0.8, 2), (0.97, 0.94, 0.85), (0.8, 0.74, 0.6))
    colours = choose(lattice, (0.52, 0.36, 0.20), paper)
    return choose(post | (z < 0.5), (0.30, 0.19, 0.11), colours)


def _bricks(points: np.ndarray) -> np.ndarray:
    row = np.floor(points[:, 1] / 0.16)
    x = points[:, 0] + 0.2 * (row % 2)
    brick = np.stack([np.floor(x / 0.4), row], 1)
    joint = (x % 0.4 < 0.035) | (points[:, 1] % 0.16 < 0.035)
    return choose(joint, (0.74, 0.70, 0.64), blend(hash_noise(brick), (0.66, 0.30, 0.20), (0.45, 0.19, 0.14)))


def _hedge(points: np.ndarray) -> np.ndarray:
    """A hedge under a summer sky."""
    leaves = blend(1.4 * smooth_noise(points, 0.22, 3) - 0.2, (0.08, 0.24, 0.07), (0.36, 0.58, 0.20))
    top = points[:, 1] > 1.5 + 0.35 * smooth_noise(points[:, :1], 0.5, 2)
    cloud = smooth_noise(points, (1.6, 0.6), 3, salt=9)
    return choose(top, blend(3 * (cloud - 0.5), (0.50, 0.73, 0.94), (0.97, 0.97, 0.98)), leaves)


def _fence(points: np.ndarray) -> np.ndarray:
    """A white picket fence before trees."""
    x, z = points[:, 0] % 0.36, points[:, 1]
    picket = (np.abs(x - 0.18) < 0.115) & (z < 1.0 - 0.9 * np.maximum(np.abs(x - 0.18) - 0.03, 0))
    rail = (np.abs(z - 0.3) < 0.05) | (np.abs(z - 0.75) < 0.05)
    board = choose(picket, (0.96, 0.95, 0.92), (0.82, 0.81, 0.78))
    return choose(picket | rail, board, _hedge(points + [0, -0.2]))


def _sea(points: np.ndarray) -> np.ndarray:
    """A strip of surf, the sea, and the sky above it."""
    z = points[:, 1] + 0.05 * smooth_noise(points[:, :1], 0.6, 2)
    waves = smooth_noise(points, (0.9, 0.06), 2)
    water = blend(z / 0.75, (0.30, 0.72, 0.74), (0.06, 0.33, 0.60)) + 0.1 * (waves[:, None] - 0.5)
    water = choose((waves > 0.68) | (z < 0.08), (0.95, 0.97, 0.97), water)
    cloud = smooth_noise(points, (1.8, 0.5), 3, salt=9)
    sky = blend(3 * (cloud - 0.52), blend((z - 0.8) / 2, (0.78, 0.90, 0.97), (0.36, 0.65, 0.93)), (0.98, 0.98, 0.98))
    return choose(z > 0.8, sky, water)


def _carpet(first: Rgb, second: Rgb) -> Pattern:
    def pattern(points: np.ndarray) -> np.ndarray:
        rings = np.floor(np.abs(points).max(1) / 0.35) % 2
        return blend(0.6 * rings + 0.4 * smooth_noise(points, 0.2, 2), first, second)

    return pattern


def table() -> Background:
    """An oak table in a living room."""
    top = _top(_planks((0.82, 0.62, 0.38), (0.60, 0.40, 0.21), 0.45), (0.48, 0.31, 0.16))
    room = _room(
        _carpet((0.62, 0.56, 0.50), (0.48, 0.42, 0.40)), _painted((0.90, 0.85, 0.74), panel=(0.86, 0.84, 0.79))
    )
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
    """A white marble table in a grey room."""
    room = _room(_planks((0.56, 0.52, 0.50), (0.36, 0.33, 0.32), 0.6), _painted((0.62, 0.66, 0.70), (0.95, 0.95, 0.95)))
    return Background(
        [*_top(_marble, (0.70, 0.70, 0.70)), *room],
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
    """A gingham cloth on a picnic table in a garden."""
    return Background(
        [*_top(_gingham, (0.80, 0.40, 0.38)), *_room(_grass, _hedge)],
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
    """A lawn with flowers and a picket fence."""
    bushes = [(4.2, 1.5), (-4.4, 2.6), (-3.0, -4.5), (2.2, -5.0), (5.0, -3.2), (-5.2, -1.2), (0.8, 5.2)]
    return Background(
        _ground(_grass, _fence),
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
    """A round walnut table in a green study."""

    def walnut(points: np.ndarray) -> np.ndarray:
        radius = np.linalg.norm(points, axis=1)
        wood = _planks((0.46, 0.28, 0.16), (0.25, 0.14, 0.08), 0.6, 4.0)(points)
        return choose(np.abs(radius - 2.55) < 0.04, (0.80, 0.62, 0.30), wood)

    room = _room(
        _carpet((0.50, 0.12, 0.14), (0.30, 0.08, 0.10)),
        _painted((0.14, 0.32, 0.26), (0.30, 0.18, 0.10), (0.34, 0.21, 0.12)),
    )
    return Background(
        [*_round_top(walnut, (0.20, 0.11, 0.06)), *room],
        [
            Prop(props.books(), 2.05, 1.6, turn=-40),
            Prop(props.books(), -2.35, -1.05, turn=70),
            Prop(props.candle(), -1.9, 1.85),
            Prop(props.mug((0.92, 0.90, 0.84)), 1.2, -2.35, turn=200),
            Prop(props.candle(), 2.6, 0.3),
        ],
    )


def table4() -> Background:
    """Tatami mats between paper screens."""
    return Background(
        _ground(_tatami, _shoji),
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
    """A terrace of flagstones before brick walls."""
    pots = [(2.7, 2.7), (-2.8, 2.5), (2.9, -2.6), (-4.4, -3.9), (4.6, 0.2)]
    return Background(
        _ground(_paving, _bricks),
        [
            *(Prop(props.plant(), x, y, turn=50.0 * i) for i, (x, y) in enumerate(pots)),
            Prop(props.stone(), -2.55, -0.6),
        ],
        prop_share=0.14,
    )


def table6() -> Background:
    """Blue and white kitchen tiles."""
    room = _room(
        _planks((0.80, 0.72, 0.60), (0.66, 0.56, 0.44), 0.5), _painted((0.95, 0.88, 0.62), panel=(0.62, 0.78, 0.80))
    )
    return Background(
        [*_top(_tiles, (0.85, 0.85, 0.84)), *room],
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
    """A sandy beach by the sea."""
    return Background(
        _ground(_sand, _sea),
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
