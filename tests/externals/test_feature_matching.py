"""Matchers of pictures' points: the published outputs, real pictures, and which matcher is chosen."""

import json
import socket
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from externals.feature_matching import LightGlue, Matches, Sift, SuperGlue, choose_matcher, sift
from externals.feature_matching.super_glue import SuperPoint
from gaussians.stage.errors import InputError
from tests.externals.adapter import as_tensors, run, write_pickle
from tests.externals.synthetic_weights import make_weights

GOLDEN = Path(__file__).parent / "golden"
BLOCKS = [(1, 64), (64, 64), (64, 128), (128, 128)]
LAYERS = 18


def mlp(name: str, widths: list[int]) -> dict[str, list[int]]:
    """Convolutions of size 1, with two layers without convolution between them, of which the first normalises."""
    shapes: dict[str, list[int]] = {}
    for number, (width_in, width_out) in enumerate(pairwise(widths)):
        layer = f"{name}.{3 * number}"
        shapes |= {f"{layer}.weight": [width_out, width_in, 1], f"{layer}.bias": [width_out]}
        if number < len(widths) - 2:
            shapes |= batch_norm(f"{name}.{3 * number + 1}", width_out)
    return shapes


def batch_norm(name: str, width: int) -> dict[str, list[int]]:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": [width] for leaf in leaves} | {f"{name}.num_batches_tracked": []}


def superpoint_shapes() -> dict[str, list[int]]:
    """The published names and shapes."""
    shapes = {}
    layers = [
        (f"{block}{half}", width_in if half == "a" else width_out, width_out, 3)
        for block, (width_in, width_out) in enumerate(BLOCKS, 1)
        for half in "ab"
    ]
    layers += [("Pa", 128, 256, 3), ("Pb", 256, 65, 1), ("Da", 128, 256, 3), ("Db", 256, 256, 1)]
    for name, width_in, width_out, kernel in layers:
        shapes[f"conv{name}.weight"] = [width_out, width_in, kernel, kernel]
        shapes[f"conv{name}.bias"] = [width_out]
    return shapes


def superglue_shapes() -> dict[str, list[int]]:
    """The published names and shapes."""
    shapes: dict[str, list[int]] = {"bin_score": []} | mlp("kenc.encoder", [3, 32, 64, 128, 256, 256])
    for layer in range(LAYERS):
        prefix = f"gnn.layers.{layer}"
        for name in ("merge", "proj.0", "proj.1", "proj.2"):
            shapes |= {f"{prefix}.attn.{name}.weight": [256, 256, 1], f"{prefix}.attn.{name}.bias": [256]}
        shapes |= mlp(f"{prefix}.mlp", [512, 512, 256])
    return shapes | {"final_proj.weight": [256, 256, 1], "final_proj.bias": [256]}


def read_golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name) as file:
        return dict(file)


def check(found: np.ndarray, golden: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(found, golden, rtol=0, atol=tolerance * max(np.abs(golden).max(), 1e-12))


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, np.ndarray]]:
    golden = read_golden("superpoint_superglue_seed0.npz")
    factors, seed = json.loads(str(golden["scale_rules"])), int(golden["seed"])
    return {
        "superpoint": make_weights(superpoint_shapes(), seed, factors=factors),
        "superglue": make_weights(superglue_shapes(), seed, factors=factors),
    }


def test_weights_have_the_published_number_of_values(published: dict[str, dict[str, np.ndarray]]) -> None:
    counts = {name: (len(part), sum(array.size for array in part.values())) for name, part in published.items()}
    assert counts == {"superpoint": (24, 1_300_865), "superglue": (339, 12_042_711)}


def test_superpoint_and_superglue_give_the_published_outputs(published: dict[str, dict[str, np.ndarray]]) -> None:
    golden = read_golden("superpoint_superglue_seed0.npz")
    found = run("superpoint", published, golden)
    for number in (0, 1):
        np.testing.assert_array_equal(found[f"keypoints{number}"], golden[f"keypoints{number}"])
        np.testing.assert_array_equal(found[f"matches{number}"], golden[f"matches{number}"])
        check(found[f"matching_scores{number}"], golden[f"matching_scores{number}"], 1e-3)
        check(found[f"scores{number}"], golden[f"scores{number}"])
        check(found[f"descriptors{number}"], golden[f"descriptors{number}"])
    check(found["log_assignment"], golden["log_assignment"])


def test_superglue_matches_points_as_published(published: dict[str, dict[str, np.ndarray]]) -> None:
    golden = read_golden("superglue_features_seed0.npz")
    found = run("superglue_features", published["superglue"], golden)
    assert (golden["matches0"] >= 0).sum() == 36
    for number in (0, 1):
        np.testing.assert_array_equal(found[f"matches{number}"], golden[f"matches{number}"])
        check(found[f"matching_scores{number}"], golden[f"matching_scores{number}"], 1e-3)
    check(found["similarity"], golden["similarity"])
    check(found["log_assignment"], golden["log_assignment"])


