import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from dataset.background import ground_plane
from dataset.render import main
from gaussians.cameras import Orbit, read_cameras
from gaussians.errors import InputError
from gaussians.ply import write_ply
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from gaussians.trajectory import Frame, TrajectoryMeta, TrajectoryObject, TrajectoryWriter
from gaussians.video import read_video

Render = Callable[..., Path]
FRAMES = 6
CONFIG = {"frame_dt": 0.04, "substep_dt": 1e-3, "g": [0, 0, -5], "init_radius": 4}


def write_trajectory(path: Path, fields: tuple[str, ...] = ("pos", "cov3D", "rot")) -> Path:
    """A red ball above the origin, sinking, and a blue one beside it at rest."""
    generator = torch.Generator().manual_seed(0)
    count = 200
    means = 0.2 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    labels = torch.arange(count, dtype=torch.int32) % 2
    means[labels == 1, 0] += 0.8
    red, blue = torch.tensor([1.7, -1.7, -1.7]), torch.tensor([-1.7, -1.7, 1.7])
    sh = torch.where(labels[:, None, None] == 0, red, blue).expand(count, 1, 3)
    objects = [
        TrajectoryObject(
            name=name,
            label=label,
            index=label,
            count=count // 2,
            youngs_modulus=1e5,
            nu=0.3,
            density=500,
            mass=1,
            volume=0.002,
        )
        for label, name in enumerate(("ball", "duck"))
    ]
    meta = TrajectoryMeta(
        frame_dt=0.04, substep_dt=1e-3, frame_count=FRAMES, dx=0.05, gravity=(0, 0, -5), objects=objects
    )
    with TrajectoryWriter(path, meta, torch.full((count,), 0.9), sh, labels, fields=fields) as writer:
        for k in range(FRAMES):
            moved = means.clone()
            moved[labels == 0, 2] -= 0.1 * k
            R = rotation_exp(torch.tensor([0.0, 0.0, 0.1 * k])).expand(count, 3, 3)
            covariances = torch.tensor([4e-4, 0, 0, 4e-4, 0, 4e-4]).expand(count, 6)
            writer.write(Frame(moved, covariances, R))
        writer.finish()
    return path


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return write_trajectory(tmp_path / "mpm" / "0_ball_duck")


@pytest.fixture
def render(tmp_path: Path, trajectory: Path, monkeypatch: pytest.MonkeyPatch) -> Render:
    def run(*arguments: str) -> Path:
        required = ["--model_path", str(trajectory), "--config", str(tmp_path / "config.json"), "--resolution", "48"]
        monkeypatch.setattr(sys, "argv", ["render", *required, "--device", "cpu", *arguments])
        with torch.inference_mode():
            main()
        return tmp_path

    return run


def red(picture: np.ndarray) -> np.ndarray:
    """Rows of the reddish pixels."""
    signed = picture.astype(int)
    return np.nonzero((signed[..., 0] - signed[..., 2] > 60) & (signed[..., 0] - signed[..., 1] > 60))[0]


def test_moving_camera_makes_one_video_of_all_frames(render: Render, tmp_path: Path) -> None:
    render("--output_path", str(tmp_path / "out"), "--compile_video", "--white_bg")
    frames = list(read_video(tmp_path / "out" / "circle360" / "0_ball_duck.mp4"))
    assert len(frames) == FRAMES
    assert frames[0].shape == (48, 48, 3)
    # The white backdrop shows at the top of every picture, above the ground.
    assert all(frame[0].min() > 230 for frame in frames)


def test_fixed_view_shows_the_ball_sink(render: Render, tmp_path: Path) -> None:
    render("--output_path", str(tmp_path / "out"), "--fixed_view", "7", "--white_b")
    frames = list(read_video(tmp_path / "out" / "view_7" / "0_ball_duck.mp4"))
    heights = [red(frame).mean() for frame in frames]
    assert all(later > earlier for earlier, later in itertools.pairwise(heights))
    # 0.5 m at 4 m distance and a focal length of 72 pixels, seen from 20 degrees above.
    assert heights[-1] - heights[0] == pytest.approx(0.5 * 72 / 4 * np.cos(np.radians(20)), abs=2)


def test_minus_one_renders_every_fourth_view(render: Render, tmp_path: Path) -> None:
    render("--output_path", str(tmp_path / "out"), "--single_view", "-1")
    names = sorted(path.parent.name for path in (tmp_path / "out").glob("*/0_ball_duck.mp4"))
    assert names == sorted(f"view_{k}" for k in range(0, 100, 4))


