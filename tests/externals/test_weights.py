"""The table of weights: where checkpoints are looked for, and what its documentation says."""

from pathlib import Path

import pytest

from externals.weights import WEIGHTS, expect_checkpoint, find_checkpoint
from gaussians.stage.errors import InputError

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "weights.md"


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("layout", ["videogen/checkpoints", ""])
def test_a_checkpoint_is_found_once_it_is_whole(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / layout / "LightGlue"
    assert find_checkpoint("lightglue_aliked", tmp_path) is None
    touch(folder / "aliked_lightglue.pth")
    assert find_checkpoint("lightglue_aliked", tmp_path) is None
    touch(folder / "aliked-n16.pth")
    assert find_checkpoint("lightglue_aliked", tmp_path) == folder
    assert find_checkpoint("lightglue_disk", tmp_path) is None


def test_the_published_file_and_the_hubs_folder_are_the_same_model(tmp_path: Path) -> None:
    folder = tmp_path / "videogen/checkpoints/sam2"
    touch(folder / "sam2.1-hiera-large/model.safetensors")
    assert find_checkpoint("sam2", tmp_path) == folder / "sam2.1-hiera-large"
    touch(folder / "sam2.1_hiera_large.pt")
    assert find_checkpoint("sam2", tmp_path) == folder / "sam2.1_hiera_large.pt"


def test_a_missing_checkpoint_comes_with_the_command_that_brings_it(tmp_path: Path) -> None:
    message = rf"sam2\.1_hiera_tiny\.pt: no complete checkpoint of sam2_tiny: python -m .* sam2_tiny --root {tmp_path}$"
    with pytest.raises(InputError, match=message):
        expect_checkpoint("sam2_tiny", tmp_path)


def test_every_model_is_documented_with_its_licence() -> None:
    rows = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for name, weights in WEIGHTS.items():
        (row,) = [row for row in rows if f"`{name}`" in row.split("|")[1]]
        assert all(licence.name in row for licence in weights.licences)
        assert ("(default)" in row) == weights.by_default
        assert f"{weights.size:.2g}" in row.split("|")[3]
