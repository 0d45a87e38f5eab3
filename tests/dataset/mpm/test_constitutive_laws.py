"""Kernels' functions of a deformation gradient against PyTorch in double precision."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import warp as wp

from dataset.mpm.constitutive_laws import LAWS
from dataset.mpm.model import law_parameters
from dataset.mpm.state import MPMState
from gaussians.covariance import transform_covariance
from gaussians.rotation_kernels import polar_rotation as polar_in_kernel
from gaussians.rotations import polar_rotation, quaternion_to_matrix
from tests.dataset.mpm.mpm_world import deformed

MU, LAM, DT = 4e4, 6e4, 1e-3
E = MU * (3 * LAM + 2 * MU) / (LAM + MU)
ALPHA = math.sqrt(2 / 3) * 2 * math.sin(math.radians(30)) / (3 - math.sin(math.radians(30)))
SETTINGS: dict[str, dict[str, float]] = {
    "jelly": {},
    "metal": {"yield_stress": 3e3, "hardening": 1, "xi": 0.4},
    "sand": {"friction_angle": 30.0},
    "foam": {"yield_stress": 4e3, "plastic_viscosity": 50.0},
    "snow": {"critical_compression": 0.025, "critical_stretch": 0.0075, "xi": 8.0},
    "plasticine": {"yield_stress": 3e3, "softening": 2e4},
}
HISTORIES = {"jelly": 0.0, "metal": 0.1, "sand": 0.02, "foam": 0.0, "snow": 0.4, "plasticine": 0.05}
PLASTIC = [name for name, law in LAWS.items() if law.return_mapping is not None]

Flow = Callable[[torch.Tensor, float], tuple[torch.Tensor, torch.Tensor]]


def svd(F: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """With proper rotations, and the sign of an inverted F on the smallest singular value."""
    U, s, Vh = torch.linalg.svd(F)
    last = torch.tensor([1.0, 1.0, -1.0], dtype=F.dtype)
    U_sign, V_sign = torch.det(U), torch.det(Vh)
    U = torch.where(U_sign[:, None, None] < 0, U * last, U)
    Vh = torch.where(V_sign[:, None, None] < 0, last[:, None] * Vh, Vh)
    return U, torch.where((U_sign * V_sign)[:, None] < 0, s * last, s), Vh.mT


def strains(s: torch.Tensor) -> torch.Tensor:
    return s.clamp(min=0.01).log()


def parts(e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = e.mean(1, keepdim=True)
    return mean, e - mean


def rebuilt(U: torch.Tensor, s: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
    return U @ torch.diag_embed(s) @ V.mT


def fixed_corotated(F: torch.Tensor, history: float = 0.0, stiffening: float = 1.0) -> torch.Tensor:
    R, J = polar_rotation(F), torch.det(F)[:, None, None]
    return stiffening * (2 * MU * (F - R) @ F.mT + LAM * (J - 1) * J * torch.eye(3, dtype=F.dtype))


def snow(F: torch.Tensor, history: float) -> torch.Tensor:
    return fixed_corotated(F, stiffening=min(5.0, math.exp(history)))


def hencky(F: torch.Tensor, history: float) -> torch.Tensor:
    U, s, _ = svd(F)
    e = strains(s)
    return rebuilt(U, 2 * MU * e + LAM * e.sum(1, keepdim=True), U)


def radially_returned(
    F: torch.Tensor, strength: float, share: float, history: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reduce what the deviator has above ``strength`` (as a strain) by ``share`` of it."""
    U, s, V = svd(F)
    mean, d = parts(strains(s))
    norm = d.norm(dim=1, keepdim=True)
    flow = share * (norm - strength).clamp(min=0)
    returned = rebuilt(U, (mean + d * (1 - flow / norm.clamp(min=1e-30))).exp(), V)
    return torch.where(flow[..., None] > 0, returned, F), history + flow[:, 0]


def metal(F: torch.Tensor, history: float) -> tuple[torch.Tensor, torch.Tensor]:
    return radially_returned(F, 3e3 / (2 * MU) + 0.4 * history, 1 / 1.4, history)


def plasticine(F: torch.Tensor, history: float) -> tuple[torch.Tensor, torch.Tensor]:
    return radially_returned(F, (3e3 - 2e4 * history) / (2 * MU), 1.0, history)