def texture(height: int, width: int) -> torch.Tensor:
    """A picture of blobs."""
    noise = np.random.default_rng(0).normal(size=(height, width, 3))
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return torch.from_numpy((128 + 90 * blurred / np.abs(blurred).max()).astype(np.uint8))


@pytest.fixture(scope="module")
def superglue(published: dict[str, dict[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> SuperGlue:
    folder = tmp_path_factory.mktemp("superglue")
    write_pickle(folder / "superpoint_v1.pth", as_tensors(published["superpoint"]))
    write_pickle(folder / "superglue_indoor.pth", as_tensors(published["superglue"]))
    return SuperGlue.from_checkpoint(folder, "cpu")


def test_superglue_gives_points_in_the_projects_pixels(superglue: SuperGlue) -> None:
    image = texture(64, 80)
    found = superglue.match(image, image[..., 0])
    grey = torch.from_numpy(cv2.cvtColor(image.numpy(), cv2.COLOR_RGB2GRAY))
    detected = superglue.detector.detect(grey).points + 0.5
    assert found.points0.shape == found.points1.shape == (len(found), 2)
    for point in found.points0:
        assert (detected == point).all(1).any()
    assert len(superglue.match(image, torch.zeros(16, 16, dtype=torch.uint8))) == 0


@pytest.mark.gpu
def test_a_gpu_finds_the_same_points(
    superglue: SuperGlue, published: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    write_pickle(tmp_path / "superpoint_v1.pth", as_tensors(published["superpoint"]))
    write_pickle(tmp_path / "superglue_indoor.pth", as_tensors(published["superglue"]))
    there = SuperGlue.from_checkpoint(tmp_path, "cuda")
    image, other = texture(64, 80), texture(96, 72)
    found, expected = (matcher.detector.detect(image[..., 0]).points.cpu() for matcher in (there, superglue))
    torch.testing.assert_close(found, expected)
    assert abs(len(there.match(image, other)) - len(superglue.match(image, other))) <= 1


def test_too_many_points_are_cut_by_score(superglue: SuperGlue) -> None:
    found = superglue.detector.detect(texture(256, 512)[..., 0])
    assert len(found.points) == 1024
    assert (found.scores[:-1] >= found.scores[1:]).all()
    near = torch.cdist(found.points, found.points) + 1e3 * torch.eye(1024)
    assert near.min() > 4


def test_superglue_of_another_model_is_refused(tmp_path: Path, published: dict[str, dict[str, np.ndarray]]) -> None:
    write_pickle(tmp_path / "superpoint_v1.pth", as_tensors(published["superglue"]))
    with pytest.raises(InputError, match="not a checkpoint of SuperPoint"):
        SuperPoint.from_checkpoint(tmp_path / "superpoint_v1.pth", "cpu")


def warped(image: torch.Tensor, homography: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """The picture seen through a map of the project's pixels, whose centres are at halves."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return torch.from_numpy(cv2.warpPerspective(image.numpy(), np.linalg.inv(half) @ homography @ half, size))


def test_sift_finds_where_points_of_a_turned_and_enlarged_picture_were() -> None:
    homography = np.array([[1.2, -0.5, 60.0], [0.5, 1.2, -20.0], [1e-4, 0, 1.0]])
    image = texture(200, 240)
    found = Sift().match(image, warped(image, homography, (300, 340)))
    mapped = np.c_[found.points0.numpy(), np.ones(len(found))] @ homography.T
    errors = np.linalg.norm(mapped[:, :2] / mapped[:, 2:] - found.points1.numpy(), axis=1)
    assert len(found) > 50
    assert np.quantile(errors, 0.95) < 1.0
    assert np.abs((mapped[:, :2] / mapped[:, 2:] - found.points1.numpy()).mean(0)).max() < 0.1  # no half pixel
    assert ((found.scores > 0) & (found.scores <= 1)).all()


def test_sift_matches_real_photographs_as_their_depths_say(real_data: Path) -> None:
    room = real_data / "photos" / "room"
    views = [torch.from_numpy(cv2.imread(str(room / "rgb" / f"{k}.png"))[..., ::-1].copy()) for k in (0, 1)]
    found = Sift().match(*views)
    with np.load(room / "condition.npz") as file:
        K, poses, depths = file["intrinsics"], file["poses"].astype(float), file["depths"]
    K = K.astype(float) + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    pixels = found.points0.numpy()
    z = depths[0][tuple(pixels.astype(int).T[::-1])]
    local = np.c_[pixels, np.ones(len(pixels))] @ np.linalg.inv(K[0]).T * z[:, None]
    world = local @ poses[0][:3, :3].T + poses[0][:3, 3]
    there = (world - poses[1][:3, 3]) @ poses[1][:3, :3] @ K[1].T
    errors = np.linalg.norm(there[:, :2] / there[:, 2:] - found.points1.numpy(), axis=1)[z > 0]
    assert len(errors) > 50
    assert np.median(errors) < 2
    assert (errors < 5).mean() > 0.9


@pytest.mark.parametrize("other", [torch.zeros(40, 40, dtype=torch.uint8), torch.zeros(8, 8, 3, dtype=torch.uint8)])
def test_sift_finds_nothing_where_nothing_is(other: torch.Tensor) -> None:
    found = Sift().match(texture(100, 100), other)
    assert (len(found), found.points0.shape) == (0, (0, 2))


def test_a_single_match_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    row = torch.tensor([3])
    monkeypatch.setattr(sift, "_outstanding", lambda *_: (row, row, torch.tensor([0.5])))
    assert len(Sift().match(texture(100, 100), texture(100, 100))) == 0


def test_pictures_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image: expected \(H, W\) or \(H, W, 3\) uint8, found \(3, 20, 20\)"):
        Sift().match(texture(20, 20), torch.zeros(3, 20, 20))


@pytest.fixture(scope="module")
def lightglue_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of LightGlue with random weights, by the names that their authors gave the tensors."""
    kornia = pytest.importorskip("kornia.feature")
    folder = tmp_path_factory.mktemp("lightglue")
    torch.manual_seed(0)
    aliked = kornia.ALIKED("aliked-n16").state_dict()
    del aliked["dkd.hw_grid"]
    write_pickle(folder / "aliked-n16.pth", aliked)
    write_pickle(folder / "depth-save.pth", {"extractor": kornia.DISK().state_dict()})
    network = kornia.LightGlue(None, input_dim=128).state_dict()
    del network["confidence_thresholds"]
    for name in list(network):
        start, layer, kind, *rest = [*name.split("."), "", ""]
        if start == "transformers":
            network[".".join(part for part in (kind, layer, *rest) if part)] = network.pop(name)
    for file in ("aliked_lightglue.pth", "disk_lightglue.pth"):
        write_pickle(folder / file, network)
    return folder


@pytest.mark.parametrize("features", ["aliked", "disk"])
def test_lightglue_is_what_its_files_say_without_a_network(
    features: str, lightglue_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    matcher = LightGlue.from_checkpoint(lightglue_folder, "cpu", features)
    image = texture(64, 96)
    # Weights that match nothing match everything that is the same once no score is too low.
    matcher.network.conf.filter_threshold = 0.0
    found = matcher.match(image, image)
    assert len(found)
    torch.testing.assert_close(found.points0, found.points1)
    assert (found.points0 > 0).all()
    assert (found.points0 < torch.tensor([96, 64])).all()


def test_lightglue_of_other_points_is_refused(tmp_path: Path, lightglue_folder: Path) -> None:
    for name in ("depth-save.pth", "disk_lightglue.pth"):
        (tmp_path / name).symlink_to(lightglue_folder / "aliked-n16.pth")
    with pytest.raises(InputError, match=r"depth-save.pth: expected tensors in an entry 'extractor'"):
        LightGlue.from_checkpoint(tmp_path, "cpu", "disk")


def test_the_best_matcher_with_weights_is_chosen(tmp_path: Path, lightglue_folder: Path) -> None:
    assert choose_matcher("auto", tmp_path, "cpu")[0] == "sift"
    (tmp_path / "LightGlue").mkdir()
    for name in ("depth-save.pth", "disk_lightglue.pth"):
        (tmp_path / "LightGlue" / name).symlink_to(lightglue_folder / name)
    name, matcher = choose_matcher("auto", tmp_path, "cpu")
    assert (name, type(matcher)) == ("lightglue_disk", LightGlue)
    with pytest.raises(InputError, match=r"no complete checkpoint of superglue: python -m tools\.download"):
        choose_matcher("superglue", tmp_path, "cpu")
    with pytest.raises(InputError, match=r"matcher: expected auto, .*, found 'orb'"):
        choose_matcher("orb", tmp_path, "cpu")


def test_matches_of_one_picture_with_many_are_those_with_each() -> None:
    image = texture(120, 160)
    others = [image.flip(1), warped(image, np.diag([1.3, 1.3, 1.0]), (208, 156))]
    found: list[Matches] = Sift().match_all(image, others)
    for matches, other in zip(found, others, strict=True):
        torch.testing.assert_close(matches.points1, Sift().match(image, other).points1)
    assert len(found[1]) > 20
