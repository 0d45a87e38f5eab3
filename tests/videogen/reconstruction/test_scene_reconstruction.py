"""The whole way from a folder of pictures to scenes, on a small scene."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset.scenes.scene_files import read_scene
from gaussians.cameras import read_cameras, write_cameras
from gaussians.files.prompts import Prompts, write_prompts
from gaussians.files.splats.ply import read_ply
from gaussians.stage.errors import InputError
from tests.videogen.reconstruction.scenes import BALLS, FLOOR, RADIUS, orbit, posed, speckled_scene
from videogen.reconstruction.scene_reconstruction import mask_overlaps, reconstruct_all, reconstruct_scene
from videogen.reconstruction.settings import ReconstructionSettings, SceneInput

SETTINGS = ReconstructionSettings(
    interval=None,
    views=None,
    max_side=48,
    held_out=5,
    prompt_kind="bbox",
    boxes=None,
    backend="auto",
    segmenter="auto",
    weights=Path("no weights"),
    real_world=False,
    scale=None,
    refine=False,
    completion="auto",
    sd_version="sd15",
    super_resolution="off",
    visualize=False,
    iterations=60,
    device="cpu",
    seed=0,
    overwrite=False,
)


def write_pictures(folder: Path, *, masks: bool = True) -> None:
    """Ten pictures of the scene, their cameras, prompts, and masks of both balls."""
    pictures, labels = posed(speckled_scene(), orbit(10, 48))
    (folder / "masks").mkdir(parents=True)
    for number, (image, label) in enumerate(zip(pictures.images, labels, strict=True)):
        Image.fromarray(image.numpy()).save(folder / f"{number}.png")
        if masks:
            Image.fromarray(label.numpy()).save(folder / "masks" / f"{number}.png")
    if not masks:
        (folder / "masks").rmdir()
    write_cameras(folder / "cameras.json", pictures.cameras)
    boxes = []
    for label in (1, 2):
        v, u = (labels[0] == label).nonzero().unbind(1)
        boxes.append(tuple(float(edge) for edge in (u.min(), v.min(), u.max(), v.max())))
    write_prompts(folder / "prompts.json", Prompts(boxes=tuple(boxes), texts=("A rubber duck.", "A blue marble.")))


@pytest.fixture(scope="module")
def reconstructed(tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneInput, str]:
    folder = tmp_path_factory.mktemp("reconstructed")
    write_pictures(folder / "pictures")
    scene = SceneInput(folder / "pictures", folder / "out")
    return scene, reconstruct_scene(scene, SETTINGS)


def test_objects_and_background_are_where_they_were(reconstructed: tuple[SceneInput, str]) -> None:
    scene, line = reconstructed
    read = read_scene(scene.save_folder / "sim")
    assert [entry.name for entry in read.objects] == ["duck", "blue_marble"]
    assert read.objects[0].youngs_modulus == 3e5  # the catalogue's
    assert read.objects[1].youngs_modulus is None
    for label, center in enumerate(BALLS):
        means = read.gaussians.means[read.gaussians.labels == label]
        assert ((means - center).norm(dim=1) - RADIUS).abs().median() < 0.04
    background = read_ply(scene.save_folder / "bg" / "point_cloud" / "iteration_30000" / "point_cloud.ply")
    assert (background.means[:, 2] - FLOOR).abs().median() < 0.05
    assert len(read_cameras(scene.save_folder / "sim" / "cameras.json")) == 10
    assert "wrote 2 objects and the background" in line


def test_report_says_what_was_measured(reconstructed: tuple[SceneInput, str]) -> None:
    scene, _ = reconstructed
    report = json.loads((scene.save_folder / "report.json").read_text())
    assert report["pictures"] == 8
    assert report["held_out"] == ["4.png", "9.png"]
    assert 14 < report["held_out_psnr"] < report["seen_psnr"] + 1
    assert report["problems"] == []
    assert set(report["seconds"]) >= {"pictures", "masks", "gaussians"}
    text = (scene.save_folder / "report.md").read_text()
    assert f"{report['held_out_psnr']:.2f} dB" in text
    assert "| blue_marble |" in text


def test_a_rerun_takes_what_is_there_and_refuses_other_settings(reconstructed: tuple[SceneInput, str]) -> None:
    scene, _ = reconstructed
    stages = sorted((scene.save_folder / "stages").glob("*.safetensors"))
    before = [file.stat().st_mtime_ns for file in stages]
    reconstruct_scene(scene, SETTINGS)
    assert [file.stat().st_mtime_ns for file in stages] == before
    with pytest.raises(InputError, match=r"gaussians\.json: made with other seed; --overwrite makes it again"):
        reconstruct_scene(scene, replace(SETTINGS, seed=1))


def test_given_masks_measure_the_segmenter() -> None:
    ours, truth = torch.zeros(2, 2, 2, 4, dtype=torch.uint8)
    ours[0, :, :2] = 1  # of which the truth has one half
    truth[0, :, 1:2] = 1
    ours[:, :, 3] = truth[:, :, 3] = 2
    truth[1, 0, 0] = 3  # lost
    assert mask_overlaps(ours, truth, 4) == [0.5, 1.0, 0.0, 1.0]  # the last shows nowhere


def test_without_prompts_all_is_background(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", masks=False)
    (tmp_path / "pictures" / "prompts.json").unlink()
    line = reconstruct_scene(SceneInput(tmp_path / "pictures", tmp_path / "out"), replace(SETTINGS, iterations=5))
    assert "wrote 0 objects" in line
    assert not (tmp_path / "out" / "sim").exists()
    assert "all is background" in (tmp_path / "out" / "report.md").read_text()


def test_one_scene_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "good")
    scenes = [SceneInput(tmp_path / "missing", tmp_path / "a"), SceneInput(tmp_path / "good", tmp_path / "b")]
    with pytest.raises(InputError, match=r"1 of 2 scenes failed, the first of them: .*missing: no such file or folder"):
        reconstruct_all(scenes, replace(SETTINGS, iterations=5))
    assert (tmp_path / "b" / "report.json").is_file()
    assert "wrote 2 objects" in capsys.readouterr().out
    assert not (tmp_path / "a" / "sim").exists()


def test_a_box_outside_of_the_picture_is_named_as_the_user_wrote_it(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", masks=False)
    boxes = Prompts(boxes=((5.0, 5.0, 90.0, 20.0),))
    with pytest.raises(InputError, match=r"--bbox: bbox\.0: expected .* within 48 x 48, found \(5, 5, 90, 20\)"):
        reconstruct_scene(
            SceneInput(tmp_path / "pictures", tmp_path / "out"), replace(SETTINGS, boxes=boxes, max_side=32)
        )


def test_a_damaged_stage_is_made_again(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    scene = SceneInput(tmp_path / "pictures", tmp_path / "out")
    reconstruct_scene(scene, replace(SETTINGS, iterations=3))
    file = tmp_path / "out" / "stages" / "masks.safetensors"
    whole = file.read_bytes()
    file.write_bytes(b"\xff" * len(whole))
    reconstruct_scene(scene, replace(SETTINGS, iterations=3))
    assert file.read_bytes() == whole


def test_cameras_in_metres_take_no_scale(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    with pytest.raises(InputError, match="--scale: the cameras are in metres already"):
        reconstruct_scene(
            SceneInput(tmp_path / "pictures", tmp_path / "out"), replace(SETTINGS, scale=2.0, iterations=3)
        )


def test_what_was_reconstructed_is_predicted(
    reconstructed: tuple[SceneInput, str], command: Callable[..., None], checkpoint: Path, tmp_path: Path
) -> None:
    folder = reconstructed[0].save_folder
    (tmp_path / "config.json").write_text('{"g": [0, 0, -5]}')
    flags = ["--checkpoint", checkpoint, "--config", tmp_path / "config.json", "--output_path", tmp_path / "predicted"]
    picture = ["--background_path", folder / "bg", "--single_view", 0, "--resolution", 32, "--device", "cpu"]
    command("videogen.eval", "--model_path", folder / "sim", *flags, *picture, "--steps", 3, "--E", "[2e5, 1e6]")
    made_from = json.loads((tmp_path / "predicted" / "out.json").read_text())["made_from"]
    assert made_from["objects"] == ["duck", "blue_marble"]
    assert made_from["youngs_moduli"] == [2e5, 1e6]
    assert made_from["densities"] == [300, None]  # the catalogue's


def test_a_rerun_does_not_mind_its_own_files_among_the_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    scene = SceneInput(tmp_path, tmp_path / "out")
    lines = [reconstruct_scene(scene, replace(SETTINGS, iterations=3)) for _ in range(2)]
    assert lines[0] == lines[1]


def test_too_few_pictures_left_are_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    scene = SceneInput(tmp_path / "pictures", tmp_path / "out")
    with pytest.raises(InputError, match="--held_out: expected at least 3 of 4 pictures to be left, found 2"):
        reconstruct_scene(scene, replace(SETTINGS, views=4, held_out=2))


def test_prompts_need_the_first_picture(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", masks=False)
    file = tmp_path / "pictures" / "cameras.json"
    frames = [
        {
            "file_path": f"{number}.png",
            "transform_matrix": (torch.linalg.inv(viewmat) @ torch.diag(torch.tensor([1.0, -1, -1, 1]))).tolist(),
        }
        for number, viewmat in enumerate(read_cameras(file).viewmats)
    ]
    file.unlink()
    lens = {"w": 48, "h": 48, "fl_x": 72.0, "fl_y": 72.0, "cx": 24.0, "cy": 24.0}
    (tmp_path / "pictures" / "transforms.json").write_text(json.dumps({**lens, "frames": frames[1:]}))
    with pytest.raises(InputError, match=r"prompts\.json: is for the first picture, which has no camera"):
        reconstruct_scene(SceneInput(tmp_path / "pictures", tmp_path / "out"), SETTINGS)


def test_prompts_are_for_pictures_that_are_taken(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", masks=False)
    file = tmp_path / "pictures" / "prompts.json"
    write_prompts(file, Prompts(boxes=((1.0, 1.0, 5.0, 5.0),) * 2, views=(0, 4)))
    message = r"prompts\.json: view\.1: picture 4 is not taken, or has no camera: taken are 0, 1, 2, 3, 5, 6, 7, 8$"
    with pytest.raises(InputError, match=message):
        reconstruct_scene(SceneInput(tmp_path / "pictures", tmp_path / "out"), SETTINGS)


def test_a_lost_object_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    prompts = Prompts(boxes=((1.0, 1.0, 5.0, 5.0),) * 3, texts=("A duck.", "A marble.", "A ghost."))
    write_prompts(tmp_path / "pictures" / "prompts.json", prompts)
    for number in (0, 1):  # the third object shows in one pixel of two pictures
        file = tmp_path / "pictures" / "masks" / f"{number}.png"
        mask = torch.from_numpy(np.array(Image.open(file)))
        mask[1, 1] = 3
        Image.fromarray(mask.numpy()).save(file)
    with pytest.raises(InputError, match=r"object 3 \(A ghost\.\): no Gaussians are left of it"):
        reconstruct_scene(SceneInput(tmp_path / "pictures", tmp_path / "out"), replace(SETTINGS, iterations=5))


def test_refining_later_adds_completed_objects_alone(reconstructed: tuple[SceneInput, str]) -> None:
    scene, _ = reconstructed
    stages = sorted((scene.save_folder / "stages").glob("*.safetensors"))
    before = [file.stat().st_mtime_ns for file in stages]
    reconstruct_scene(scene, replace(SETTINGS, refine=True, visualize=True))
    assert [file.stat().st_mtime_ns for file in stages] == before
    plain, refined = (read_scene(scene.save_folder / name) for name in ("sim", "sim_refine"))
    report = json.loads((scene.save_folder / "report.json").read_text())
    for label, row in enumerate(report["refined"]):
        count = int((refined.gaussians.labels == label).sum())
        assert refined.objects[label].count == row["count"] == count
        before_that = int((plain.gaussians.labels == label).sum())
        assert count == before_that - row["left_out"] + row["added"]
        assert row["added"] > 10 * row["left_out"]
    assert "| blue_marble |" in (scene.save_folder / "report.md").read_text().split("## Completed objects")[1]
    folder = scene.save_folder / "visualization"
    assert Image.open(folder / "masks.png").size == (2 * 50, 8 * 50)
    assert Image.open(folder / "renderings.png").size == (3 * 50, 10 * 50)  # two held out
    assert Image.open(folder / "cameras.png").convert("RGB").getextrema() == ((0, 255),) * 3
