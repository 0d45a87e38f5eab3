"""Pictures of a trajectory: views, masks, depth, backgrounds, and what is kept of them."""

import itertools
import json
from pathlib import Path

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from dataset.rendering.background import load_background
from gaussians.cameras import Orbit, read_cameras
from gaussians.files.splats.ply import write_ply
from gaussians.files.trajectory_reader import TrajectoryReader
from gaussians.files.video import read_video, to_uint8
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.stage.errors import InputError
from tests.dataset.sinking_ball import CONFIG, FRAMES, Render, write_trajectory, write_wall


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


def test_minus_one_renders_every_fourth_view(render: Render, small_ground: tuple[str, str], tmp_path: Path) -> None:
    render(*small_ground, "--output_path", str(tmp_path / "out"), "--single_view", "-1")
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


def test_initial_views_come_with_cameras_prompts_and_depth(
    render: Render, small_ground: tuple[str, str], tmp_path: Path
) -> None:
    render(*small_ground, "--initial_path", str(tmp_path / "initial"), "--render_depth")
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


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--resolution", "32"], "resolution"),
        (["--white_bg"], "white_bg"),
        (["--shs_degree", "0"], "shs_degree"),
        (["--background_path", "wall.ply"], "background"),
        (["--config", "farther.json"], r"orbit\.radius"),
        (["--render_img", "--resolution", "32"], "resolution"),
    ],
)
def test_pictures_made_from_something_else_are_refused_until_overwritten(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: list[str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_wall(tmp_path / "wall.ply", [0.3, 0.2, 0.1])
    (tmp_path / "farther.json").write_text(json.dumps(CONFIG | {"init_radius": 5.0}))
    arguments = ["--output_path", "out", "--fixed_view", "0"]
    video = render(*arguments) / "out" / "view_0" / "0_ball_duck.mp4"
    before = video.read_bytes()
    with pytest.raises(
        InputError, match=rf"0_ball_duck\.json: made with other .*{named}.*; --overwrite makes it again"
    ):
        render(*arguments, *change)
    assert video.read_bytes() == before
    assert not (video.parent / "rgb").exists()
    render(*arguments, *change, "--overwrite")
    assert video.exists() == ("--render_img" not in change)
    render(*arguments, *change)  # is current now


def test_pictures_of_another_simulation_are_refused(render: Render, tmp_path: Path, trajectory: Path) -> None:
    arguments = ["--output_path", str(tmp_path / "out"), "--fixed_view", "0"]
    render(*arguments)
    meta = json.loads((trajectory / "meta.json").read_text())
    (trajectory / "meta.json").write_text(json.dumps(meta | {"wall_time": 99.0}))
    render(*arguments)  # the same motion, made another time
    (trajectory / "meta.json").write_text(json.dumps(meta | {"hashes": {"config": "other"}}))
    with pytest.raises(InputError, match="made with other trajectory"):
        render(*arguments)
    (trajectory / "meta.json").write_text(json.dumps(meta))
    render(*arguments)
    with h5py.File(trajectory / "0002.h5", "r+") as file:
        file["pos"][...] += 0.3
    with pytest.raises(InputError, match="made with other trajectory"):
        render(*arguments)


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_damaged_video_is_made_again(render: Render, tmp_path: Path, damage: bytes) -> None:
    arguments = ["--output_path", str(tmp_path / "out"), "--fixed_view", "0"]
    video = render(*arguments) / "out" / "view_0" / "0_ball_duck.mp4"
    before = video.read_bytes()
    video.write_bytes(damage)
    render(*arguments)
    assert video.read_bytes() == before


def test_a_video_of_unknown_origin_is_not_taken_for_ours(render: Render, tmp_path: Path) -> None:
    arguments = ["--output_path", str(tmp_path / "out"), "--fixed_view", "0"]
    video = render(*arguments) / "out" / "view_0" / "0_ball_duck.mp4"
    video.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="nothing says what it was made from"):
        render(*arguments)


def test_masks_show_which_object_is_where(render: Render, tmp_path: Path) -> None:
    render("--output_path", str(tmp_path / "out"), "--fixed_view", "7", "--render_masks", "--render_img")
    folder = tmp_path / "out" / "view_7"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("0_ball_duck.json", "masks", "masks.h5", "masks.json", "rgb")  # no video asked for
    ]
    with h5py.File(folder / "masks.h5") as file:
        masks = file["mask"][:]
    assert masks.shape == (FRAMES, 48, 48)
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1, 2}
    for k, mask in enumerate(masks):
        assert np.array_equal(imageio.imread(folder / "masks" / f"{k:04d}.png"), mask)
        picture = imageio.imread(folder / "rgb" / f"{k:04d}.png").astype(int)
        # The ball (label 0) is red and the duck blue; the grey ground is neither.
        assert (picture[mask == 1][:, 0] > picture[mask == 1][:, 2]).all()
        assert (picture[mask == 2][:, 0] < picture[mask == 2][:, 2]).all()
    heights = [np.nonzero(mask == 1)[0].mean() for mask in masks]
    assert all(later > earlier for earlier, later in itertools.pairwise(heights))
    assert (masks[:, 0, 0] == 0).all()


