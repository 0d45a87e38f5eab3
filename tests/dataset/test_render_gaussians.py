"""Gaussians of frames, for other programs."""

from pathlib import Path

import pytest
import torch

from gaussians.files.splats.splat_formats import read_splats
from gaussians.files.splats.splat_rows import CAPTURE_UP, UPRIGHT
from gaussians.files.storage_options import SPLAT_FORMATS
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.stage.errors import InputError
from tests.dataset.sinking_ball import Render


@pytest.mark.parametrize("kind", SPLAT_FORMATS)
def test_gaussians_of_frames_are_written_for_other_programs(render: Render, trajectory: Path, kind: str) -> None:
    out = trajectory.parent / "out"
    render("--output_path", str(out), "--render_gaussians", kind)
    reader = TrajectoryReader(trajectory)
    names = [f"{k:04d}.{kind}" for k in range(len(reader))]
    assert sorted(path.name for path in (out / "gaussians").iterdir()) == names
    assert not list(out.rglob("*.mp4"))
    for k, name in enumerate(names):
        splats, expected = read_splats(out / "gaussians" / name), reader.gaussians(k)
        assert splats.up == (None if kind == "spz" else "z")
        read = splats.gaussians.transformed(rotation=UPRIGHT[splats.up or CAPTURE_UP])
        assert len(read) == len(expected)
        if kind == "compressed.ply":  # in another order
            read = read[torch.cdist(expected.means, read.means).argmin(1)]
        # A compressed PLY rounds to 1/1023 of the extent of a chunk, at most that of the scene.
        extent = float((expected.means.amax(0) - expected.means.amin(0)).max())
        tolerance = {"ply": 0.0, "compressed.ply": extent / 1023, "spz": 1e-5}[kind]
        torch.testing.assert_close(read.means, expected.means, rtol=0, atol=tolerance)
        if kind == "ply":
            assert torch.equal(read.sh, expected.sh)
            size = float(expected.covariance().abs().max())
            torch.testing.assert_close(read.covariance(), expected.covariance(), rtol=0, atol=1e-5 * size)


def test_chosen_frames_are_written_once_and_others_only_when_asked(
    render: Render, trajectory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trajectory.parent / "out"
    flags = ("--output_path", str(out), "--render_gaussians")
    render(*flags, "--frames", "2,0")
    assert sorted(path.name for path in (out / "gaussians").iterdir()) == ["0000.ply", "0002.ply"]
    before = (out / "gaussians" / "0002.ply").stat().st_mtime_ns
    render(*flags, "--frames", "0,2")
    assert "was there already" in capsys.readouterr().out
    assert (out / "gaussians" / "0002.ply").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"gaussians\.json: made with other frames; --overwrite"):
        render(*flags)
    render(*flags, "--overwrite")
    assert len(list((out / "gaussians").iterdir())) == len(TrajectoryReader(trajectory))
    with pytest.raises(InputError, match="--frames: expected 0 to"):
        render(*flags, "--frames", "999", "--overwrite")
    assert not (out / "gaussians" / "0999.ply").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--initial_path", "i", "--render_gaussians"), "--render_gaussians: expected --output_path"),
        (("--output_path", "o", "--render_gaussians", "--background_path", "a", "b"), "at most one background"),
        (("--output_path", "o", "--frames", "1"), "--frames: says whose Gaussians are written"),
    ],
)
def test_flags_of_gaussians_without_effect_are_refused(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        render(*flags)
