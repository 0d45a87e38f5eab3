import numpy as np
import pytest
import torch

from tools.benchmarks.simulation import rigid_bodies


def test_bodies_collide_as_those_of_a_rigid_body_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rigid_bodies._CELLS, "cpu", (24,))
    (row,) = rigid_bodies.measure(torch.device("cpu"))
    assert 0.3 < row["restitution"] < 1
    # Half a cell, after 0.6, 0.4 and 0.4 m of way behind collisions.
    assert max(row["first ball off by, m"], row["box off by, m"]) < 2 / 24
    assert row["second ball off by, m"] < 4 / 24


@pytest.mark.parametrize("restitution", [0.6, 0.9])
def test_rigid_bodies_bounce_as_they_are_told(restitution: float) -> None:
    motion = rigid_bodies.rigid_motion(restitution)
    assert rigid_bodies.restitution(motion) == pytest.approx(restitution, abs=0.04)  # springs let go early
    mass = np.array([np.pi * 4 / 3 * 0.3**3, 0.6 * 0.8 * 0.4, np.pi * 4 / 3 * 0.3**3])
    momenta = (mass[:, None] * motion.velocities).sum(1)
    np.testing.assert_allclose(momenta, np.broadcast_to(momenta[0], momenta.shape), atol=1e-9)