def test_initial_masks_are_those_of_the_hundred_views(
    render: Render, small_ground: tuple[str, str], tmp_path: Path
) -> None:
    render(*small_ground, "--initial_path", str(tmp_path / "initial"), "--render_masks", "--resolution", "32")
    with h5py.File(tmp_path / "initial" / "masks.h5") as file:
        masks = file["mask"][:]
    assert masks.shape == (100, 32, 32)
    assert all(set(np.unique(mask)) >= {0, 1} for mask in masks)
    prompts = json.loads((tmp_path / "initial" / "prompts.json").read_text())
    for label, (u, v) in enumerate(prompts["point"]):
        assert masks[0, int(v), int(u)] == label + 1


def test_masks_are_added_to_what_is_there(render: Render, tmp_path: Path) -> None:
    arguments = ["--output_path", str(tmp_path / "out"), "--resolution", "32", "--fixed_view", "0"]
    render(*arguments)
    assert not (tmp_path / "out" / "view_0" / "masks").exists()
    render(*arguments, "--render_masks", "--compile_video")
    assert len(list((tmp_path / "out" / "view_0" / "masks").iterdir())) == FRAMES


def test_any_mixture_of_views_is_drawn_together(render: Render, tmp_path: Path) -> None:
    render("--output_path", str(tmp_path / "out"), "--views", "84,circle360,circle360_jitter,0", "--resolution", "31")
    for name in ("view_84", "view_0", "circle360", "circle360_jitter"):
        frames = list(read_video(tmp_path / "out" / name / "0_ball_duck.mp4"))
        assert len(frames) == FRAMES
        assert frames[0].shape == (32, 32, 3)  # 4:2:0 needs even sizes


def test_views_drawn_together_are_those_drawn_alone(render: Render, tmp_path: Path) -> None:
    render("--output_path", str(tmp_path / "many"), "--views", "3,40,circle360", "--render_img")
    render("--output_path", str(tmp_path / "one"), "--fixed_view", "40", "--render_img")
    for k in range(FRAMES):
        image = imageio.imread(tmp_path / "one" / "view_40" / "rgb" / f"{k:04d}.png")
        assert np.array_equal(imageio.imread(tmp_path / "many" / "view_40" / "rgb" / f"{k:04d}.png"), image)


