from pathlib import Path

import numpy as np
import pytest

from gaussians.files.video import VideoWriter, frame_rate, read_video
from gaussians.stage.errors import InputError
from gaussians.stage.provenance import Provenance
from videogen.videos.video_row import default_title, write_row


def flat_video(path: Path, level: int, size: tuple[int, int], count: int, fps: float) -> Path:
    with VideoWriter(path, fps) as writer:
        for _ in range(count):
            writer.write(np.full((*size, 3), level, np.uint8))
    return path


def test_videos_stand_in_order_with_the_first_ones_rate(tmp_path: Path) -> None:
    left = flat_video(tmp_path / "left.mp4", 60, (64, 96), 5, 20)
    right = flat_video(tmp_path / "right.mp4", 200, (64, 80), 7, 50)
    output = tmp_path / "both.mp4"
    assert write_row([left, right], ["", ""], output) == 5
    frames = list(read_video(output))
    assert len(frames) == 5
    assert frames[0].shape == (64, 176, 3)
    assert frame_rate(output) == 20
    # Flat grey survives encoding within a few levels.
    assert abs(frames[0][:, :90].astype(int) - 60).max() < 6
    assert abs(frames[0][:, 102:].astype(int) - 200).max() < 6


def test_titles_are_drawn(tmp_path: Path) -> None:
    video = flat_video(tmp_path / "a.mp4", 128, (240, 240), 1, 20)
    write_row([video], ["Simulated"], tmp_path / "titled.mp4")
    frame = next(read_video(tmp_path / "titled.mp4"))
    corner = frame[:40, :120]
    assert corner.max() > 220
    assert corner.min() < 40
    assert abs(frame[60:].astype(int) - 128).max() < 6


def test_unequal_heights_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    videos = [flat_video(tmp_path / f"{h}.mp4", 60, (h, 64), 2, 20) for h in (64, 80)]
    with pytest.raises(InputError, match=r"expected one height, found \[64, 80\]"):
        write_row(videos, ["", ""], tmp_path / "both.mp4")
    assert not (tmp_path / "both.mp4").exists()


def test_titles_say_what_was_simulated_and_what_predicted(tmp_path: Path) -> None:
    video = tmp_path / "view_0" / "0_ball.mp4"
    assert default_title(video) == "0_ball"
    record = video.with_suffix(".json")
    Provenance(record, {"trajectory": "hash"}).write([])
    assert default_title(video) == "0_ball: simulated"
    Provenance(record, {"dynamic_model": "mpm", "config": {"g": [0.0, 0.0, -9.8]}}).write([])
    assert default_title(video) == "0_ball: simulated\ngravity 9.8 m/s^2"
    Provenance(record, {"checkpoint": {"settings": {"dynamic_model": "ngff"}}}).write([])
    assert default_title(video) == "0_ball: ngff"
    record.write_text("[]")
    assert default_title(video) == "0_ball"