def foam(F: torch.Tensor, history: float) -> tuple[torch.Tensor, torch.Tensor]:
    # Backward Euler of d|s|/dt = -2 mu (|s| - Y) / eta.
    rate = 2 * MU * DT / 50.0
    returned, _ = radially_returned(F, math.sqrt(2 / 3) * 4e3 / (2 * MU), rate / (1 + rate), history)
    return returned, torch.full((len(F),), history, dtype=F.dtype)


def sand(F: torch.Tensor, history: float) -> tuple[torch.Tensor, torch.Tensor]:
    U, s, V = svd(F)
    e = strains(s) + history / 3
    mean, d = parts(e)
    t, norm = e.sum(1, keepdim=True), d.norm(dim=1, keepdim=True)
    kept = (-ALPHA * t * (3 * LAM + 2 * MU) / (2 * MU)).clamp(max=norm)
    e = torch.where(t >= 0, 0.0, mean + d / norm.clamp(min=1e-30) * kept)
    return rebuilt(U, e.exp(), V), t.clamp(min=0)[:, 0]


def packed(F: torch.Tensor, history: float) -> tuple[torch.Tensor, torch.Tensor]:
    U, s, V = svd(F)
    kept = s.clamp(1 - 0.025, 1 + 0.0075)
    J_P = (1 - history / 8) * s.clamp(min=0.01).prod(1) / kept.prod(1)
    inside = (kept == s).all(1)
    return rebuilt(U, kept, V), torch.where(inside, history, 8 * (1 - J_P.clamp(0.1, 20.0)))


STRESSES = {"jelly": fixed_corotated, "snow": snow} | dict.fromkeys(("metal", "sand", "foam", "plasticine"), hencky)
FLOWS: dict[str, Flow] = {"metal": metal, "plasticine": plasticine, "foam": foam, "sand": sand, "snow": packed}


def with_singular_values(values: list[float], count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(values) + count)
    U, V = (quaternion_to_matrix(torch.randn(count, 4, generator=generator, dtype=torch.float64)) for _ in range(2))
    return U @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ V.mT


def random_deformations(kind: str, count: int = 2000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)
    match kind:
        case "small":
            return with_singular_values([1.0, 1.0, 1.0], count) @ (torch.eye(3) + 1e-3 * noise)
        case "moderate":
            return with_singular_values([1.0, 1.0, 1.0], count) @ (torch.eye(3) + 0.2 * noise.clamp(-1, 1))
        case "squeezed":
            return with_singular_values([1.02, 0.95, 0.9], count)
        case "stretched":
            return with_singular_values([4.0, 1.0, 0.6], count)
        case "flattened":
            return with_singular_values([1.3, 0.9, 1e-3], count)
        case "inverted":
            return with_singular_values([1.4, 0.9, -0.5], count)
        case "identity":
            return torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    raise AssertionError(kind)


KINDS = ("small", "moderate", "squeezed", "stretched", "flattened", "inverted", "identity")


@wp.kernel
def rotations_of(F: wp.array(dtype=wp.mat33), R: wp.array(dtype=wp.mat33)):
    R[wp.tid()] = polar_in_kernel(F[wp.tid()])


def on_device(F: torch.Tensor) -> wp.array:
    return wp.array(F.float().numpy(), dtype=wp.mat33, device="cpu")


def own_parameters(name: str) -> wp.vec4:
    return wp.vec4(*law_parameters(name, np.array([E]), SETTINGS[name])[0].tolist())


def stress(name: str, F: torch.Tensor, history: float = 0.0) -> np.ndarray:
    law = LAWS[name].stress

    @wp.kernel(module="unique")
    def kernel(
        F: wp.array(dtype=wp.mat33),
        history: float,
        mu: float,
        lam: float,
        tau: wp.array(dtype=wp.mat33),
    ):
        tau[wp.tid()] = law(F[wp.tid()], history, mu, lam)

    found = wp.empty(len(F), dtype=wp.mat33, device="cpu")
    wp.launch(kernel, len(F), [on_device(F), history, MU, LAM, found], device="cpu")
    return found.numpy().astype(np.float64)


