"""This module measures the volumes of an object's particles from the object alone, whatever grid it is simulated on.

The object is the alpha complex of its particles (Edelsbrunner and Muecke, "Three-dimensional alpha shapes", 1994): the
tetrahedra of their Delaunay triangulation that are no larger than the particles are apart, with alpha in units of the
distance to neighbours (Teichmann and Capps 1998), as these are denser on surfaces than inside. Its boundary runs
through the outermost particles. Each tetrahedron gives a quarter of its volume to each corner, as lumped masses of
finite elements, so that mass and centre of mass are those of the body.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, QhullError, cKDTree

from gaussians.stage.shape_checks import check_shape

MOST_PARTICLES = 6_000
"""Of larger objects so many particles at most are triangulated in a simulation."""

_AROUND = 20
"""Number of cells, itself included, that say which way is out of a cell."""
_NEIGHBOURS = 6
_ALPHA = 0.86
"""Largest circumradius of a tetrahedron or a wall of a pore, in distances of its corners to their sixth neighbours."""
_GAP = 4.0
"""Largest circumradius, in that unit, of a triangle that closes a surface without inside, and of a tetrahedron in a
pore of a body, a void that it encloses where particles happen to be far from each other. Larger voids are hollows."""
_SHELL = 0.1
"""Share of its hull below which an object is a surface without inside."""
_CLOSEST = 1e-4
"""Least distance to neighbours that counts, metres: particles in one place are not without volume."""
_LEAST = 0.1
"""Least volume of a particle, as a share of the cube on its distance to neighbours; sheets consist of these."""

_FACES = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
"""The corners of a tetrahedron's faces, each opposite to the corner of its number."""


def object_volumes(positions: np.ndarray, most: int = MOST_PARTICLES) -> np.ndarray:
    """Return the volumes (N,), m^3, of the particles of one object.

    A surface that closes around an empty inside counts as the solid that it encloses; an open one is as thin as its
    particles.

    Args:
        positions: (N, 3), metres.
        most: how many of them are triangulated; each shares its volume with those around it.
    """
    check_shape("positions", positions, "N", 3)
    count = len(positions)
    points = positions.astype(np.float64)
    if count <= most:
        return _volumes(points, _spacings(cKDTree(points)))
    cells, chosen = _one_of_each_cell(points, most)
    volumes = _volumes(points[chosen], _spacings(cKDTree(points[chosen])))
    return (volumes / np.bincount(cells))[cells]


def _one_of_each_cell(points: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell (N,) of each point, of at most ``most``, and a point (M,) of each cell.

    It is the outermost one: away from where the points around the cell are, so that the body does not shrink.
    """
    low = points.min(0)
    size = max(float(np.ptp(points, axis=0).max()) / most**0.5, _CLOSEST)
    while True:
        i, j, k = np.floor((points - low) / size).astype(np.int64).T
        _, cells, counts = np.unique((i << 42) + (j << 21) + k, return_inverse=True, return_counts=True)
        if len(counts) <= most:
            break
        size *= max(1.02, (len(counts) / most) ** (1 / 3))
    means = np.stack([np.bincount(cells, column) for column in points.T], 1) / counts[:, None]
    around = means[cKDTree(means).query(means, k=min(_AROUND, len(means)))[1].reshape(len(means), -1)].mean(1)
    outward = np.einsum("ni,ni->n", points - means[cells], (means - around)[cells])
    return cells, np.lexsort((outward, cells))[np.cumsum(counts) - 1]


def _spacings(tree: cKDTree) -> np.ndarray:
    """Return each point's distance to its sixth neighbour, or to the last of fewer: (N,), metres."""
    if tree.n < 2:
        return np.full(tree.n, _CLOSEST)
    distances = tree.query(tree.data, k=range(2, min(_NEIGHBOURS + 1, tree.n) + 1))[0]
    return np.maximum(distances[:, -1], _CLOSEST)


def _volumes(points: np.ndarray, spacings: np.ndarray) -> np.ndarray:
    least = _LEAST * spacings**3
    try:
        mesh = Delaunay(points)
    except (QhullError, ValueError):  # fewer than five points, or all in one plane
        return least
    corners = mesh.simplices
    sizes, radii = _sizes_and_radii(points[corners])
    inside = radii < _ALPHA * spacings[corners].max(1)
    shell = sizes[inside].sum() < _SHELL * sizes.sum()
    voids = _voids(mesh, inside, points, (_GAP if shell else _ALPHA) * spacings)
    inside |= (voids > 0) & (shell | (radii < _GAP * spacings[corners].max(1)))
    shares = np.repeat(sizes[inside] / 4, 4)
    return np.maximum(np.bincount(corners[inside].ravel(), shares, len(points)), least)


def _sizes_and_radii(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the volumes (T,) and circumradii (T,) of tetrahedra (T, 4, 3); the radius of a flat one is infinite."""
    a, b, c = (corners[:, 1:] - corners[:, :1]).transpose(1, 0, 2)
    six = np.abs(np.einsum("ti,ti->t", a, np.cross(b, c)))
    squares = [(edge**2).sum(1, keepdims=True) for edge in (a, b, c)]
    doubled = squares[0] * np.cross(b, c) + squares[1] * np.cross(c, a) + squares[2] * np.cross(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        radii = np.linalg.norm(doubled, axis=1) / (2 * six)
    return six / 6, np.where(six > 0, radii, np.inf)


def _voids(mesh: Delaunay, inside: np.ndarray, points: np.ndarray, widest: np.ndarray) -> np.ndarray:
    """Return the void (T,) that each tetrahedron not ``inside`` is part of, 0 for all that is open to the outside.

    Walls between voids are triangles whose circumradius is below the ``widest`` of their corners, (N,), metres.
    """
    count = len(mesh.simplices)
    rows, faces = np.nonzero(~inside[:, None] & np.ones(4, bool))
    others = np.where(mesh.neighbors[rows, faces] < 0, count, mesh.neighbors[rows, faces])  # the last one is outside
    corners = mesh.simplices[rows[:, None], _FACES[faces]]
    a, b = (points[corners[:, 1:]] - points[corners[:, :1]]).transpose(1, 0, 2)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) * np.linalg.norm(a - b, axis=1)
    areas = np.linalg.norm(np.cross(a, b), axis=1) / 2
    passable = (lengths >= 4 * areas * widest[corners].max(1)) & ~np.append(inside, False)[others]
    pairs = (rows[passable], others[passable])
    graph = coo_array((np.ones(len(pairs[0])), pairs), shape=(count + 1, count + 1))
    pieces = connected_components(graph, directed=False)[1]
    voids = np.where(pieces[:-1] == pieces[-1], 0, pieces[:-1] + 1)
    return np.where(inside, 0, voids)
