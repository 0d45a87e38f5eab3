import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dynamic_models.data.keypoints import KeypointClip, extract_keypoints, keypoint_rows, keypoint_shares
from dynamic_models.data.windows import velocities_at
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError


def test_rows_belong_to_their_objects_and_padding_is_marked() -> None:
    labels = torch.tensor([-1] * 4 + [2] * 3 + [0] * 10)
    rows, objects = keypoint_rows(torch.rand(17, 3), labels, 6)
    assert objects.tolist() == [0, 2]
    assert rows.shape == (2, 6)
    assert (labels[rows[0]] == 0).all()
    assert sorted(rows[1].tolist()) == [-1, -1, -1, 4, 5, 6]


def test_scene_without_objects_is_refused() -> None:
    with pytest.raises(InputError, match="at least one object"):
        keypoint_rows(torch.rand(3, 3), torch.full((3,), -1), 2)


def test_shares_give_keypoints_the_mass_properties_of_the_body() -> None:
    """A solid ball whose points are, as scans have them, mostly on its surface."""
    radius = 0.2
    directions = torch.nn.functional.normalize(torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    radii = radius * torch.cat([torch.ones(2000), torch.linspace(0, 1, 1000) ** (1 / 3)])
    labels = torch.zeros(3000).long()
    points = directions * radii[:, None] + torch.tensor([0.3, 0.0, 0.0])
    rows, _ = keypoint_rows(points, labels, 256)
    (share,) = keypoint_shares(points, labels, rows)
    keypoints = points[rows[0]]
    assert share.sum() == pytest.approx(1, abs=1e-6)
    # Two fifths of the squared radius about any axis, and somewhat more, as keypoints lie further out than what they
    # stand for; points of equal mass have a quarter more.
    center = share @ keypoints
    inertia = 2 / 3 * share @ (keypoints - center).square().sum(-1)
    assert center.tolist() == pytest.approx([0.3, 0, 0], abs=2e-3)
    assert float(inertia) == pytest.approx(0.4 * radius**2, rel=0.08)
    equal = 2 / 3 * (keypoints - keypoints.mean(0)).square().sum(-1).mean()
    assert float(equal) >= 0.5 * radius**2
    # Of the first keypoints alone each stands for those that are nearest to it, too.
    clip = KeypointClip(keypoints[None, None], None, rows, torch.zeros(1).long(), share[None])
    fewer = clip.shares_of_first(64)
    assert fewer.shape == (1, 64)
    inertia = 2 / 3 * fewer[0] @ (keypoints[:64] - fewer[0] @ keypoints[:64]).square().sum(-1)
    assert float(inertia) == pytest.approx(0.4 * radius**2, rel=0.2)
    assert torch.equal(clip.shares_of_first(None), clip.shares)


@pytest.fixture
def trajectory(tmp_path: Path, toy_scene_writer: Callable[..., None]) -> Path:
    toy_scene_writer(tmp_path / "scene", seed=1, frames=4, count=50)
    return tmp_path / "scene"


def extract(trajectory: Path, cache: Path, num_keypoints: int = 8) -> KeypointClip:
    reader = TrajectoryReader(trajectory)
    assert reader.labels is not None
    return extract_keypoints(reader, reader.labels, num_keypoints, cache)


def test_clip_follows_the_trajectory(trajectory: Path, tmp_path: Path) -> None:
    clip = extract(trajectory, tmp_path / "cache.safetensors")
    reader = TrajectoryReader(trajectory)
    for k in range(reader.num_frames):
        frame = reader.frame(k)
        assert frame.velocities is not None
        assert clip.velocities is not None
        assert torch.equal(clip.positions[k], frame.means[clip.rows])
        assert torch.equal(clip.velocities[k], frame.velocities[clip.rows])


def test_cache_is_used_while_nothing_changed(trajectory: Path, tmp_path: Path) -> None:
    """All frames but the first could not be read again, with their size and time of change as they were."""
    cache = tmp_path / "cache.safetensors"
    first = extract(trajectory, cache)
    for frame in sorted(trajectory.glob("0*.h5"))[1:]:
        before = frame.stat()
        frame.write_bytes(bytes(before.st_size))
        os.utime(frame, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = extract(trajectory, cache)
    assert torch.equal(first.positions, again.positions)
    assert torch.equal(first.rows, again.rows)


def test_cache_is_never_stale(trajectory: Path, tmp_path: Path, toy_scene_writer: Callable[..., None]) -> None:
    cache = tmp_path / "cache.safetensors"
    first = extract(trajectory, cache)
    assert extract(trajectory, cache, num_keypoints=5).positions.shape[2] == 5
    toy_scene_writer(trajectory, seed=2, frames=4, count=50)  # the same sizes, other contents
    changed = extract(trajectory, cache)
    assert not torch.equal(changed.positions, first.positions)
    # A damaged cache is made again.
    content = cache.read_bytes()
    cache.unlink()  # what is mapped from it stays
    cache.write_bytes(content[: len(content) // 2])
    assert torch.equal(extract(trajectory, cache).positions, changed.positions)


DAMAGE: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "positions missing": lambda tensors: tensors.pop("positions"),
    "rows missing": lambda tensors: tensors.pop("rows"),
    "labels missing": lambda tensors: tensors.pop("labels"),
    "another shape": lambda tensors: tensors.update(positions=tensors["positions"][:, :1, :1].contiguous()),
    "NaN": lambda tensors: tensors["positions"].fill_(float("nan")),
    "whole numbers": lambda tensors: tensors.update(positions=tensors["positions"].long()),
    "one value changed": lambda tensors: tensors["positions"].view(-1)[0].add_(1.0),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_cache_with_the_right_key_is_made_again(trajectory: Path, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache.safetensors"
    expected = extract(trajectory, cache).positions.clone()
    with safe_open(cache, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    DAMAGE[damage](tensors)
    cache.unlink()
    save_file(tensors, cache, metadata=metadata)
    assert torch.equal(extract(trajectory, cache).positions, expected)


def test_flipped_bit_of_a_cache_is_found(trajectory: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.safetensors"
    expected = extract(trajectory, cache).positions.clone()
    content = bytearray(cache.read_bytes())
    content[-40] ^= 0x40
    cache.unlink()
    cache.write_bytes(content)
    assert torch.equal(extract(trajectory, cache).positions, expected)


def test_change_of_time_alone_makes_the_cache_stale(trajectory: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.safetensors"
    extract(trajectory, cache)
    made = cache.stat().st_ino
    os.utime(trajectory / "0002.h5", ns=(1, 1))
    extract(trajectory, cache)
    assert cache.stat().st_ino != made


def test_another_directory_is_named_where_the_cache_cannot_be_written(trajectory: Path, tmp_path: Path) -> None:
    (tmp_path / "keypoints").write_text("no directory")
    with pytest.raises(InputError, match=r"cannot be written: .*; --cache gives extracted keypoints another directory"):
        extract(trajectory, tmp_path / "keypoints" / "a.safetensors")


def test_velocities_from_positions_are_exact_for_constant_acceleration() -> None:
    t = torch.arange(6, dtype=torch.float64)[:, None, None, None] * 0.02
    v, a = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.0, 3.0, -5.0]).double()
    clip = KeypointClip(v * t + a * t**2 / 2, None, torch.zeros(1, 1).long(), torch.zeros(1).long(), torch.ones(1, 1))
    for k in range(6):
        # float64 rounding of differences over 0.04 s
        torch.testing.assert_close(velocities_at(clip, k, 0.02)[0, 0], v + a * 0.02 * k, rtol=0, atol=1e-12)
