from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from dataset.mpm.constitutive_laws import LAWS
from gaussians.stage.errors import InputError
from gaussians.stage.warp_runtime import start_warp
from tools.benchmarks.simulation import bounds as benchmark_bounds
from tools.benchmarks.simulation import clip as benchmark_clip
from tools.benchmarks.simulation import simulator as benchmark_simulator
from tools.benchmarks.simulation import sweep as benchmark_sweep
from tools.benchmarks.simulation.bounds import copy_bandwidth, memory_bound, name_in_source
from tools.benchmarks.simulation.workloads import Workload

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
TINY = Workload("tiny", 600, 16)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that is measured with tiny workloads."""
    name = request.param
    monkeypatch.setattr(benchmark_simulator, "PUBLISHED", TINY)
    monkeypatch.setattr(benchmark_simulator, "SMALL", TINY)
    monkeypatch.setitem(benchmark_simulator._LARGE, name, replace(TINY, particles=1200, n_grid=20))
    monkeypatch.setitem(benchmark_simulator._FRAMES, name, 2)
    start_warp()
    return torch.device(name)


@pytest.mark.parametrize("balls", [3, 6, 8])
def test_balls_lie_apart_and_share_one_volume(balls: int) -> None:
    workload = Workload("balls", 800, 32, balls=balls)
    positions, ball = workload.particles_of_balls()
    offsets = np.linalg.norm(positions - workload.centers()[ball], axis=1)
    assert offsets.max() <= workload.radius * (1 + 1e-12)  # rounding
    distances = np.linalg.norm(workload.centers()[:, None] - workload.centers(), axis=2)
    assert distances[~np.eye(balls, dtype=bool)].min() > 2 * workload.radius
    assert balls * workload.radius**3 == pytest.approx(3 * 0.3**3)
    assert np.abs(positions[:, :2]).max() < 1
    assert positions[:, 2].min() > -0.94


def test_thrown_balls_move_apart_and_turn() -> None:
    run = replace(TINY, speed=3.0, spin=10.0).start(torch.device("cpu"))
    x, v = run.state.x.numpy().astype(float), run.state.v.numpy().astype(float)
    centers = TINY.centers()
    ball = np.linalg.norm(x[:, None] - centers, axis=2).argmin(1)
    for k, angle in enumerate((0, 2 * np.pi / 3, 4 * np.pi / 3)):
        spin = 10 * np.cross((0.6, 0, 0.8), x[ball == k] - centers[k])
        along = np.array([3 * np.cos(angle), 3 * np.sin(angle), 0])
        # Float32 velocities of up to 6 m/s.
        np.testing.assert_allclose(v[ball == k], along + spin, atol=1e-5)


def test_workloads_settle_before_they_are_measured() -> None:
    fallen = replace(TINY, settle=0.1).start(torch.device("cpu"))
    start = TINY.start(torch.device("cpu"))
    drop = (start.state.x.numpy() - fallen.state.x.numpy())[:, 2].max()
    # Free fall of the upper balls under 5 m/s^2, to within half of one call's 20 substeps.
    dt = 0.9 * start.model.largest_substep.min()
    assert 0.5 * 5 * max(0, 0.1 - 10 * dt) ** 2 <= drop <= 0.5 * 5 * (0.1 + 11 * dt) ** 2


def test_touched_nodes_are_those_with_weight() -> None:
    run = TINY.start(torch.device("cpu"))
    first = np.floor(run.model.lattice.coordinates(run.state.x.numpy()) - 0.5).astype(int)
    nodes = {(i + a, j + b, k + c) for i, j, k in first for a in range(3) for b in range(3) for c in range(3)}
    assert run.touched_nodes() == len(nodes)


def test_memory_bound_counts_every_byte_once() -> None:
    # x and F in and out, four constants; a node's momentum and mass in and out.
    assert memory_bound(10, 0, bandwidth=1.0) == 10 * (2 * 12 + 2 * 36 + 16)
    assert memory_bound(0, 7, bandwidth=2.0) == 7 * 32 / 2
    # Also the whole deformation and the history in and out, the law and its four numbers.
    assert memory_bound(1, 0, 1.0, plastic=True) == memory_bound(1, 0, 1.0) + 2 * (36 + 4) + 4 + 16


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("forward kernel update_grid__locals__kernel_0a1b2c3d", "update_grid"),
        ("find_cells_89abcdef", "find_cells"),
        ("builtin kernel scan_kernel", "scan_kernel"),
        ("memset", "memset"),
    ],
)
def test_kernels_have_their_names_in_the_source(name: str, found: str) -> None:
    assert name_in_source(name) == found


def test_simulator_has_a_row_a_workload(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    workloads = [replace(w, settle=0.0) for w in benchmark_simulator.workloads(device)]
    assert {law for workload in workloads for law in workload.laws} == set(LAWS)
    monkeypatch.setattr(benchmark_simulator, "workloads", lambda _: workloads[:2])
    rows = benchmark_simulator.measure(device)
    assert [row["particles"] for row in rows] == [600, 600]
    assert rows[0]["relative"] == 1
    for row in rows:
        assert 0 < row["ms, fastest"] <= row["ms, median"]  # type: ignore[operator]
        assert ("GiB" in row) == (device.type == "cuda")


def test_bounds_compare_with_the_memory_of_the_device(device: torch.device) -> None:
    for row in benchmark_bounds.measure(device):
        assert row["ratio"] == row["measured, ms"] / row["bound, ms"]  # type: ignore[operator]
    assert copy_bandwidth(device) > 1e8  # no memory is that slow


def test_kernels_take_all_of_a_substep(device: torch.device) -> None:
    rows = benchmark_bounds.measure_kernels(device)
    assert sum(float(row["share, %"]) for row in rows) == pytest.approx(100)  # type: ignore[arg-type]
    by_name = {row["kernel"]: row["launches a substep"] for row in rows}
    assert by_name["update_grid"] == 1
    assert "radix_sort_pairs" in by_name


def test_sweep_has_a_plot(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark_sweep._PARTICLES, device.type, (300, 600))
    monkeypatch.setitem(benchmark_sweep._CELLS, device.type, (16, 20, 24))
    rows = benchmark_sweep.measure(device)
    assert [(row["grows"], row["particles"], row["cells a side"]) for row in rows] == [
        ("particles", 300, 16),
        ("particles", 600, 16),
        ("grid", 600, 16),
        ("grid", 600, 20),
        ("grid", 600, 24),
    ]
    benchmark_sweep.plot(rows, device, "a machine", tmp_path / "images" / "plot.png")
    picture = iio.imread(tmp_path / "images" / "plot.png")
    assert picture.shape[:2] == (570, 1350)
    assert picture[..., :3].std() > 10  # something is drawn


def test_clip_writes_every_frame_with_all_fields(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark_clip._FRAMES, device.type, 4)
    (row,) = benchmark_clip.measure(device)
    assert row["substeps"] == 3 * 16
    # Positions, covariances, rotations and velocities, and the scene's colours and opacities; HDF5 adds some kB a file.
    expected = 600 * (4 * 84 + 12 * 4 + 4 + 8)
    assert expected < 1e9 * float(row["GB"]) < expected + 6 * 10_000  # type: ignore[arg-type]
    assert 0 < row["seconds"] < row["whole command"]  # type: ignore[operator]


def test_clip_needs_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(benchmark_clip._FRAMES, "cpu", 10**12)
    with pytest.raises(InputError, match=r"expected [\d.]+ GB free for a clip, found [\d.]+$"):
        benchmark_clip.measure(torch.device("cpu"))
