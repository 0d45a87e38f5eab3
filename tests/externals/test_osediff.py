"""OSEDiff and RAM: the published outputs and checkpoints, sharper pictures, and tags."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from externals.osediff import OSEDiff, Tagger
from gaussians.stage.errors import InputError
from tests.externals.adapter import run
from tests.externals.generation_targets import write_osediff, write_ram
from tests.externals.synthetic_weights import make_weights
from tests.externals.tiny_stable_diffusion import VAE, WIDTH, write_text_encoder

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
GOLDEN = Path(__file__).parent / "golden"


def golden_and_weights(target: str) -> tuple[Any, dict[str, Any]]:
    golden = np.load(GOLDEN / f"{target}_seed0.npz")
    weights = {
        name.removesuffix("_shapes"): make_weights(json.loads(str(golden[name])), int(golden["seed"]))
        for name in golden.files
        if name.endswith("shapes")
    }
    return golden, weights.get("shapes", weights)


@pytest.mark.parametrize("target", ["osediff_tiny", "ram_dape_tiny"])
def test_networks_are_the_published_ones(target: str) -> None:
    golden, weights = golden_and_weights(target)
    outputs = run(target, weights, golden)
    assert len(outputs) >= 3
    for name, array in outputs.items():
        assert array.shape == golden[name].shape
        assert np.abs(array - golden[name]).max() <= 1e-4 * np.abs(golden[name]).max(), name


def test_the_published_adaptation_fits_stable_diffusion() -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from externals.osediff.lora import Adaptation
    from tools.benchmarks.generation import GenerationSizes

    with gzip.open(GOLDEN / "osediff_shapes.json.gz", "rt") as file:
        published = json.load(file)["pickle"]
    contents: dict[str, Any] = dict(published["top_level"])
    with torch.device("meta"):
        sizes = GenerationSizes()
        networks = {
            "unet": UNet2DConditionModel(**sizes.sharpener),
            "vae": AutoencoderKL(**sizes.autoencoder, latent_channels=4),
        }
        for name, network in networks.items():
            shapes = published[f"state_dict_{name}"]
            contents[f"state_dict_{name}"] = {key: torch.empty(shape) for key, shape in shapes.items()}
            base = network.state_dict()
            modules = {
                f"default_{adapter}": contents.get(f"{name}_lora_{adapter}_modules", [])
                for adapter in ("encoder", "decoder", "others")
            }
            adaptation = Adaptation(contents[f"state_dict_{name}"], modules, 4, Path("osediff.pkl"))
            merged = adaptation.merged_into(base)
            assert {key: values.shape for key, values in merged.items()} == {
                key: values.shape for key, values in base.items()
            }


def test_the_published_tagging_path_fits_its_network() -> None:
    from externals.osediff.tag_network import TagNetwork

    with gzip.open(GOLDEN / "osediff_shapes.json.gz", "rt") as file:
        published = json.load(file)["ram_dape"]
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in published.items()}
        network, own = TagNetwork.of_published(tensors, {}, Path("ram"))
        assert {name: values.shape for name, values in network.state_dict().items()} == {
            name: values.shape for name, values in own.items()
        }
    assert network.visual_encoder.config.image_size == 384
    assert network.visual_encoder.config.depths == [2, 2, 18, 2]


def tiny_osediff(root: Path, targets_of: dict[str, Any] | None = None) -> Path:
    """Write tiny networks whose matrices of low rank are on one layer of each."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    config = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
    }
    with torch.device("meta"):
        shapes = {
            "unet": {k: tuple(v.shape) for k, v in UNet2DConditionModel(**config).state_dict().items()},
            "vae": {k: tuple(v.shape) for k, v in AutoencoderKL(**VAE).state_dict().items()},
        }
    layers = {"unet": "conv_in", "vae": "encoder.conv_in"}
    for network, layer in layers.items():
        out, taken, *kernel = shapes[network][f"{layer}.weight"]
        for leaf in ("weight", "bias"):
            shapes[network][f"{layer}.base_layer.{leaf}"] = shapes[network].pop(f"{layer}.{leaf}")
        shapes[network][f"{layer}.lora_A.default_encoder.weight"] = (4, taken, *kernel)
        shapes[network][f"{layer}.lora_B.default_encoder.weight"] = (out, 4, 1, 1)
    targets = {f"{network}_lora_encoder_modules": [layer] for network, layer in layers.items()} | (targets_of or {})
    inputs = {
        "targets": np.array(json.dumps(targets)),
        "rank": np.array(4),
        "unet_config": np.array(json.dumps(config)),
        "vae_config": np.array(json.dumps(VAE)),
    }
    weights = {network: make_weights(own) for network, own in shapes.items()}
    write_osediff(root, weights, inputs)
    write_text_encoder(root / "stable-diffusion-2-1-base")
    return root


def test_a_picture_is_enlarged_to_its_own_shape(tmp_path: Path) -> None:
    model = OSEDiff.from_checkpoint(tiny_osediff(tmp_path), "cpu")
    image = torch.randint(0, 256, (30, 41, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    large = model.enlarge(image, "a red mug", longer_side=164)
    assert large.dtype == torch.uint8
    assert large.shape == (120, 164, 3)
    assert torch.equal(model.enlarge(image, "a red mug", longer_side=164), large)
    assert not torch.equal(model.enlarge(image, "worst quality", longer_side=164), large)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            {"unet_lora_encoder_modules": ["conv_out"]},
            "no matrices of the adapter default_encoder for a layer conv_out",
        ),
        ({"vae_lora_encoder_modules": []}, "2 tensors that no adapter uses"),
        ({"rank_unet": 3}, "matrices of rank 3 for conv_in do not fit"),
        ({"rank_vae": "4"}, "expected rank_vae and state_dict_vae"),
    ],
)
def test_an_adaptation_that_does_not_fit_is_refused(targets: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        OSEDiff.from_checkpoint(tiny_osediff(tmp_path, targets), "cpu")


def test_tags_are_those_above_their_thresholds(tmp_path: Path) -> None:
    _, weights = golden_and_weights("ram_dape_tiny")
    write_ram(tmp_path, weights)
    names = [f"tag {k}" for k in range(30)]
    image = torch.randint(0, 256, (40, 60, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (tmp_path / "ram_tag_list.txt").write_text("\n".join(names))
    (tmp_path / "ram_tag_list_threshold.txt").write_text("\n".join(str(float(k % 3 > 0)) for k in range(30)))
    assert Tagger.from_checkpoint(tmp_path, "cpu").tags(image) == names[::3]
    (tmp_path / "ram_tag_list.txt").write_text("one\ntwo")
    with pytest.raises(InputError, match=r"ram_tag_list\.txt: expected 30 lines"):
        Tagger.from_checkpoint(tmp_path, "cpu")
    torch.save({"model": {"fc.bias": torch.zeros(1)}}, tmp_path / "ram_swin_large_14m.pth")
    with pytest.raises(InputError, match=r"ram_swin_large_14m\.pth: not a checkpoint of RAM's tagging"):
        Tagger.from_checkpoint(tmp_path, "cpu")