def test_a_group_is_rendered_before_all_backgrounds_in_shards(render: Render, tmp_path: Path) -> None:
    write_trajectory(tmp_path / "mpm" / "1_duck_ball")
    for name, color in (("table0", 1.0), ("table1", -1.0)):
        write_wall(tmp_path / "backgrounds" / name / "gaussians_feedforward.ply", [-color, color, -color])
        placement = {"rotation": [0, 0, 0], "translation": [0, 0, 0], "scale": 1, "center": [0, 0, 0], "crop": False}
        (tmp_path / "backgrounds" / name / "placement.json").write_text(json.dumps(placement))
    group = ["--model_path", str(tmp_path / "mpm"), "--background_path", str(tmp_path / "backgrounds")]
    group += ["--output_path", str(tmp_path / "dynamic"), "--initial_path", str(tmp_path / "initial")]
    group += ["--fixed_view", "0", "--resolution", "24"]
    render(*group, "--shard", "0/3")
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "dynamic").rglob("*.mp4")}
    render(*group, "--shard", "1/3")
    render(*group)
    found = sorted(str(path.relative_to(tmp_path / "dynamic")) for path in (tmp_path / "dynamic").rglob("*.mp4"))
    pairs = [(scene, table) for scene in ("0_ball_duck", "1_duck_ball") for table in ("table0", "table1")]
    assert found == [f"{scene}/{table}/view_0/{scene}.mp4" for scene, table in pairs]
    assert len(first) == 2
    assert all(path.stat().st_mtime_ns == moment for path, moment in first.items())
    for scene, table in pairs:
        initial = tmp_path / "initial" / scene / table
        names = ["cameras.json", "prompts.json", f"{scene}.json", f"{scene}.mp4"]
        assert sorted(path.name for path in initial.iterdir()) == sorted(names)
        frame = next(read_video(tmp_path / "dynamic" / scene / table / "view_0" / f"{scene}.mp4")).astype(int)
        green = frame[0, 0, 1] > frame[0, 0, 0]
        assert green == (table == "table0")


