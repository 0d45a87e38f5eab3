from pathlib import Path

import numpy as np
import pytest
import torch

import gaussians.files.video
from gaussians.files.video import VideoWriter, frame_rate, read_video, to_uint8, to_yuv420p
from gaussians.stage.errors import InputError


def moving_square(count: int, size: int) -> list[np.ndarray]:
    """A bright square on a grey ramp, four pixels further in each frame."""
    ramp = np.linspace(40, 200, size, dtype=np.uint8)
    frames = []
    for k in range(count):
        frame = np.repeat(np.repeat(ramp[None, :, None], size, 0), 3, 2)
        frame[8:24, 4 * k : 4 * k + 16] = (250, 240, 60)
        frames.append(frame)
    return frames


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    with VideoWriter(path, 50) as writer:
        for frame in frames:
            writer.write(frame)


def test_video_reads_back_as_it_was_written(tmp_path: Path) -> None:
    frames = moving_square(10, 96)
    path = tmp_path / "deep" / "clip.mp4"
    with VideoWriter(path, 25) as writer:
        for frame in frames:
            writer.write(frame)
    found = list(read_video(path))
    assert len(found) == 10
    assert frame_rate(path) == 25
    for frame, read in zip(frames, found, strict=True):
        mse = np.mean((frame.astype(float) - read) ** 2)
        # 4:2:0 halves the colours' resolution, which costs most at the square's edge; 30 dB is far above any mix-up.
        assert 10 * np.log10(255**2 / mse) > 30


def test_video_is_h264_in_a_pixel_format_that_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 50) as writer:
        writer.write(moving_square(1, 64)[0])
    contents = path.read_bytes()
    assert b"avc1" in contents
    # The index stands before the pictures, so that a browser starts before it has the whole file.
    assert contents.index(b"moov") < contents.index(b"mdat")


def test_odd_sizes_become_even(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 50) as writer:
        writer.write(np.zeros((33, 47, 3), np.uint8))
    assert next(read_video(path)).shape == (34, 48, 3)


def test_nothing_remains_of_a_video_whose_frames_failed(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with VideoWriter(tmp_path / "clip.mp4", 50) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_unreadable_videos_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.mp4: no such file"):
        next(read_video(tmp_path / "absent.mp4"))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"text\.mp4: not a readable video"):
        frame_rate(tmp_path / "text.mp4")


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), VideoWriter(tmp_path / "file" / "clip.mp4", 50):
        pass


def test_colours_are_rounded_and_clamped() -> None:
    values = torch.tensor([[-1.0, 0.5, 2.0], [0.0, 1.0, 0.499 / 255]])
    assert to_uint8(values).tolist() == [[0, 128, 255], [0, 255, 0]]


def test_planes_are_those_that_the_encoder_makes_of_the_picture(tmp_path: Path) -> None:
    """Constant colours survive halving, so the decoded picture is the original but for rounding to 219 levels."""
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0.2, 0.5, 0.8], [0.9, 0.6, 0.1]])
    images = colors[:, None, None].expand(7, 32, 48, 3)
    for name, frames in (("planes", to_yuv420p(images)), ("rgb", to_uint8(images))):
        with VideoWriter(tmp_path / f"{name}.mp4", 50, crf=1) as writer:
            for frame in frames:
                writer.write(frame.numpy())
        for color, frame in zip(colors, read_video(tmp_path / f"{name}.mp4"), strict=True):
            difference = np.abs(frame.astype(float) - 255 * color.numpy())
            # Half a level each of Y, Cb and Cr makes at most 0.6 + 1.0 levels of blue; the decoder rounds, too.
            assert difference.max() <= 3, (name, color)


def test_planes_hold_luma_and_means_of_chroma() -> None:
    images = torch.zeros(2, 4, 6, 3)
    images[1, 0, 0] = torch.tensor([1.0, 0.0, 0.0])
    planes = to_yuv420p(images)
    assert planes.shape == (2, 6, 6)
    assert planes.dtype == torch.uint8
    assert torch.equal(planes[0, :4], torch.full((4, 6), 16, dtype=torch.uint8))
    assert torch.equal(planes[0, 4:], torch.full((2, 6), 128, dtype=torch.uint8))
    assert planes[1, 0, 0] == 81  # 16 + 219 * 0.299
    cb, cr = planes[1, 4:].flatten().split(6)
    # A quarter of pure red's -37.8 and 112.
    assert cb.tolist() == [round(128 - 37.8 / 4), *[128] * 5]
    assert cr.tolist() == [128 + 112 // 4, *[128] * 5]


def test_planes_of_odd_sizes_repeat_the_last_row_and_column() -> None:
    image = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([image, image[-1:]])
    padded = torch.cat([padded, padded[:, -1:]], 1)
    assert torch.equal(to_yuv420p(image), to_yuv420p(padded))
    assert to_yuv420p(image).shape == (9, 8)


def test_finishing_early_is_finishing_once(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 50) as writer:
        writer.write(moving_square(1, 64)[0])
        writer.finish()
        assert not (tmp_path / "clip.mp4").exists()
    assert len(list(read_video(tmp_path / "clip.mp4"))) == 1


def test_a_video_that_the_encoder_cannot_finish_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An encoder that takes every frame and fails at the very end, as on a disk that is then full.
    encoder = tmp_path / "encoder"
    encoder.write_text("#!/bin/sh\nfor last; do :; done\ncat >$last\necho No space left >&2\nexit 1\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(gaussians.files.video, "get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(InputError, match=r"clip\.mp4: cannot be encoded: No space left"):
        write_video(tmp_path / "out" / "clip.mp4", moving_square(3, 64))
    assert [path.name for path in tmp_path.rglob("*")] == ["encoder"]


def test_an_encoder_that_stops_early_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussians.files.video, "get_ffmpeg_exe", lambda: "false")
    frames = [np.zeros((256, 256, 3), np.uint8)] * 20  # more than the pipe between us holds
    with pytest.raises(InputError, match="the encoder stopped"):
        write_video(tmp_path / "clip.mp4", frames)
    assert list(tmp_path.iterdir()) == []


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.txt: expected a name that ends in \.mp4"):
        VideoWriter(tmp_path / "clip.txt", 50)
