"""A network that says the truth, up to a similarity, stands in for Pi3_splat."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from dataset.scenes.scene_files import read_scene
from gaussians.cameras import Cameras
from gaussians.rasterization import rasterize
from gaussians.representation import Gaussians
from gaussians.rotations import rotation_exp
from gaussians.stage.errors import InputError
from tests.videogen.reconstruction.completion.test_generated_objects import Truth
from tests.videogen.reconstruction.scenes import BALLS, RADIUS, orbit, posed, speckled_scene
from tests.videogen.reconstruction.test_scene_reconstruction import SETTINGS, write_pictures
from videogen.reconstruction import feed_forward, scene_reconstruction
from videogen.reconstruction.alignment import Similarity
from videogen.reconstruction.completion import generated_objects, silhouettes
from videogen.reconstruction.completion.generated_objects import SeenScene
from videogen.reconstruction.feed_forward import choose_backend, network_size, see_depth
from videogen.reconstruction.plane_sweep import pixel_rays, unproject
from videogen.reconstruction.scene_reconstruction import reconstruct_scene
from videogen.reconstruction.settings import SceneInput

MOVED = Similarity(0.4, rotation_exp(torch.tensor([0.3, -1.1, 0.7], dtype=torch.float64)), torch.tensor([1.0, 2, 3]))
PI3 = replace(SETTINGS, backend="pi3_splat")


@dataclass(frozen=True)
class Found:
    local_points: torch.Tensor
    confidences: torch.Tensor
    cameras: Cameras


class TruthfulNetwork:
    """Sees the speckled scene as it is, moved, wherever the pictures show something."""

    def reconstruct(self, images: torch.Tensor) -> Found:
        height, width = images.shape[2:]
        cameras = orbit(10, 48).resized(width, height)
        if len(images) == 8:
            cameras = cameras[torch.tensor([0, 1, 2, 3, 5, 6, 7, 8])]
        drawn = rasterize(speckled_scene(), cameras)
        depth = torch.where(drawn.alpha > 0.5, drawn.depth, 6.0)
        moved = MOVED.cameras(cameras)
        confidences = (drawn.alpha > 0.5).float()
        return Found(MOVED.scale * pixel_rays(cameras) * depth[..., None], confidences, moved)


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_forward, "load_network", lambda root, device: TruthfulNetwork())
    monkeypatch.setattr(feed_forward, "_MOST_PIXELS", 56 * 56)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1274, 1274), (448, 448)),
        ((1918, 1078), (588, 336)),
        ((4032, 3024), (518, 378)),
        ((2996, 1988), (546, 364)),
        ((630, 476), (518, 378)),
    ],
)
def test_pictures_have_the_published_sizes(
    size: tuple[int, int], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_forward, "_MOST_PIXELS", 201_000)
    assert network_size(*size) == expected


def test_depth_comes_into_the_frame_of_known_cameras() -> None:
    pictures, labels = posed(speckled_scene(), orbit(10, 56))
    found = see_depth(pictures.images, Path(), torch.device("cpu"))
    swept, note = found.for_pictures(pictures, labels)
    expected = unproject(pictures.cameras, rasterize(speckled_scene(), pictures.cameras).depth)
    assert swept.consistent.float().mean() > 0.2
    torch.testing.assert_close(
        unproject(swept.cameras, swept.depth)[swept.consistent], expected[swept.consistent], atol=1e-3, rtol=0
    )
    assert swept.refuted[swept.consistent].float().mean() < 0.02
    assert "degrees" in note


def test_pixels_of_objects_count_where_pictures_agree() -> None:
    pictures, labels = posed(speckled_scene(), orbit(10, 56))
    found = see_depth(pictures.images, Path(), torch.device("cpu"))
    wrong = labels[0] == 1
    found.depth[0][wrong] *= 1.5
    swept, _ = found.for_pictures(pictures, labels)
    assert swept.consistent[0][wrong].float().mean() < 0.3
    assert swept.refuted[0][wrong & ~swept.consistent[0]].all()
    assert swept.consistent[labels == 2].float().mean() > 0.5


def test_scenes_are_reconstructed_as_well_as_by_a_plane_sweep(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    decibels = {}
    for backend in ("optimize", "pi3_splat"):
        scene = SceneInput(tmp_path / "pictures", tmp_path / backend)
        line = reconstruct_scene(scene, replace(SETTINGS, backend=backend, iterations=10))
        decibels[backend] = float(line.split(" dB")[0].rsplit(" ", 1)[1])
    assert decibels["pi3_splat"] > decibels["optimize"] - 0.2
    assert "Pi3_splat's cameras fit" in (tmp_path / "pi3_splat" / "report.md").read_text()


def test_pictures_without_cameras_are_placed(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    (tmp_path / "pictures" / "cameras.json").unlink()
    scene = SceneInput(tmp_path / "pictures", tmp_path / "out")
    line = reconstruct_scene(scene, replace(PI3, iterations=20))
    assert "wrote 2 objects" in line
    assert "Pi3_splat placed 10 pictures" in (tmp_path / "out" / "report.md").read_text()
    stages = sorted((tmp_path / "out" / "stages").glob("*.safetensors"))
    before = [file.stat().st_mtime_ns for file in stages]
    reconstruct_scene(scene, replace(PI3, iterations=20))
    assert [file.stat().st_mtime_ns for file in stages] == before


def dense(ball: Gaussians, label: int, times: int = 12) -> Gaussians:
    """The same ball with more Gaussians, as a generator of pixels makes them."""
    many = Gaussians.cat([ball] * times)
    offsets = 0.02 * torch.randn(len(many), 3, generator=torch.Generator().manual_seed(0))
    directions = torch.nn.functional.normalize(many.means + offsets - BALLS[label], dim=1)
    return replace(many, means=BALLS[label] + RADIUS * directions)


def test_the_whole_learned_path_leads_to_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., None], checkpoint: Path
) -> None:
    whole = speckled_scene()
    assert whole.labels is not None
    cameras = orbit(10, 48)[torch.tensor([0, 1, 2, 3, 5, 6, 7, 8])]
    pictures, labels = posed(whole, cameras)
    scene = SeenScene(whole, cameras, pictures.images, labels, pictures.names)
    of_texts = {
        text: Truth(scene, dense(whole[whole.labels == label], label), label + 1)
        for label, text in enumerate(("A rubber duck.", "A blue marble."))
    }

    class Both:
        def complete(self, image, mask, text, elevation, seed):  # type: ignore[no-untyped-def]  # noqa: ANN
            return of_texts[text].complete(image, mask, text, elevation, seed)

    monkeypatch.setattr(scene_reconstruction, "load_generator", lambda root, version, device: Both())
    monkeypatch.setattr(generated_objects, "_CANDIDATES", 1)
    monkeypatch.setattr(silhouettes, "_STEPS", 3)
    write_pictures(tmp_path / "pictures")
    out = tmp_path / "out"
    settings = replace(PI3, iterations=20, refine=True, completion="diffsplat")
    line = reconstruct_scene(SceneInput(tmp_path / "pictures", out), settings)
    report = json.loads((out / "report.json").read_text())
    assert report["held_out_psnr"] > 18, line
    assert [row["by"] for row in report["refined"]] == ["generation", "generation"]
    assert sum("placed by its pixels" in note for note in report["notes"]) == 2
    for label, center in enumerate(BALLS):
        refined = read_scene(out / "sim_refine").gaussians
        means = refined.means[refined.labels == label]
        assert (means - center).norm(dim=1).quantile(0.98) < 1.2 * RADIUS
        lowest = center - torch.tensor([0.0, 0.0, 0.9 * RADIUS])
        assert (means - lowest).norm(dim=1).min() < 0.3 * RADIUS
    (tmp_path / "config.json").write_text('{"g": [0, 0, -5]}')
    flags = ["--checkpoint", checkpoint, "--config", tmp_path / "config.json", "--output_path", tmp_path / "video"]
    picture = ["--background_path", out / "bg", "--single_view", 0, "--resolution", 32, "--device", "cpu"]
    command("videogen.eval", "--model_path", out / "sim_refine", *flags, *picture, "--steps", 3)
    assert list((tmp_path / "video").glob("*.mp4"))


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    write_pictures(tmp_path / "pictures")
    scene = SceneInput(tmp_path / "pictures", tmp_path / "out")
    with pytest.raises(InputError, match=r"no complete checkpoint of pi3_splat: python -m tools\.download checkpoints"):
        reconstruct_scene(scene, PI3)


def test_auto_takes_the_network_on_a_gpu_alone(tmp_path: Path) -> None:
    folder = tmp_path / "Pi3_splat" / "Pi3_splat_wildrgbd_gscollision" / "checkpoint-final"
    assert choose_backend("auto", tmp_path, torch.device("cuda")) == "optimize"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    assert choose_backend("auto", tmp_path, torch.device("cuda")) == "pi3_splat"
    assert choose_backend("auto", tmp_path, torch.device("cpu")) == "optimize"
    assert choose_backend("pi3_splat", tmp_path, torch.device("cpu")) == "pi3_splat"
