"""Elastic modes, against stretches and bends of a bar."""

import math

import torch

from dynamic_models.data.scene_state import equal_shares
from dynamic_models.models.building_blocks.elastic_modes import ROTATIONS, elastic_modes


def bar(length: float = 0.6, side: float = 0.06, count: int = 4000) -> torch.Tensor:
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    points = points * torch.tensor([length, side, side])
    return (points - points.mean(0))[None, None]


def energy(displacement: torch.Tensor, points: torch.Tensor) -> float:
    """The elastic energy over E V / 2 of the part of ``displacement`` (P, 3) that the modes have."""
    modes = elastic_modes(points, equal_shares(torch.ones(points.shape[:3], dtype=torch.bool)))
    functions = modes.functions(points)[0, 0]
    amplitudes = (functions.mT @ displacement / len(displacement)).flatten()
    return float((modes.stiffness[0, 0] * (modes.shapes[0, 0].mT @ amplitudes).square()).sum())


def test_functions_are_orthonormal() -> None:
    points = bar()
    functions = elastic_modes(points, torch.full((1, 1, 4000), 1 / 4000)).functions(points)[0, 0]
    # the jitter makes variances smaller by 1e-3
    torch.testing.assert_close(functions.mT @ functions / 4000, torch.eye(9).double(), rtol=0, atol=3e-3)


def test_rotations_are_no_deformation() -> None:
    points = bar()
    turned = torch.linalg.cross(torch.tensor([0.3, -0.2, 0.5]).double().expand(4000, 3), points[0, 0])
    assert energy(turned, points) < 1e-6 * energy(points[0, 0], points)
    assert elastic_modes(points, torch.full((1, 1, 4000), 1 / 4000)).stiffness[0, 0, :ROTATIONS].abs().max() == 0


def test_uniaxial_stretch_has_the_energy_of_youngs_modulus() -> None:
    points, strain = bar(), 0.01
    stretched = points[0, 0] * torch.tensor([strain, -0.3 * strain, -0.3 * strain]).double()
    assert math.isclose(energy(stretched, points), strain**2, rel_tol=0.01)


def test_bending_has_the_energy_of_a_beam() -> None:
    """u_z = k x^2 / 2, curved the other way across by Poisson's ratio: E I k^2 L / 2 = E V / 2 . k^2 side^2 / 12."""
    points, curvature = bar(), 0.2
    x, y, z = points[0, 0].unbind(-1)
    bent = torch.stack([-x * z, 0.3 * y * z, x * x / 2 + 0.3 * (z * z - y * y) / 2], -1) * curvature
    assert math.isclose(energy(bent - bent.mean(0), points), curvature**2 * 0.06**2 / 12, rel_tol=0.05)
