"""Poses of boxes, of which one knows which could be held."""

import math

import pytest
import torch

from dynamic_models.evaluation.support import unsupported

DT, FLOOR, SPACING = 0.02, -0.94, 0.025


def box(size: tuple[float, float, float], center: tuple[float, float, float], tilt: float = 0.0) -> torch.Tensor:
    """Points (P, 3) of a box, turned by ``tilt`` degrees about y."""
    axes = [torch.linspace(-s / 2, s / 2, round(s / SPACING) + 1, dtype=torch.float64) for s in size]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2)
    c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    turn = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    return points @ turn.T + torch.tensor(center)


def on_floor(points: torch.Tensor, height: float = 0.0) -> torch.Tensor:
    return points + torch.tensor([0, 0, FLOOR + height - float(points[:, 2].min())])


def share(*objects: torch.Tensor, velocity: float = 0.0) -> float:
    """What ``unsupported`` says of objects that stay where they are, or all move along x."""
    count = max(map(len, objects))
    start = torch.stack([torch.cat([points, points.new_full((count - len(points), 3), 7.0)]) for points in objects])
    mask = torch.stack([torch.arange(count) < len(points) for points in objects])
    moved = torch.arange(26)[:, None] * torch.tensor([velocity * DT, 0.0, 0.0])
    centers = torch.stack([points.mean(0) for points in objects]) + moved[:, None]
    return unsupported(start + moved[:, None, None], mask, centers, DT, FLOOR, 0.03)


def test_boxes_lie_on_their_sides_and_do_not_stand_on_their_edges() -> None:
    size = (0.3, 0.2, 0.1)
    assert share(on_floor(box(size, (0, 0, 0)))) == 0
    assert share(on_floor(box(size, (0, 0, 0), 90))) == 0
    assert share(on_floor(box(size, (0, 0, 0), 25))) == 1
    # With the centre of mass right above the edge it could, for a moment.
    assert share(on_floor(box(size, (0, 0, 0), math.degrees(math.atan(3))))) == 0


def test_nothing_lies_in_the_air() -> None:
    assert share(on_floor(box((0.2, 0.2, 0.2), (0, 0, 0)), 0.2)) == 1


def test_what_lies_on_others_is_held_by_them() -> None:
    below = on_floor(box((0.2, 0.2, 0.2), (0, 0, 0)))

    def on_top(x: float) -> torch.Tensor:
        return on_floor(box((0.2, 0.2, 0.1), (x, 0, 0)), 0.2 + SPACING)

    assert share(below, on_top(0.05)) == 0
    assert share(below, on_top(0.16)) == 0.5  # its centre is 6 cm beyond the edge
    # What lies on top does not hold what is below.
    edge = on_floor(box((0.3, 0.2, 0.1), (0, 0, 0), 25))
    highest = float(edge[:, 2].max()) - FLOOR
    lid = on_floor(box((0.5, 0.2, 0.05), (0, 0, 0)), highest + SPACING)
    assert share(edge, lid) == 1


def test_a_board_leans_against_a_box() -> None:
    board = on_floor(box((0.05, 0.2, 0.4), (0, 0, 0), 30))
    assert share(board) == 1
    high = float(board[:, 0][board[:, 2] > board[:, 2].max() - 0.03].max())
    wall = on_floor(box((0.2, 0.3, 0.4), (high + 0.1 + SPACING, 0, 0)))
    assert share(board, wall) == 0


def test_what_moves_is_not_judged() -> None:
    tilted = on_floor(box((0.3, 0.2, 0.1), (0, 0, 0), 25))
    assert math.isnan(share(tilted, velocity=0.1))
    assert share(tilted, velocity=0.03) == pytest.approx(1)
