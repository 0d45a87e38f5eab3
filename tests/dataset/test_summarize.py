import re
import shutil

import numpy as np
import pytest
from PIL import Image

from dataset.summary.contact_sheet import choose
from dataset.summary.contents import collect
from gaussians.files.trajectory_format import read_meta
from gaussians.files.trajectory_writer import TrajectoryWriter
from gaussians.files.video import read_video
from gaussians.stage.errors import InputError
from tests.dataset_fixture import (
    BACKGROUND,
    COUNT,
    GROUP,
    NUM_FRAMES,
    SCENES,
    frame_of,
    scene_gaussians,
    write_dataset,
    write_published_dataset,
)

SIDE = 32
QUICK = ("--resolution", SIDE, "--device", "cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("GSCollision"))


@pytest.fixture
def dataset(tmp_path, whole):
    return shutil.copytree(whole, tmp_path / "GSCollision")


def rows_of(page, first_column):
    """The cells of a table's rows, by the first one."""
    table = page.split(f"| {first_column} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: row[1:] for row in cells}


def test_the_page_counts_what_is_there(dataset, command, capsys):
    command("dataset.summarize", dataset, *QUICK)
    page = (dataset / "README.md").read_text()
    assert f"2 scenes, 2 simulated, 6 videos: wrote {dataset}/README.md and" in capsys.readouterr().out
    assert page.startswith("<!-- written by dataset.summarize -->\n# GSCollision\n")
    assert "2 scenes of 3D Gaussian objects that fall and collide: 2 of them simulated, 8 frames, 6 videos," in page
    assert rows_of(page, "group")[GROUP] == ["2", "2", "2", "2", "2", "4", str(2 * COUNT - 1)]
    objects = rows_of(page, "object")
    assert objects["ball"] == ["train", "2", "2", "800000", "600", "A pokemon ball."]
    assert objects["duck"][1:3] == ["2", "2"]
    settings = rows_of(page, "setting")
    assert settings["frame_dt [s]"] == ["0.02"]
    assert settings["gravity [m/s^2]"] == ["(0, 0, -5)"]
    assert settings["compression"] == ["none"]
    folders = rows_of(page, "folder")
    assert folders["`mpm/`"][0] == str(len([path for path in (dataset / "mpm").rglob("*") if path.is_file()]))
    assert BACKGROUND in page.split("### Backgrounds")[1]


def test_sizes_are_those_of_the_files(dataset):
    (dataset / "mpm" / GROUP / SCENES[0] / ".0002.partial-1-0.h5").write_bytes(bytes(5000))
    statistics = collect(dataset)
    for folder in ("objects", "mpm", "dynamic"):
        files = [path for path in (dataset / folder).rglob("*") if path.is_file() and path.name[0] != "."]
        assert statistics.files[folder] == len(files)
        assert statistics.sizes[folder] == sum(path.stat().st_size for path in files)


def test_objects_are_counted_as_often_as_they_stand_in_scenes(tmp_path, dataset):
    config = dataset / "scene_configs" / "3_0.json"
    config.write_text(
        '{"0_can_ball_can": {"scene_object_idxs": [3, 0, 3], "scale": [1, 1, 1], '
        '"translation": [[0, 0, 0], [0, 0, 1], [0, 1, 0]]}}'
    )
    (dataset / "scenes" / "3_1" / "7_can_miku").mkdir(parents=True)
    (dataset / "objects" / "rope").mkdir()
    statistics = collect(dataset)
    assert statistics.occurrences() == {"ball": 3, "duck": 2, "can": 3, "miku": 1, "rope": 0}
    assert statistics.scenes_with("can") == 2
    assert {group: len(scenes) for group, scenes in statistics.groups.items()} == {"2": 2, "3_0": 1, "3_1": 1}


def test_a_published_dataset_is_summarized_and_keeps_its_own_page(tmp_path, command):
    root = write_published_dataset(tmp_path / "published")
    with pytest.raises(InputError, match=r"README\.md: was not written by this command; --overwrite replaces it"):
        command("dataset.summarize", root, *QUICK)
    assert (root / "README.md").read_text() == "# GSCollision\n"
    command("dataset.summarize", root, *QUICK, "--overwrite")
    page = (root / "README.md").read_text()
    assert rows_of(page, "setting") == {"format version": ["as published"], "frame_dt [s]": ["0.02"]}
    assert rows_of(page, "group")[GROUP] == ["2", "2", "2", "2", "0", str(NUM_FRAMES), ""]
    command("dataset.summarize", root, *QUICK)  # now it is ours


def test_the_sheet_shows_the_first_and_last_frame_of_a_video(dataset, command):
    command("dataset.summarize", dataset, *QUICK, "--num_scenes", 1)
    sheet = np.asarray(Image.open(dataset / "contact_sheet.jpg")).astype(float)
    (scene,) = choose(collect(dataset).scenes, 1, 0)
    frames = list(read_video(scene.videos[0]))
    assert scene.videos[0].parent.name == "view_0"
    for place, frame in enumerate((frames[0], frames[-1])):
        # By eights: JPEG blocks of eight pixels keep their mean, to a few levels.
        found = sheet[32:64, 8 + place * (SIDE + 2) :][:SIDE, :SIDE].reshape(4, 8, 4, 8, 3).mean((1, 3))
        large = np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS)).astype(float)
        expected = large.reshape(4, 8, 4, 8, 3).mean((1, 3))
        assert np.abs(found - expected).mean() < 6
    assert sheet.shape == (24 + SIDE + 16, 2 * SIDE + 2 + 16, 3)