def flow(
    name: str, F: torch.Tensor, history: float | np.ndarray = 0.0, dt: float = DT, parameters: wp.vec4 | None = None
) -> tuple[np.ndarray, np.ndarray]:
    law = LAWS[name].return_mapping

    @wp.kernel(module="unique")
    def kernel(
        F: wp.array(dtype=wp.mat33),
        history: wp.array(dtype=float),
        mu: float,
        lam: float,
        parameters: wp.vec4,
        dt: float,
        F_out: wp.array(dtype=wp.mat33),
        history_out: wp.array(dtype=float),
    ):
        p = wp.tid()
        F_new, past = law(F[p], history[p], mu, lam, parameters, dt)
        F_out[p] = F_new
        history_out[p] = past

    F_out, history_out = (wp.empty(len(F), dtype=kind, device="cpu") for kind in (wp.mat33, float))
    past = wp.array(np.broadcast_to(history, len(F)).astype(np.float32), dtype=float, device="cpu")
    own = own_parameters(name) if parameters is None else parameters
    wp.launch(kernel, len(F), [on_device(F), past, MU, LAM, own, dt, F_out, history_out], device="cpu")
    return F_out.numpy().astype(np.float64), history_out.numpy().astype(np.float64)


def deviatoric(tau: np.ndarray) -> np.ndarray:
    """|dev tau|."""
    mean = np.trace(tau, axis1=1, axis2=2)[:, None, None] / 3
    return np.linalg.norm(tau - mean * np.eye(3), axis=(1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_polar_rotation(kind: str) -> None:
    F = random_deformations(kind)
    found = wp.empty(len(F), dtype=wp.mat33, device="cpu")
    wp.launch(rotations_of, len(F), [on_device(F), found], device="cpu")
    # Single precision; where the smallest singular value is near 0 or negative the rotation is that much less certain.
    np.testing.assert_allclose(found.numpy(), polar_rotation(F).numpy(), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(LAWS))
def test_stress_is_its_twin(name: str, kind: str) -> None:
    F = random_deformations(kind)
    history = HISTORIES[name]
    expected = STRESSES[name](F, history)
    if STRESSES[name] is hencky:
        # Strains are logarithms of stretches that are known to 1e-6 of the largest, or clamped.
        tolerance = 2e-6 * float(F.abs().max() / svd(F)[1].clamp(min=0.01).min()) * (MU + LAM)
        tolerance += 2e-6 * float(expected.abs().max())
    else:
        # F is rounded to 6e-8; stresses differ by that, times the stiffness, |F|^2 and a few operations.
        tolerance = 3e-6 * (MU + LAM) * float(F.square().sum((1, 2)).max())
    np.testing.assert_allclose(stress(name, F, history), expected.numpy(), atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLASTIC)
def test_return_mapping_is_its_twin(name: str, kind: str) -> None:
    F = random_deformations(kind)
    found, past = flow(name, F, HISTORIES[name])
    expected, expected_past = FLOWS[name](F, HISTORIES[name])
    # Stretches are known to 1e-6 of the largest.
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6 * float(F.abs().max()))
    accuracy = 2e-6 * float(F.abs().max() / svd(F)[1].clamp(min=0.01).min())
    # Snow's exponent is xi = 8 times as uncertain as J_P, which may be large.
    factor = 8 * 20 if name == "snow" else 1
    np.testing.assert_allclose(past, expected_past.numpy(), atol=factor * accuracy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLASTIC)
def test_flowing_twice_at_once_is_flowing_once(name: str, kind: str) -> None:
    """The return mapping is a projection, but for viscous foam; and what it leaves is never inverted."""
    parameters = wp.vec4(math.sqrt(2 / 3) * 4e3, 0.0, 0.0, 0.0) if name == "foam" else None
    F, past = flow(name, random_deformations(kind), 0.0, parameters=parameters)
    again, past_again = flow(name, torch.from_numpy(F), past, parameters=parameters)
    if name == "plasticine":
        return  # it has got weaker and goes on
    np.testing.assert_allclose(again, F, atol=1e-5 * np.abs(F).max())
    np.testing.assert_allclose(past_again, past, atol=1e-3)


@pytest.mark.parametrize("name", list(LAWS))
def test_rest_and_rotations_are_free_of_stress(name: str) -> None:
    R = with_singular_values([1.0, 1.0, 1.0], 500)
    # Stretches are known to 3e-6, see above.
    assert np.abs(stress(name, R)).max() < 3e-6 * 3 * (MU + LAM)
    if name in PLASTIC:
        F, past = flow(name, R)
        np.testing.assert_allclose(F, R.numpy(), atol=1e-5)
        np.testing.assert_allclose(past, 0.0, atol=1e-5)


def uniaxial(strain: float) -> torch.Tensor:
    """Pulled along x by a logarithmic strain, its sides free: sigma_x = E strain."""
    side = math.exp(-LAM / (2 * (LAM + MU)) * strain)
    return torch.diag(torch.tensor([math.exp(strain), side, side], dtype=torch.float64))[None]


@pytest.mark.parametrize(
    ("name", "yields_at"), [("metal", math.sqrt(1.5) * 3e3), ("plasticine", math.sqrt(1.5) * 3e3), ("foam", 4e3)]
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_flow_begins_at_the_right_uniaxial_stress(name: str, yields_at: float, sign: int) -> None:
    """Metal and plasticine under sqrt(3/2) yield_stress, foam under yield_stress."""
    below, above = (uniaxial(sign * factor * yields_at / E) for factor in (0.999, 1.001))
    assert stress(name, below)[0, 0, 0] == pytest.approx(sign * 0.999 * yields_at, rel=1e-4)
    np.testing.assert_array_equal(flow(name, below)[0], below.float().numpy())
    assert np.abs(flow(name, above)[0] - above.numpy()).max() > 1e-7


def sheared(steps: int, strain: float) -> list[torch.Tensor]:
    """Increments of a plane stretch that add up to a logarithmic strain."""
    step = strain / steps
    return [torch.diag(torch.tensor([step, -step, 0.0], dtype=torch.float64)).matrix_exp()[None]] * steps


def shear_test(name: str, strain: float, steps: int = 50) -> tuple[float, float]:
    """|dev tau| and the history at the end of a slow shear."""
    F, past = torch.eye(3, dtype=torch.float64)[None], np.zeros(1)
    for increment in sheared(steps, strain):
        F_new, past = flow(name, increment @ F, past, dt=10.0)
        F = torch.from_numpy(F_new)
    return float(deviatoric(stress(name, F, float(past[0])))[0]), float(past[0])


def test_metal_hardens_and_plasticine_softens_along_their_lines() -> None:
    total = math.sqrt(2) * 0.2  # |e| of this shear
    strength, h = shear_test("metal", 0.2)
    # Elastic strain Y / 2 mu + xi h, plastic strain h; together the total.
    assert h == pytest.approx((total - 3e3 / (2 * MU)) / 1.4, rel=1e-3)
    assert strength == pytest.approx(3e3 + 2 * MU * 0.4 * h, rel=1e-3)
    strength, h = shear_test("plasticine", 0.1, steps=500)
    # Each step flows at the strength that the one before left: 1/500 of the strain behind, 2e4 * 4e-4 Pa.
    assert strength == pytest.approx(3e3 - 2e4 * h, abs=10.0)
    strength, h = shear_test("plasticine", 0.2)
    assert h >= 3e3 / 2e4
    assert strength == pytest.approx(0.0, abs=1.0)


def test_crumbled_plasticine_bears_pressure_alone() -> None:
    pulled, pressed = (flow("plasticine", uniaxial(strain), 0.2)[0] for strain in (0.1, -0.1))
    assert np.abs(stress("plasticine", torch.from_numpy(pulled))).max() < 1.0
    tau = stress("plasticine", torch.from_numpy(pressed))
    assert tau[0, 0, 0] < -1e3
    assert deviatoric(tau)[0] < 1.0


@pytest.mark.parametrize("viscosity", [20.0, 500.0])
def test_foam_relaxes_at_the_rate_of_its_viscosity(viscosity: float) -> None:
    """|s| - Y decays by exp(-2 mu t / eta)."""
    strength = math.sqrt(2 / 3) * 4e3
    F = sheared(1, 0.1)[0]
    start = deviatoric(stress("foam", F))[0]
    time, steps = viscosity / (2 * MU), 200
    for _ in range(steps):
        F = torch.from_numpy(flow("foam", F, dt=time / steps, parameters=wp.vec4(strength, viscosity, 0.0, 0.0))[0])
    # Backward Euler: (1 + 1/200)^-200 is exp(-1) to 0.3 %.
    assert deviatoric(stress("foam", F))[0] == pytest.approx(strength + (start - strength) * math.exp(-1), rel=2e-3)


def test_sand_holds_no_tension_and_shear_up_to_its_friction() -> None:
    for kind in KINDS:
        F, _ = flow("sand", random_deformations(kind))
        tau = stress("sand", torch.from_numpy(F))
        pressure = -np.trace(tau, axis1=1, axis2=2) / 3
        noise = 2e-5 * (MU + LAM) * (1 + np.abs(tau).max() / (MU + LAM))
        assert (pressure > -noise).all()
        # Drucker-Prager: |dev tau| <= alpha * 3 p; with tr tau = (3 lambda + 2 mu) tr e.
        assert (deviatoric(tau) <= 3 * ALPHA * pressure + noise).all()


def test_sand_slides_at_its_friction_angle() -> None:
    """In triaxial compression Drucker-Prager's cone is Mohr-Coulomb's: s1 / s3 = (1 + sin phi) / (1 - sin phi)."""
    F = torch.diag(torch.tensor([0.7, 1.05, 1.05], dtype=torch.float64))[None]
    tau = stress("sand", torch.from_numpy(flow("sand", F)[0]))[0]
    assert tau[0, 0] / tau[1, 1] == pytest.approx(3.0, rel=1e-3)


def test_sand_takes_its_gained_volume_back() -> None:
    apart, gained = flow("sand", 1.1 * torch.eye(3, dtype=torch.float64)[None])
    assert gained[0] == pytest.approx(3 * math.log(1.1), rel=1e-4)
    half = torch.from_numpy(apart) * 0.95
    F, left = flow("sand", half, gained)
    assert np.abs(stress("sand", torch.from_numpy(F))).max() < 1.0
    assert left[0] == pytest.approx(3 * math.log(1.1 * 0.95), rel=1e-3)
    F, left = flow("sand", torch.from_numpy(F) / (1.1 * 0.95) * 0.99, left)
    assert left[0] == 0
    assert np.linalg.det(F[0]) == pytest.approx(0.99**3, rel=1e-4)  # as if it had never been apart


def test_snow_hardens_when_packed_and_weakens_when_torn() -> None:
    press, pull = (torch.diag(torch.tensor([factor, 1.0, 1.0], dtype=torch.float64))[None] for factor in (0.875, 1.2))
    _, packed_past = flow("snow", press)
    _, torn_past = flow("snow", pull)
    assert packed_past[0] == pytest.approx(8 * (1 - 0.875 / 0.975), rel=1e-4)
    assert torn_past[0] == pytest.approx(8 * (1 - 1.2 / 1.0075), rel=1e-4)
    probe = torch.diag(torch.tensor([0.99, 1.0, 1.0], dtype=torch.float64))[None]
    fresh, hard, weak = (stress("snow", probe, float(h))[0, 0, 0] for h in (0.0, packed_past[0], torn_past[0]))
    assert hard / fresh == pytest.approx(math.exp(packed_past[0]), rel=1e-3)
    assert weak / fresh == pytest.approx(math.exp(torn_past[0]), rel=1e-3)
    assert stress("snow", probe, 7.0)[0, 0, 0] / fresh == pytest.approx(5.0, rel=1e-3)  # the most


def test_covariances_and_rotations_follow_the_deformation() -> None:
    F = random_deformations("moderate", 500).float()
    factors = 0.1 * torch.randn(500, 3, 3, generator=torch.Generator().manual_seed(1))
    covariances = transform_covariance(torch.tensor([1.0, 0, 0, 1, 0, 1]).expand(500, 6), factors)
    state = MPMState.at_rest(np.zeros((500, 3)))
    state.F.assign(F.numpy())
    found, rotations = deformed(state, covariances)
    torch.testing.assert_close(found, transform_covariance(covariances, F), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rotations, polar_rotation(F), atol=2e-5, rtol=0)
