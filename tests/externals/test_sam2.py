"""SAM 2.1: the published network's numbers, all of its sizes, and label pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from externals.sam2 import SIZES, ObjectPrompt, Sam2, fill_holes, label_picture, library_names, size_of
from gaussians.stage.errors import InputError
from tests.externals.adapter import run, write_pickle
from tests.externals.synthetic_weights import make_weights

transformers = pytest.importorskip("transformers")
GOLDEN = Path(__file__).parent / "golden"


def published_shapes(size: str) -> dict[str, list[int]]:
    return json.loads((GOLDEN / f"sam2.1_hiera_{size}.json").read_text(encoding="utf-8"))["tensors"]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "sam2_tiny_seed0.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def weights(golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return make_weights(published_shapes("tiny"), int(golden["seed"]), json.loads(str(golden["set_rules"])))


def check(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_the_prompted_picture_is_as_published(golden: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> None:
    found = run("sam2_tiny", weights, golden | {"frames": golden["frames"][:1]})
    for name in ("fpn0_sub", "fpn1_sub", "fpn2_sub"):
        check(found[name], golden[name])
    for name in ("low_res_logits_sub", "video_res_logits", "obj_ptr"):
        check(found[name], golden[name][:1])
    check(found["maskmem_frame0_obj1_sub"], golden["maskmem_frame0_obj1_sub"], 1e-2)  # of bfloat16


@pytest.mark.slow
def test_pictures_that_follow_are_as_published(golden: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> None:
    found = run("sam2_tiny", weights, golden)
    for name in ("low_res_logits_sub", "video_res_logits", "obj_ptr"):
        check(found[name], golden[name])


@pytest.mark.parametrize(("size", "count"), [("large", 901), ("tiny", 469)])
def test_published_names_and_shapes_are_the_librarys(size: str, count: int) -> None:
    shapes = published_shapes(size)
    named = library_names({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    with torch.device("meta"):
        expected = transformers.Sam2VideoModel(size_of(named, "a.pt").settings()).state_dict()
    assert len(expected) == count
    assert {name: tensor.shape for name, tensor in named.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


def test_weights_that_were_converted_for_the_library_are_read(tmp_path: Path) -> None:
    shapes = {name: torch.empty(shape, device="meta") for name, shape in published_shapes("tiny").items()}
    tensors = {name: torch.full(tensor.shape, 0.5) for name, tensor in library_names(shapes).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    found = Sam2.from_checkpoint(tmp_path)._model.state_dict()
    assert found.keys() == tensors.keys()
    assert all((tensor == 0.5).all() for tensor in found.values())


@pytest.mark.parametrize(("name", "millions"), [("small", 46.0), ("base_plus", 80.8)])
def test_other_sizes_have_their_published_number_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = transformers.Sam2VideoModel(SIZES[name].settings())
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(millions * 1e6, rel=2e-3)
    assert size_of(model.state_dict(), "a.pt") == SIZES[name]


@pytest.fixture(scope="module")
def small() -> Sam2:
    """The tiny network for pictures of 128 x 128 pixels, with random weights: quick, and wrong about everything."""
    torch.manual_seed(0)
    return Sam2(transformers.Sam2VideoModel(SIZES["tiny"].settings(side=128)).eval(), torch.device("cpu"))


def test_objects_are_followed_in_both_directions(small: Sam2) -> None:
    frames = torch.randint(0, 256, (4, 40, 60, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    forward = small.logits(frames, [ObjectPrompt(0, points=((20, 10),)), ObjectPrompt(0, box=(5, 5, 30, 20))])
    backward = small.logits(frames.flip(0), [ObjectPrompt(3, points=((20, 10),)), ObjectPrompt(3, box=(5, 5, 30, 20))])
    assert forward.shape == (4, 2, 32, 32)
    assert forward.std() > 0
    torch.testing.assert_close(backward.flip(0), forward, rtol=1e-4, atol=1e-5)


def test_each_object_has_its_own_picture_to_be_shown_in(small: Sam2) -> None:
    frames = torch.randint(0, 256, (2, 40, 60, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    prompts = [ObjectPrompt(0, points=((20, 10),)), ObjectPrompt(1, box=(5, 5, 30, 20))]
    logits = small.logits(frames, prompts)
    torch.testing.assert_close(logits[:, 1:], small.logits(frames, prompts[1:]))
    labels = small.segment(frames, prompts, largest_hole=0)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, torch.stack([label_picture(frame, 40, 60) for frame in logits]))
    with pytest.raises(ValueError, match="frame 2: expected one of 2"):
        small.segment(frames, [ObjectPrompt(2, points=((20, 10),))])


def test_the_larger_logit_has_the_pixel() -> None:
    logits = torch.full((2, 4, 4), -1.0)
    logits[0, :, :3] = 2.0
    logits[1, :, 1:] = 3.0
    assert label_picture(logits, 4, 4).tolist() == [[1, 2, 2, 2]] * 4
    assert label_picture(logits - 5, 4, 4).tolist() == [[0] * 4] * 4


def test_small_holes_are_filled() -> None:
    logits = torch.ones(1, 16, 16)
    logits[0, 2:4, 2:4] = -1  # four pixels, and one that touches them by its corner
    logits[0, 4, 4] = -1
    logits[0, 8:12, 8:11] = -1  # twelve
    filled = fill_holes(logits, 8)
    assert (filled[0, 2:5, 2:5] > 0).all()
    assert (filled[0, 8:12, 8:11] == -1).all()
    assert (fill_holes(logits, 4) == logits).all()
    assert fill_holes(logits, 0) is logits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {"conv.weight": torch.zeros(1)}, "not a checkpoint of SAM 2.1: no size of it has 0 blocks"),
        (
            lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "no_obj_ptr"},
            r"not a checkpoint of SAM 2\.1: of 469 tensors 1 missing \(no_object_pointer\)$",
        ),
    ],
    ids=["another model", "a tensor is missing"],
)
def test_other_checkpoints_are_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], message: str
) -> None:
    tensors = {name: torch.zeros(1).expand(shape) for name, shape in published_shapes("tiny").items()}
    with pytest.raises(InputError, match=message):
        Sam2.from_checkpoint(write_pickle(tmp_path / "a.pt", {"model": change(tensors)}))
    with pytest.raises(InputError, match="expected tensors in an entry 'model', found weight"):
        Sam2.from_checkpoint(write_pickle(tmp_path / "b.pt", {"weight": torch.zeros(1)}))