def test_images_are_the_frames_before_encoding(render: Render, tmp_path: Path) -> None:
    render("--output_path", str(tmp_path / "out"), "--fixed_view", "0", "--render_img", "--compile_video")
    folder = tmp_path / "out" / "view_0"
    assert sorted(path.name for path in (folder / "rgb").iterdir()) == [f"{k:04d}.png" for k in range(FRAMES)]
    for k, frame in enumerate(read_video(folder / "0_ball_duck.mp4")):
        image = imageio.imread(folder / "rgb" / f"{k:04d}.png")
        assert image.shape == (48, 48, 3)
        # Encoding blurs colours over 2 x 2 pixels; a mean difference of 8 levels would be a visible defect.
        assert abs(image.astype(int) - frame).mean() < 8


def test_initial_views_come_with_cameras_prompts_and_depth(render: Render, tmp_path: Path) -> None:
    render("--initial_path", str(tmp_path / "initial"), "--render_depth")
    initial = tmp_path / "initial"
    assert len(list(read_video(initial / "0_ball_duck.mp4"))) == 100
    cameras = read_cameras(initial / "cameras.json")
    expected = Orbit((0.0, 0.0, -0.3), 120.0, 20.0, 4.0).cameras(range(100), 48)
    torch.testing.assert_close(cameras.viewmats, expected.viewmats, atol=1e-5, rtol=0)
    prompts = json.loads((initial / "prompts.json").read_text())
    assert prompts["text"] == ["A pokemon ball.", "A rubber duck."]
    assert prompts["point"] == prompts["center_point"]
    with h5py.File(initial / "depth.h5") as file:
        depth, depth_max = file["depth"][:], float(file["depth_max"][()])
    assert depth.shape == (100, 48, 48)
    assert depth.dtype == np.uint16
    u, v = (round(c) for c in prompts["point"][0])
    # The ball's centre is 4.05 m from the camera, its front 0.2 m nearer; the ground behind adds what shows through.
    assert depth[0, v, u] / 65535 * depth_max == pytest.approx(3.95, abs=0.3)
    png = imageio.imread(initial / "depth" / "view_3.png")
    assert np.array_equal(png, depth[3])


def test_finished_views_are_kept_unless_overwritten(render: Render, tmp_path: Path) -> None:
    arguments = ["--output_path", str(tmp_path / "out"), "--fixed_view", "0"]
    video = render(*arguments) / "out" / "view_0" / "0_ball_duck.mp4"
    before = video.stat().st_mtime_ns
    render(*arguments)
    assert video.stat().st_mtime_ns == before
    render(*arguments, "--overwrite")
    assert video.stat().st_mtime_ns > before


def test_background_replaces_the_ground(render: Render, tmp_path: Path) -> None:
    wall = Gaussians(
        means=torch.tensor([[0.0, 0.0, -0.3]]),
        opacities=torch.tensor([0.99]),
        sh=torch.tensor([[[-1.7, 1.7, -1.7]]]),
        scales=torch.full((1, 3), 3.0),
        quaternions=torch.tensor([[1.0, 0, 0, 0]]),
    )
    write_ply(tmp_path / "wall.ply", wall)
    render("--output_path", str(tmp_path / "out"), "--fixed_view", "0", "--background_path", str(tmp_path / "wall.ply"))
    frame = next(read_video(tmp_path / "out" / "view_0" / "0_ball_duck.mp4")).astype(int)
    assert (frame[0, 0, 1] - frame[0, 0, 0]) > 60


def test_trajectory_of_positions_only_is_refused(render: Render, tmp_path: Path, trajectory: Path) -> None:
    write_trajectory(trajectory, ("pos",))
    with pytest.raises(InputError, match=r"0000\.h5: no dataset 'cov3D'"):
        render("--output_path", str(tmp_path / "out"), "--fixed_view", "0")
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_damaged_frame_leaves_no_video(render: Render, tmp_path: Path, trajectory: Path) -> None:
    frame = trajectory / "0003.h5"
    frame.write_bytes(frame.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"0003\.h5"):
        render("--output_path", str(tmp_path / "out"), "--fixed_view", "0")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --output_path, --initial_path or both"),
        (["--output_path", "x", "--fixed_view", "100"], "expected 0 to 99"),
        (["--output_path", "x", "--resolution", "1"], "--resolution: expected at least 2"),
        (["--output_path", "x", "--background_path", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments_are_one_line(render: Render, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(*arguments)


def test_ground_is_a_checkerboard_at_the_floor() -> None:
    ground = ground_plane()
    assert len(ground) == 80_000
    assert torch.equal(ground.means[:, 2], torch.full((80_000,), -0.94))
    square = torch.floor(ground.means[:, :2] / 0.2 + 1e-3).int()
    assert ((square.sum(1) % 2) == 0).all()
    assert ground.means[:, :2].abs().max() < 4