def test_scenes_without_videos_are_drawn_from_their_trajectories(dataset, command):
    shutil.rmtree(dataset / "dynamic")
    command("dataset.summarize", dataset, "--resolution", 128, "--device", "cpu", "--num_scenes", 1)
    sheet = np.asarray(Image.open(dataset / "contact_sheet.jpg")).astype(int)
    first, last = sheet[32:160, 8:136], sheet[32:160, 138:266]
    # Objects have other colours than the ground and the backdrop, which are grey; they fall by 0.15 m in 4 m of
    # distance, 7 pixels.
    heights = [np.argwhere(np.ptp(frame, axis=2) > 20)[:, 0] for frame in (first, last)]
    assert all(len(rows) > 20 for rows in heights)
    assert 5 < heights[1].mean() - heights[0].mean() < 9


@pytest.mark.gpu
def test_a_sheet_drawn_on_the_gpu_is_that_of_the_cpu(dataset, command):
    shutil.rmtree(dataset / "dynamic")
    sheets = []
    for device in ("cpu", "cuda"):
        command("dataset.summarize", dataset, "--resolution", 128, "--device", device)
        sheets.append(np.asarray(Image.open(dataset / "contact_sheet.jpg")).astype(float))
    # The rasterizers agree to 1/255 for 99.9 % of values; JPEG spreads a difference over its block.
    assert np.abs(sheets[0] - sheets[1]).mean() < 0.5


def test_the_same_seed_shows_the_same_scenes(dataset, command):
    sheets = []
    for seed in (0, 0, *range(1, 6)):
        command("dataset.summarize", dataset, *QUICK, "--num_scenes", 1, "--seed", seed)
        sheets.append((dataset / "contact_sheet.jpg").read_bytes())
    assert sheets[0] == sheets[1]
    assert len(set(sheets)) == 2  # of two scenes, both are drawn by some of six seeds


def test_what_cannot_be_shown_is_not_chosen(dataset, command):
    shutil.rmtree(dataset / "dynamic")
    cloud = scene_gaussians(SCENES[0])
    path = dataset / "mpm" / GROUP / SCENES[0]
    TrajectoryWriter(path, read_meta(path), cloud.opacities, cloud.sh)  # a simulation begins
    path = dataset / "mpm" / GROUP / SCENES[1]
    meta = read_meta(path).model_copy(update={"settings": {"save_fields": ["pos"]}})
    with TrajectoryWriter(path, meta, cloud.opacities, cloud.sh, fields=("pos",)) as writer:
        writer.write(frame_of(cloud, 0))
        writer.finish()
    command("dataset.summarize", dataset, *QUICK)
    assert not (dataset / "contact_sheet.jpg").exists()
    page = (dataset / "README.md").read_text()
    assert "contact_sheet" not in page
    assert "1 of them simulated" in page


def test_a_sheet_of_none_is_removed(dataset, command):
    command("dataset.summarize", dataset, *QUICK)
    command("dataset.summarize", dataset, *QUICK, "--num_scenes", 0)
    assert not (dataset / "contact_sheet.jpg").exists()


def test_a_damaged_video_is_named_and_nothing_is_written(dataset, command):
    for video in (dataset / "dynamic").rglob("*.mp4"):
        video.write_bytes(b"<html>")
    with pytest.raises(InputError, match=rf"({'|'.join(SCENES)})\.mp4: not a readable video"):
        command("dataset.summarize", dataset, *QUICK)
    assert not (dataset / "README.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere: no such directory"),
        ((".",), r"\.: no dataset: expected some of objects"),
        ((".", "--num_scenes", "-1"), "--num_scenes: expected 0 or more, found -1"),
        ((".", "--resolution", "4"), "--resolution: expected 16 to 2048 pixels, found 4"),
    ],
)
def test_bad_usage_is_refused(tmp_path, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        command("dataset.summarize", *arguments)


def test_sizes_read_well(dataset, command):
    command("dataset.summarize", dataset, *QUICK)
    sizes = [row[1] for row in rows_of((dataset / "README.md").read_text(), "folder").values()]
    assert all(re.fullmatch(r"[\d.]{1,4} (B|kB)", size) for size in sizes)