def test_one_damaged_scene_of_a_group_does_not_keep_the_others_back(
    render: Render, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = write_trajectory(tmp_path / "mpm" / "00_can") / "0002.h5"
    damaged.write_bytes(damaged.read_bytes()[:500])
    arguments = ["--model_path", str(tmp_path / "mpm"), "--output_path", str(tmp_path / "out"), "--fixed_view", "0"]
    with pytest.raises(InputError, match=r"1 of 2 failed, the first of them: .*00_can/0002\.h5"):
        render(*arguments, "--resolution", "24")
    assert [path.stem for path in (tmp_path / "out").rglob("*.mp4")] == ["0_ball_duck"]


def test_background_replaces_the_ground(render: Render, tmp_path: Path) -> None:
    write_wall(tmp_path / "wall.ply", [-1.7, 1.7, -1.7])
    render("--output_path", str(tmp_path / "out"), "--fixed_view", "0", "--background_path", str(tmp_path / "wall.ply"))
    frame = next(read_video(tmp_path / "out" / "view_0" / "0_ball_duck.mp4")).astype(int)
    assert (frame[0, 0, 1] - frame[0, 0, 0]) > 60


def test_trajectory_of_positions_only_is_refused(render: Render, tmp_path: Path, trajectory: Path) -> None:
    write_trajectory(trajectory, ("pos",))
    with pytest.raises(InputError, match=r"0000\.h5: no dataset 'cov3D'"):
        render("--output_path", str(tmp_path / "out"), "--fixed_view", "0")
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_damaged_frame_leaves_no_video(render: Render, tmp_path: Path, trajectory: Path) -> None:
    """Nor initial views that look as if all was well, though their frame is whole."""
    frame = trajectory / "0003.h5"
    frame.write_bytes(frame.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"0003\.h5"):
        render("--output_path", str(tmp_path / "out"), "--initial_path", str(tmp_path / "initial"), "--fixed_view", "0")
    assert not [path for folder in ("out", "initial") for path in (tmp_path / folder).rglob("*")]


@pytest.mark.gpu
def test_gpu_and_cpu_write_the_same_pictures(render: Render, tmp_path: Path) -> None:
    arguments = ["--views", "3,circle360", "--render_img", "--render_masks", "--compile_video", "--resolution", "64"]
    for device in ("cpu", "cuda"):
        folder = tmp_path / device
        outputs = ["--output_path", str(folder / "motion"), "--initial_path", str(folder / "initial")]
        render(*arguments, *outputs, "--render_depth", "--device", device)
    on_cpu, on_gpu = tmp_path / "cpu" / "motion" / "view_3", tmp_path / "cuda" / "motion" / "view_3"
    for k in range(FRAMES):
        image, other = (imageio.imread(path / "rgb" / f"{k:04d}.png").astype(int) for path in (on_cpu, on_gpu))
        # gsplat's single precision and the CPU's double one round apart at the edges of splats.
        assert np.abs(image - other).mean() < 0.5
        mask, other = (imageio.imread(path / "masks" / f"{k:04d}.png") for path in (on_cpu, on_gpu))
        assert (mask == other).mean() > 0.99
    for frame, other in zip(*(read_video(path / "0_ball_duck.mp4") for path in (on_cpu, on_gpu)), strict=True):
        # Planes come from the encoder's conversion here and from ours there.
        assert np.abs(frame.astype(int) - other).mean() < 2
    initial = [tmp_path / device / "initial" for device in ("cpu", "cuda")]
    boxes = [np.array(json.loads((path / "prompts.json").read_text())["bbox"]) for path in initial]
    assert np.abs(boxes[0] - boxes[1]).max() <= 1
    depths = []
    for path in initial:
        with h5py.File(path / "depth.h5") as file:
            depths.append(file["depth"][:] / 65535 * file["depth_max"][()])
    assert np.abs(depths[0] - depths[1]).mean() < 0.01


@pytest.mark.parametrize("degree", range(4))
def test_trajectory_and_background_may_differ_in_degree(
    render: Render, tmp_path: Path, trajectory: Path, degree: int
) -> None:
    """A published background, of degree 3 with its capture's cameras, before a trajectory of degree 0."""
    generator = torch.Generator().manual_seed(1)
    count = 500
    table = Gaussians(
        means=torch.randn(count, 3, generator=generator) * 2,
        opacities=torch.full((count,), 0.9),
        sh=torch.randn(count, 16, 3, generator=generator),
        scales=torch.full((count, 3), 0.2),
        quaternions=torch.randn(count, 4, generator=generator),
    )
    write_ply(tmp_path / "table6" / "gaussians_feedforward.ply", table)
    extrinsics = torch.eye(4).repeat(3, 1, 1)
    torch.save({"intrinsics": torch.eye(3), "extrinsics": extrinsics}, tmp_path / "table6" / "camera_2999.pt")
    arguments = ["--output_path", str(tmp_path / str(degree)), "--background_path", str(tmp_path / "table6")]
    render(*arguments, "--fixed_view", "0", "--shs_degree", str(degree), "--render_img", "--resolution", "24")
    picture = imageio.imread(tmp_path / str(degree) / "view_0" / "rgb" / "0000.png")
    placed = load_background(tmp_path / "table6").with_sh_degree(degree)
    moving = TrajectoryReader(trajectory).gaussians(0)
    camera = Orbit((0.0, 0.0, -0.3), 120.0, 20.0, 4.0).cameras([0], 24)
    expected = to_uint8(rasterize(Gaussians.cat([moving, placed.with_covariances()]), camera).rgb)[0].numpy()
    assert np.abs(picture.astype(int) - expected).max() <= 1  # rounding of colours at a half


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --output_path, --initial_path or both"),
        (
            ["--output_path", "x", "--fixed_view", "100"],
            r"--fixed_view \(or --single_view\): expected 0 to 99, found 100",
        ),
        (["--output_path", "x", "--views", "3,100"], "--views: expected 0 to 99, found 100"),
        (["--output_path", "x", "--resolution", "1"], "--resolution: expected at least 2"),
        (["--output_path", "x", "--background_path", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments_are_one_line(render: Render, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(*arguments)


def test_flags_of_the_motion_without_a_motion_are_named(
    render: Render, small_ground: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    render(*small_ground, "--initial_path", str(tmp_path / "initial"), "--fixed_view", "0", "--render_img")
    assert "note: --render_img, --fixed_view: without effect" in capsys.readouterr().err
