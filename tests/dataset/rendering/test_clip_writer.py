import time
from pathlib import Path

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest
import torch

import gaussians.files.video
from dataset.rendering import clip_writer
from dataset.rendering.clip_writer import ClipWriter, Outputs, encoder_threads
from gaussians.files.video import read_video
from gaussians.stage.errors import InputError

VIEWS, FRAMES, SIZE = 3, 7, 32
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def pictures(device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Colours (T, V, H, W, 3) that tell view and frame, and masks (T, V, H, W)."""
    frame = torch.arange(FRAMES).view(-1, 1, 1, 1, 1) / FRAMES
    view = torch.arange(VIEWS).view(1, -1, 1, 1, 1) / VIEWS
    rgb = torch.cat([(frame + 0 * view), (view + 0 * frame), 0 * frame + 0 * view + 0.5], -1)
    rgb = rgb.expand(FRAMES, VIEWS, SIZE, SIZE, 3).clone()
    masks = torch.arange(FRAMES * VIEWS, dtype=torch.uint8).view(FRAMES, VIEWS, 1, 1).repeat(1, 1, SIZE, SIZE)
    return rgb.to(device), masks.to(device)


def paths(folder: Path) -> list[Path]:
    return [folder / f"view_{view}" / "clip.mp4" for view in range(VIEWS)]


def write(folder: Path, outputs: Outputs, device: str = "cpu") -> None:
    rgb, masks = pictures(device)
    with ClipWriter(paths(folder), FRAMES, 25, outputs, torch.device(device), 1) as writer:
        for k in range(FRAMES):
            writer.write(rgb[k], masks[k] if outputs.masks else None)


@pytest.mark.parametrize("device", DEVICES)
def test_every_frame_of_every_view_arrives_in_its_place(tmp_path: Path, device: str) -> None:
    write(tmp_path, Outputs(video=True, images=True, masks=True), device)
    rgb, masks = pictures()
    levels = (rgb * 255 + 0.5).to(torch.uint8).numpy()
    for view, path in enumerate(paths(tmp_path)):
        frames = list(read_video(path))
        assert len(frames) == FRAMES
        with h5py.File(path.parent / "masks.h5") as file:
            stack = file["mask"][:]
            assert file["mask"].dtype == np.uint8
        assert np.array_equal(stack, masks[:, view].numpy())
        for k, frame in enumerate(frames):
            # Constant colours survive but for the rounding of three planes and the encoder's at this rate.
            assert np.abs(frame.astype(int) - levels[k, view]).max() <= 4
            assert np.array_equal(imageio.imread(path.parent / "rgb" / f"{k:04d}.png"), levels[k, view])
            assert np.array_equal(imageio.imread(path.parent / "masks" / f"{k:04d}.png"), stack[k])
        assert sorted(file.name for file in path.parent.iterdir()) == ["clip.mp4", "masks", "masks.h5", "rgb"]


@pytest.mark.parametrize("outputs", [Outputs(), Outputs(video=False, images=True), Outputs(video=False, masks=True)])
def test_only_what_is_asked_for_is_written(tmp_path: Path, outputs: Outputs) -> None:
    write(tmp_path, outputs)
    files = [file for path in paths(tmp_path) for file in (*outputs.pictures(path), *outputs.mask_files(path))]
    assert files
    assert all(file.exists() for file in files)
    assert paths(tmp_path)[0].is_file() == outputs.video
    assert (tmp_path / "view_0" / "rgb").is_dir() == outputs.images
    assert (tmp_path / "view_0" / "masks").is_dir() == outputs.masks


def test_no_more_frames_wait_than_there_are_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk holds up drawing instead of filling the memory."""
    begun: list[int] = []

    def slow(path: Path, picture: np.ndarray) -> None:
        begun.append(int(path.stem))
        time.sleep(0.01)

    monkeypatch.setattr(clip_writer, "write_png", slow)
    rgb, _ = pictures()
    with ClipWriter(paths(tmp_path), FRAMES, 25, Outputs(video=False, images=True), torch.device("cpu"), 1) as writer:
        for k in range(FRAMES):
            writer.write(rgb[k])
            assert len(begun) >= VIEWS * (k + 1 - clip_writer._SLOTS)
            assert begun.count(k - clip_writer._SLOTS) in (0, VIEWS)


def test_an_encoder_that_fails_stops_the_clip_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tmp_path / "encoder"
    encoder.write_text("#!/bin/sh\necho No space left >&2\nexit 1\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(gaussians.files.video, "get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(InputError, match=r"clip\.mp4: cannot be encoded: No space left"):
        write(tmp_path / "out", Outputs(video=True, images=True, masks=True))
    assert not (tmp_path / "out").exists()


def test_a_drawing_that_fails_leaves_nothing(tmp_path: Path) -> None:
    rgb, masks = pictures()

    def fail_half_way() -> None:
        outputs = Outputs(video=True, images=True, masks=True)
        with ClipWriter(paths(tmp_path / "out"), FRAMES, 25, outputs, torch.device("cpu"), 1) as writer:
            writer.write(rgb[0], masks[0])
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert not (tmp_path / "out").exists()


def test_encoders_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_writer, "core_count", lambda: 16)
    assert [encoder_threads(count) for count in (1, 5, 16, 25)] == [16, 3, 1, 1]
    monkeypatch.setattr(clip_writer, "core_count", lambda: 100)
    assert [encoder_threads(count) for count in (1, 25)] == [16, 4]
