"""Pi3_splat: the published outputs, and what of them a user gets."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from externals.pi3_splat import Pi3Reconstruction, Pi3Splat
from externals.pi3_splat.intrinsics import fit_intrinsics, published_intrinsics
from externals.pi3_splat.network import Pi3Network, Pi3Sizes
from externals.pi3_splat.transformer import rotary_table
from gaussians.covariance import covariance_from_scales
from gaussians.spherical_harmonics import sh_to_rgb
from gaussians.stage import memory
from gaussians.stage.errors import InputError
from tests.externals.adapter import pi3_splat
from tests.externals.synthetic_weights import make_pi3_tensor

GOLDEN = Path(__file__).parent / "golden"
SIZES = {"short": Pi3Sizes(encoder_depth=2, decoder_depth=4, head_depth=1), "full": Pi3Sizes()}
SHARD = 2**28  # values
SEAMS = {
    "dino_tokens": "encoder",
    "point_tokens": "point_decoder",
    "conf_tokens": "conf_decoder",
    "camera_tokens": "camera_decoder",
    "feature_tokens": "feature_decoder",
}


def published_shapes(sizes: Pi3Sizes) -> dict[str, tuple[int, ...]]:
    """The names and shapes that a checkpoint of these sizes has."""
    with torch.device("meta"):
        return {f"encoder.{name}": tuple(t.shape) for name, t in Pi3Network(sizes).state_dict().items()}


def write_checkpoint(folder: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """Write made weights into several files, of which only one is in memory at a time."""
    files: dict[str, str] = {}
    part: dict[str, torch.Tensor] = {}

    def write() -> None:
        name = f"model-{len(set(files.values()))}.safetensors"
        save_file(part, folder / name)
        files.update(dict.fromkeys(part, name))
        part.clear()

    for name, shape in shapes.items():
        part[name] = torch.from_numpy(make_pi3_tensor(name, shape))
        if sum(tensor.numel() for tensor in part.values()) > SHARD:
            write()
    write()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


def check(found: np.ndarray, golden: np.ndarray) -> None:
    np.testing.assert_allclose(found, golden, rtol=0, atol=1e-4 * np.abs(golden).max())


def check_golden(checkpoint: Path, name: str) -> None:
    with np.load(GOLDEN / f"pi3_splat_{name}.npz") as file:
        golden = dict(file)
    found = pi3_splat(checkpoint, golden["images"])
    for key in (
        "points",
        "local_points",
        "conf",
        "camera_poses",
        "intrinsics",
        "covariances",
        "harmonics",
        "opacities",
    ):
        check(found[key], golden[key])
    assert len(golden.keys() & found.keys()) == 8
    check(found["scales"], golden["world_scales"])
    check(found["means"], golden["points"].reshape(-1, 3))
    scales, rotations = torch.from_numpy(found["scales"]), torch.from_numpy(found["rotations"])
    above = found["scales"].min(1) > 1e-4  # where the covariance has its own scales
    assert above.mean() > 0.99
    check(covariance_from_scales(scales, rotations).numpy()[above], golden["covariances"][above])
    assert (found["rotations"][:, 0] >= 0).all()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = json.loads((GOLDEN / "pi3_splat_tiny_state_dict.json").read_text())
    return write_checkpoint(
        tmp_path_factory.mktemp("tiny"), {name: tuple(shape) for name, (shape, _) in shapes.items()}
    )


@pytest.fixture(scope="module")
def model(tiny: Path) -> Pi3Splat:
    return Pi3Splat.from_checkpoint(tiny, "cpu")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    with np.load(GOLDEN / "pi3_splat_tiny.npz") as file:
        return torch.from_numpy(file["images"])


def test_tiny_network_gives_the_published_outputs(tiny: Path) -> None:
    check_golden(tiny, "tiny")


def test_tiny_network_gives_the_published_tokens(model: Pi3Splat) -> None:
    network, found = model.network, {}
    hooks = [
        getattr(network, part).register_forward_hook(lambda _, __, output, name=name: found.update({name: output}))
        for name, part in SEAMS.items()
    ]
    hooks.append(
        network.point_decoder.register_forward_pre_hook(lambda _, inputs: found.update(decoder_tokens=inputs[0]))
    )
    with np.load(GOLDEN / "pi3_splat_tiny.npz") as golden:
        model.predict(torch.from_numpy(golden["images"]))
        for name in ("decoder_tokens", *SEAMS):
            check(found[name].numpy(), golden[name])
    for hook in hooks:
        hook.remove()


def test_short_network_of_the_real_widths_gives_the_published_outputs(tmp_path: Path) -> None:
    shapes = published_shapes(SIZES["short"])
    assert sum(map(math.prod, shapes.values())) == 180_107_357
    check_golden(write_checkpoint(tmp_path, shapes), "short")
    for file in tmp_path.iterdir():  # 0.7 GB, which pytest would keep
        file.unlink()


@pytest.mark.slow
def test_full_network_gives_the_published_outputs(tmp_path: Path) -> None:
    check_golden(write_checkpoint(tmp_path, published_shapes(SIZES["full"])), "full")
    for file in tmp_path.iterdir():
        file.unlink()


def test_full_network_has_the_published_tensors() -> None:
    shapes = published_shapes(SIZES["full"])
    assert len(shapes) == 1422
    assert sum(map(math.prod, shapes.values())) == 1_061_961_821


def test_colours_turn_with_the_cameras(model: Pi3Splat, images: torch.Tensor) -> None:
    output = model.predict(images)
    world = Pi3Reconstruction.of(output)
    sh = output.gaussians.sh.flatten(1, 2)
    directions = normalize(torch.randn(sh.shape[1], 3, generator=torch.Generator().manual_seed(0)), dim=1)
    for view, pose in enumerate(world.camera_to_worlds):
        expected = sh_to_rgb(sh[view], directions)
        turned = world.gaussians.sh.view_as(sh)[view]
        torch.testing.assert_close(sh_to_rgb(turned, directions @ pose[:3, :3].T), expected, rtol=0, atol=1e-6)
        assert (sh_to_rgb(sh[view], directions @ pose[:3, :3].T) - expected).abs().max() > 1e-3


def test_the_order_of_the_views_does_not_matter(model: Pi3Splat, images: torch.Tensor) -> None:
    order = torch.tensor([2, 0, 1])
    there, elsewhere = model.reconstruct(images), model.reconstruct(images[order])
    torch.testing.assert_close(elsewhere.points, there.points[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(elsewhere.cameras.viewmats, there.cameras.viewmats[order], rtol=0, atol=1e-5)


def test_cameras_see_their_points_at_their_depths(model: Pi3Splat, images: torch.Tensor) -> None:
    world = model.reconstruct(images)
    viewmats = world.cameras.viewmats[:, None, None]
    local = (viewmats[..., :3, :3] @ world.points[..., None])[..., 0] + viewmats[..., :3, 3]
    torch.testing.assert_close(local, world.local_points, rtol=0, atol=1e-5)
    assert (world.cameras.width, world.cameras.height) == (42, 28)


def test_bfloat16_is_near_float32(tiny: Path, model: Pi3Splat, images: torch.Tensor) -> None:
    exact = model.predict(images)
    for rounded in (False, True):
        rough = Pi3Splat.from_checkpoint(tiny, "cpu", torch.bfloat16, rounded).predict(images)
        for name in ("local_points", "confidence_logits", "camera_to_worlds"):
            found, expected = getattr(rough, name), getattr(exact, name)
            assert found.dtype == torch.float32
            # Eight bits of mantissa, and a dozen roundings one after the other.
            assert 1e-5 < (found - expected).abs().max() / expected.abs().max() < (0.06 if rounded else 0.03)


@pytest.mark.gpu
def test_a_gpu_says_the_same(tiny: Path, model: Pi3Splat, images: torch.Tensor) -> None:
    there, here = Pi3Splat.from_checkpoint(tiny, "cuda").reconstruct(images), model.reconstruct(images)
    for name in ("local_points", "confidences", "camera_to_worlds"):
        check(getattr(there, name).cpu().numpy(), getattr(here, name).numpy())
    for name in ("means", "opacities", "sh", "scales"):
        check(getattr(there.gaussians, name).cpu().numpy(), getattr(here.gaussians, name).numpy())


def test_rounding_rotary_angles_makes_the_errors_that_it_is_known_for() -> None:
    exact, rounded = (rotary_table(42, 1, 5, 64, rough, torch.device("cpu"))[0] for rough in (False, True))
    assert exact[:5].eq(1).all()
    assert 0.055 < float((exact - rounded).abs().max()) < 0.065


def plane_seen_by(focal: tuple[float, float], height: int, width: int) -> torch.Tensor:
    """Points (1, H, W, 3) on the rays of pixels' centres."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    rays = torch.stack([(x - width / 2) / focal[0], (y - height / 2) / focal[1], torch.ones(height, width)], -1)
    return (rays * torch.linspace(1, 3, width)[:, None])[None]


