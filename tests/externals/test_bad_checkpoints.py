"""Every model with every file that is none of its checkpoints: one line that names the file, and nothing is run."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from externals.checkpoint_files import read_checkpoint
from externals.feature_matching.light_glue import LightGlue
from externals.feature_matching.super_glue import SuperGlue
from externals.pi3_splat import Pi3Splat
from externals.sam2 import Sam2
from gaussians.stage.errors import InputError

pytest.importorskip("transformers")
pytest.importorskip("diffusers")
pytest.importorskip("kornia")
OTHER = {"conv.weight": torch.zeros(4, 3, 2, 2), "conv.bias": torch.zeros(4)}


class Malice:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, ("import sys; sys.malice = True",)


def pickle_of(path: Path, contents: object) -> None:
    torch.save(contents, path)


def page(path: Path) -> None:
    path.write_text("<!DOCTYPE html>\n<html><body>Sign in to continue</body></html>", encoding="utf-8")


def truncated(path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(OTHER, path)
    else:
        pickle_of(path, OTHER)
    path.write_bytes(path.read_bytes()[:-20])


def other_model(path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(OTHER, path)
    else:
        pickle_of(path, OTHER)


def other_model_inside(path: Path) -> None:
    pickle_of(path, dict.fromkeys(("model", "extractor", "state_dict"), OTHER))


def code(path: Path) -> None:
    pickle_of(path, {"model": OTHER, "hook": Malice()})


def code_instead(path: Path) -> None:
    pickle_of(path, Malice())


def missing_shard(path: Path) -> None:
    files = {"conv.weight": "model-00001-of-00002.safetensors", "conv.bias": "model-00002-of-00002.safetensors"}
    save_file({"conv.weight": OTHER["conv.weight"]}, path.parent / files["conv.weight"])
    (path.parent / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}), encoding="utf-8")


PICKLES = (page, truncated, other_model, other_model_inside, code, code_instead)
TENSORS = (page, truncated, other_model, missing_shard)


@dataclass(frozen=True)
class Model:
    """Reads what is in a folder, whose file ``name`` comes first."""

    name: str
    load: Callable[[Path], object]


def elevation(folder: Path) -> object:
    from externals.diffsplat.elevation import ElevationEstimator

    return ElevationEstimator.from_checkpoint(folder, "cpu")


def splats(folder: Path) -> object:
    from externals.diffsplat.networks import load_splat_autoencoder

    return load_splat_autoencoder(folder)


def osediff(folder: Path) -> object:
    from externals.osediff import OSEDiff

    return OSEDiff.from_checkpoint(folder, "cpu")


def tags(folder: Path) -> object:
    from externals.osediff.tag_network import TagNetwork

    pickle_of(folder / "DAPE.pth", OTHER)
    return TagNetwork.from_checkpoint(folder)


MODELS = {
    "SAM 2.1": Model("sam2.1_hiera_large.pt", lambda folder: Sam2.from_checkpoint(folder / "sam2.1_hiera_large.pt")),
    "SAM 2.1 of the hub": Model("model.safetensors", Sam2.from_checkpoint),
    "Pi3_splat": Model("model.safetensors", lambda folder: Pi3Splat.from_checkpoint(folder, "cpu")),
    "SuperGlue": Model("superpoint_v1.pth", lambda folder: SuperGlue.from_checkpoint(folder, "cpu")),
    "ALIKED": Model("aliked-n16.pth", lambda folder: LightGlue.from_checkpoint(folder, "cpu")),
    "DISK": Model("depth-save.pth", lambda folder: LightGlue.from_checkpoint(folder, "cpu", "disk")),
    "OSEDiff": Model("osediff.pkl", osediff),
    "RAM": Model("ram_swin_large_14m.pth", tags),
    "DiffSplat's autoencoder": Model("model.safetensors", splats),
    "ElevEst": Model("model.safetensors", elevation),
}


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        pytest.param(name, spoil, id=f"{name}: {spoil.__name__}")
        for name, model in MODELS.items()
        for spoil in (TENSORS if model.name.endswith(".safetensors") else PICKLES)
    ],
)
def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, name: str, spoil: Callable[[Path], None]) -> None:
    model = MODELS[name]
    spoil(tmp_path / model.name)
    with pytest.raises(InputError) as caught:
        model.load(tmp_path)
    message = str(caught.value)
    assert message.startswith(str(tmp_path))
    assert "\n" not in message
    assert len(message) < 600
    assert not hasattr(sys, "malice")


def test_the_other_models_file_is_a_checkpoint(tmp_path: Path) -> None:
    other_model(tmp_path / "a.pt")
    assert read_checkpoint(tmp_path / "a.pt").keys() == OTHER.keys()
