"""Every law on any deformation gradient at all, against its PyTorch twin."""

import numpy as np
import pytest
import torch

from dataset.mpm.constitutive_laws import LAWS
from tests.dataset.mpm.test_constitutive_laws import (
    FLOWS,
    HISTORIES,
    LAM,
    MU,
    PLASTIC,
    STRESSES,
    flow,
    stress,
    svd,
    with_singular_values,
)


def deformations(kind: str) -> torch.Tensor:
    match kind:
        case "anything":  # half of it inverted, with singular values from 1e-3 to 6
            generator = torch.Generator().manual_seed(1)
            return torch.randn(3000, 3, 3, generator=generator, dtype=torch.float64)
        case "flattened to a line":
            return with_singular_values([1.2, 1e-3, 5e-4], 1000)
        case "flattened to a point":
            return with_singular_values([1e-3, 8e-4, 5e-4], 1000)
        case "singular":
            return with_singular_values([1.2, 0.9, 0.0], 1000)
        case "barely inverted":
            return with_singular_values([1.1, 0.9, -1e-4], 1000)
        case "inverted and large":
            return with_singular_values([5.0, 3.0, -2.0], 1000)
        case "drawn into a thread":
            return with_singular_values([20.0, 1.0, 0.1], 1000)
        case "the same in all directions":
            return with_singular_values([0.9, 0.9, 0.9], 1000)
        case "the same in two directions":
            return with_singular_values([1.1, 1.1, 0.7], 1000)
        case "reflected":
            return with_singular_values([1.0, 1.0, -1.0], 1000)
        case "nothing left":
            return torch.zeros(2, 3, 3, dtype=torch.float64)
    raise AssertionError(kind)


KINDS = (
    "anything",
    "flattened to a line",
    "flattened to a point",
    "singular",
    "barely inverted",
    "inverted and large",
    "drawn into a thread",
    "the same in all directions",
    "the same in two directions",
)
AMBIGUOUS = ("reflected", "nothing left")
"""Many rotations are equally near, so that only what does not depend on the choice can be compared."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(LAWS))
def test_law_is_its_twin_on_any_deformation(name: str, kind: str) -> None:
    F, history = deformations(kind), HISTORIES[name]
    # F is rounded to 6e-8 of its size, J to that times its cube, and jelly's stress has F F^T and J^2. Hencky's strain
    # is as uncertain as the smallest stretch is relative to that size, but stretches below 0.01 count as 0.01.
    size = F.square().sum((1, 2)).sqrt().clamp(min=1.0)
    smallest = svd(F)[1].clamp(min=0.01).min(1).values
    J = torch.det(F).abs()
    relative = size**2 + (J + 1) * size**3 if name in ("jelly", "snow") else size / smallest
    expected = STRESSES[name](F, history)
    error = (torch.from_numpy(stress(name, F, history)) - expected).abs().amax((1, 2))
    assert (error < 1e-6 * (MU + LAM) * relative).all()
    if name not in PLASTIC:
        return
    found, past = flow(name, F, history)
    expected, expected_past = FLOWS[name](F, history)
    # Axes are as uncertain as the second stretch is relative to F; snow's stretches of 1e-3 become 0.975 along them.
    error = (torch.from_numpy(found) - expected).abs().amax((1, 2))
    axes = size / svd(F)[1].abs().sort(1).values[:, 1].clamp(min=1e-3)
    assert (error < 2e-6 * size * axes.clamp(min=5.0)).all()
    # Snow's exponent is xi = 8 times as uncertain as J_P, at most 20.
    factor = 8 * 20 if name == "snow" else 1
    assert (np.abs(past - expected_past.numpy()) < 2e-6 * factor * (size / smallest).numpy()).all()


@pytest.mark.parametrize("kind", AMBIGUOUS)
@pytest.mark.parametrize("name", list(LAWS))
def test_law_is_its_twin_where_many_rotations_are_equally_near(name: str, kind: str) -> None:
    F, history = deformations(kind), HISTORIES[name]
    found, expected = stress(name, F, history), STRESSES[name](F, history).numpy()
    tolerance = 1e-5 * (MU + LAM)
    np.testing.assert_allclose(np.linalg.eigvalsh(found), np.linalg.eigvalsh(expected), atol=tolerance)
    if name not in PLASTIC:
        return
    deformation, past = flow(name, F, history)
    expected_deformation, expected_past = FLOWS[name](F, history)
    stretches, expected_stretches = (np.linalg.svd(A)[1] for A in (deformation, expected_deformation.numpy()))
    np.testing.assert_allclose(stretches, expected_stretches, atol=1e-5)
    np.testing.assert_allclose(past, expected_past.numpy(), atol=1e-4)