def test_focal_lengths_are_exact_whatever_a_third_of_the_pixels_says() -> None:
    points = plane_seen_by((50.0, 55.0), 28, 42).repeat(2, 1, 1, 1)
    wrong = torch.rand(points.shape[:3], generator=torch.Generator().manual_seed(0)) < 1 / 3
    points[wrong] = points[wrong] * torch.tensor([0.5, 2.0, 1.0])
    expected = torch.tensor([[50.0, 0, 21], [0, 55, 14], [0, 0, 1]]).repeat(2, 1, 1)
    torch.testing.assert_close(fit_intrinsics(points, torch.ones(2, 28, 42)), expected, rtol=1e-5, atol=0)
    # Nor do pixels without confidence count, however many.
    most = torch.rand(points.shape[:3], generator=torch.Generator().manual_seed(1)) < 0.9
    points[most] = points[most] * torch.tensor([3.0, 3.0, 1.0])
    confidences = (~most & ~wrong).float()
    torch.testing.assert_close(fit_intrinsics(points, confidences), expected, rtol=1e-5, atol=0)


def test_published_focal_lengths_are_of_pixels_centred_at_whole_numbers() -> None:
    points = plane_seen_by((50.0, 50.0), 14, 14)
    points[..., :2] -= 0.5 / 50 * points[..., 2:]
    torch.testing.assert_close(published_intrinsics(points)[0, 0, 0], torch.tensor(50.0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(2, 3, 28, 40), (0, 3, 28, 28), (3, 28, 28), (1, 3, 0, 14)])
def test_pictures_of_no_whole_number_of_patches_are_refused(model: Pi3Splat, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images: expected"):
        model.predict(torch.zeros(shape))


def test_too_many_pictures_are_refused_before_memory_ends(model: Pi3Splat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 2**20)
    expected = r"Pi3_splat for 3 pictures of 448 x 448 pixels: takes at least .* fewer or smaller pictures"
    with pytest.raises(InputError, match=expected):
        model.predict(torch.zeros(3, 3, 448, 448))


def test_checkpoint_of_another_model_is_refused(tmp_path: Path, tiny: Path) -> None:
    save_file({"conv1a.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not a checkpoint of Pi3_splat: 1 tensors without 'register_token'"):
        Pi3Splat.from_checkpoint(tmp_path / "other.safetensors", "cpu")
    shapes = json.loads((GOLDEN / "pi3_splat_tiny_state_dict.json").read_text())
    tensors = {name: torch.zeros(shape) for name, (shape, _) in shapes.items() if "fc_rot" not in name}
    save_file(tensors, tmp_path / "part.safetensors")
    with pytest.raises(InputError, match=r"2 missing \(camera_head.fc_rot.weight, camera_head.fc_rot.bias\)"):
        Pi3Splat.from_checkpoint(tmp_path / "part.safetensors", "cpu")
