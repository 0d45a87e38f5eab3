"""DiffSplat: the published outputs and checkpoints, its cameras, and objects from pictures."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from externals.checkpoint_files import renamed_encoder
from externals.diffsplat import DiffSplat
from externals.diffsplat.conditioning import SIZE, make_conditioning_picture
from externals.diffsplat.orbit import orbit_cameras
from externals.diffsplat.versions import PUBLISHED
from gaussians.stage import memory
from gaussians.stage.errors import InputError
from tests.externals.adapter import run
from tests.externals.generation_targets import tensors_of, write_part
from tests.externals.synthetic_weights import make_weights
from tests.externals.tiny_stable_diffusion import (
    VAE,
    WIDTH,
    weights_of,
    write_former_autoencoder,
    write_network,
    write_t5,
    write_text_encoder,
)

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
GOLDEN = Path(__file__).parent / "golden"
UNET = {
    "sample_size": 32,
    "in_channels": 11,
    "out_channels": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlockMV2D"],
    "up_block_types": ["CrossAttnUpBlockMV2D", "UpBlock2D"],
    "mid_block_type": "UNetMidBlockMV2DCrossAttn",
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
}
SD3 = {
    "sample_size": 32,
    "in_channels": 23,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 2 * WIDTH,
    "pos_embed_max_size": 16,
    "dual_attention_layers": [0],
    "qk_norm": "rms_norm",
}


@pytest.mark.parametrize(
    ("target", "tolerance"),
    [("diffsplat_mv_denoisers", 1e-4), ("diffsplat_sd15_loop", 1e-4), ("diffsplat_gsrecon_geometry", 1e-4)],
)
def test_networks_and_geometry_are_the_published_ones(target: str, tolerance: float) -> None:
    golden = np.load(GOLDEN / f"{target}_seed0.npz")
    weights = {
        name.removesuffix("_shapes"): make_weights(json.loads(str(golden[name])), int(golden["seed"]))
        for name in golden.files
        if name.endswith("shapes")
    }
    outputs = run(target, weights.get("shapes", weights), golden)
    assert len(outputs) >= 1
    for name, array in outputs.items():
        assert array.shape == golden[name].shape
        exact = 1e-5 if name in ("c2w_opencv", "orbit_c2w_opengl", "plucker", "fxfycxcy") else tolerance
        assert np.abs(array - golden[name]).max() <= exact * np.abs(golden[name]).max(), name


def test_published_checkpoints_fit_their_networks() -> None:
    from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel

    from externals.diffsplat.elevation import ENCODER_NAMES, ElevationEstimator
    from externals.diffsplat.networks import autoencoder_config
    from tools.benchmarks.generation import GenerationSizes

    with gzip.open(GOLDEN / "diffsplat_shapes.json.gz", "rt") as file:
        published = json.load(file)
    with torch.device("meta"):
        checkpoints = {
            name: {key: torch.empty(shape) for key, shape in shapes.items()} for name, shapes in published.items()
        }
        elevation = renamed_encoder(checkpoints["elevest"], *ENCODER_NAMES)
        networks = {
            "sd15": (UNet2DConditionModel(**GenerationSizes().unet), checkpoints["sd15"]),
            "sd35m": (SD3Transformer2DModel(**GenerationSizes().sd3), checkpoints["sd35m"]),
            "elevest": (ElevationEstimator.of_size(elevation, Path("elevest")), elevation),
        }
        for name in ("gsvae_sd", "gsvae_sd3"):
            own = {key[4:]: tensor for key, tensor in checkpoints[name].items() if key.startswith("vae.")}
            networks[name] = (AutoencoderKL(**autoencoder_config(own, Path(name))), own)
    assert set(networks) == set(published)
    for network, tensors in networks.values():
        assert {key: tensor.shape for key, tensor in network.state_dict().items()} == {
            key: tensor.shape for key, tensor in tensors.items()
        }


def test_conditioning_picture_knows_its_pixels() -> None:
    rows, columns = torch.meshgrid(torch.arange(180), torch.arange(240), indexing="ij")
    image = torch.stack([columns, rows, torch.full_like(rows, 90)], -1).to(torch.uint8)
    mask = ((columns - 130) / 60) ** 2 + ((rows - 80) / 35) ** 2 < 1
    picture = make_conditioning_picture(image, mask)
    x0, y0, x1, y1 = picture.box
    assert (x0, x1) == (int(columns[mask].min()), int(columns[mask].max()) + 1)
    inside = picture.inside.nonzero().flip(1)
    width, height = (inside.amax(0) - inside.amin(0) + 1).tolist()
    assert (width, height) == (204, round(204 * (y1 - y0) / (x1 - x0)))
    centre = (inside.amax(0) + inside.amin(0) + 1) / 2
    torch.testing.assert_close(centre, torch.tensor([SIZE / 2, SIZE / 2]), atol=0.5, rtol=0)
    # The colours say where a pixel was: its centre is at half a pixel more.
    deep = inside[((inside - centre).abs() / torch.tensor([width, height]) < 0.3).all(1)]
    shown = 255 * picture.rgb[:2, deep[:, 1], deep[:, 0]].T + 0.5
    torch.testing.assert_close(picture.in_input(deep + 0.5), shown, atol=0.05, rtol=0)
    assert picture.rgb[:, ~picture.inside].min() > 0.25
    assert (picture.rgb[:, :5] == 1).all()


def test_an_empty_mask_has_no_conditioning_picture() -> None:
    with pytest.raises(ValueError, match="mask"):
        make_conditioning_picture(torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.bool))


def test_cameras_stand_where_the_elevation_says() -> None:
    positions = orbit_cameras(30.0, 8).positions
    expected = 1.4 * torch.tensor([[0, 0.5, 0.75**0.5], [0.75**0.5, 0.5, 0], [0, 0.5, -(0.75**0.5)]])
    torch.testing.assert_close(positions[:3], expected, atol=1e-6, rtol=0)


def write_checkpoint(root: Path, version: str) -> Path:
    """Write tiny networks of a version in the published layout."""
    from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel

    published, channels = PUBLISHED[version], 4 if version == "sd15" else 16
    config, kind = (UNET, UNet2DConditionModel) if version == "sd15" else (SD3, SD3Transformer2DModel)
    stock = json.loads(json.dumps(config).replace("MV2D", "2D"))
    with torch.device("meta"):
        denoiser = kind(**stock)
        splats = {"in_channels": 12, "out_channels": 12, "latent_channels": channels}
        autoencoder = AutoencoderKL(**VAE | splats | {"block_out_channels": [32] * 4, "norm_num_groups": 32})
    steps = root / published.denoiser / "checkpoints"
    (steps / "000100").mkdir(parents=True)
    write_part(steps / "013020" / published.part, config, weights_of(denoiser))
    folder = root / published.autoencoder / "checkpoints" / "039060"
    folder.mkdir(parents=True)
    save_file(
        weights_of(autoencoder, "vae.") | {"tiny_decoder.layers.0.weight": torch.zeros(2)}, folder / "model.safetensors"
    )
    base = root / published.base
    write_former_autoencoder(base / "vae", VAE | {"latent_channels": channels})
    for suffix in ("",) if version == "sd15" else ("", "_2"):
        write_text_encoder(base, suffix, projection=version == "sd35m")
    return root


@pytest.mark.parametrize("version", ["sd15", "sd35m"])
def test_an_object_is_generated_from_a_picture(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from externals.diffsplat import denoising

    monkeypatch.setitem(denoising._STEPS, version, 2)
    model = DiffSplat.from_checkpoint(write_checkpoint(tmp_path, version), "cpu", version)
    image = torch.randint(0, 256, (60, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[10:50, 20:60] = True
    found = model.complete(image, mask, "a red mug", elevation=20.0)
    assert len(found.gaussians) == 4 * SIZE**2
    assert found.gaussians.scales is not None
    assert found.gaussians.scales.min() >= 0.0005
    assert found.gaussians.scales.max() <= 0.02
    assert 0 <= found.gaussians.opacities.min() < found.gaussians.opacities.max() <= 1
    # Each Gaussian lies behind the centre of its own pixel.
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    points = found.gaussians.means.reshape(4, SIZE**2, 3)
    for viewmat, K, own in zip(found.cameras.viewmats, found.cameras.Ks, points, strict=True):
        pixels = (own @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
        seen = (pixels[:, :2] / pixels[:, 2:]).reshape(SIZE, SIZE, 2)
        torch.testing.assert_close(seen, torch.stack([columns, rows], -1), atol=1e-2, rtol=0)
    if version == "sd15":
        other = model.complete(image, mask, "a red mug", elevation=20.0, seed=1)
        assert not torch.equal(other.gaussians.sh, found.gaussians.sh)
    with pytest.raises(InputError, match="elevest"):
        model.complete(image, mask, "a red mug")


@pytest.mark.parametrize("version", ["sd15", "sd35m"])
def test_holding_products_in_bfloat16_changes_nothing(version: str) -> None:
    from diffusers import SD3Transformer2DModel, UNet2DConditionModel

    from externals.diffsplat.networks import hold_products_in_bfloat16

    stock = json.loads(json.dumps(UNET).replace("MV2D", "2D"))
    denoiser = UNet2DConditionModel(**stock) if version == "sd15" else SD3Transformer2DModel(**SD3)
    denoiser.load_state_dict(weights_of(denoiser))
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(2, denoiser.config.in_channels, 8, 8, generator=generator)
    width = WIDTH if version == "sd15" else SD3["joint_attention_dim"]
    given = {"encoder_hidden_states": torch.randn(2, 7, width, generator=generator)}
    if version == "sd35m":
        given["pooled_projections"] = torch.randn(2, 2 * WIDTH, generator=generator)
    outputs = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            outputs.append(denoiser(samples, timestep=torch.tensor([431, 431]), **given).sample)
            hold_products_in_bfloat16(denoiser)
    assert torch.equal(*outputs)


def test_too_little_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, "sd15")
    monkeypatch.setattr(memory, "free_memory", lambda: 2**30)
    with pytest.raises(InputError, match=r"DiffSplat sd15: takes at least 2.* free what other models hold"):
        DiffSplat.from_checkpoint(tmp_path, "cpu")


def test_t5_reads_prompts_where_it_is_asked_to(tmp_path: Path) -> None:
    from externals.diffsplat.texts import PromptEmbedder

    for suffix in ("", "_2"):
        write_text_encoder(tmp_path, suffix, projection=True)
    write_t5(tmp_path)
    without, with_t5 = (PromptEmbedder.from_folder(tmp_path, "sd35m", t5).embed("a red mug") for t5 in (False, True))
    assert with_t5.tokens.shape == (2, 77 + 256, 4096)
    assert with_t5.pooled is not None
    assert with_t5.pooled.shape == (2, 2 * WIDTH)
    assert torch.equal(with_t5.tokens[:, :77], without.tokens[:, :77])
    assert (without.tokens[:, 77:] == 0).all()
    assert (with_t5.tokens[:, 77:].std(-1) > 0).all()


def test_elevation_is_its_class_and_what_is_more(tmp_path: Path) -> None:
    from externals.diffsplat.elevation import ElevationEstimator

    shapes = {
        "backbone.cls_token": (1, 1, 64),
        "backbone.pos_embed": (1, 26, 64),
        "backbone.register_tokens": (1, 4, 64),
        "backbone.mask_token": (1, 64),
        "backbone.patch_embed.proj.weight": (64, 3, 14, 14),
        "backbone.patch_embed.proj.bias": (64,),
        "backbone.blocks.0.attn.qkv.weight": (192, 64),
        "backbone.blocks.0.attn.qkv.bias": (192,),
        "backbone.blocks.0.attn.proj.weight": (64, 64),
        "backbone.blocks.0.attn.proj.bias": (64,),
        "backbone.blocks.0.mlp.fc1.weight": (256, 64),
        "backbone.blocks.0.mlp.fc1.bias": (256,),
        "backbone.blocks.0.mlp.fc2.weight": (64, 256),
        "backbone.blocks.0.mlp.fc2.bias": (64,),
        **{f"backbone.blocks.0.norm{k}.{leaf}": (64,) for k in (1, 2) for leaf in ("weight", "bias")},
        **{f"backbone.blocks.0.ls{k}.gamma": (64,) for k in (1, 2)},
        **{f"backbone.norm.{leaf}": (64,) for leaf in ("weight", "bias")},
        **{
            f"{head}.0.{leaf}": shape for head in ("cls_head", "offset_head") for leaf, shape in (("weight", (64, 64)),)
        },
    }
    tensors = tensors_of(make_weights(shapes)) | {
        "lower_bounds": torch.arange(25) * 2.0 - 40,
        "cls_head.0.bias": torch.zeros(64),
        "offset_head.0.bias": torch.zeros(64),
        "cls_head.2.weight": torch.zeros(25, 64),
        "cls_head.2.bias": torch.eye(25)[7],
        "offset_head.2.weight": torch.zeros(1, 64),
        "offset_head.2.bias": torch.tensor([1.25]),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    estimator = ElevationEstimator.from_checkpoint(tmp_path, "cpu")
    assert estimator.estimate(torch.rand(3, 40, 40)) == pytest.approx(-(-40 + 2 * 7 + 1.25))


def test_another_denoiser_is_refused(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    from externals.diffsplat.networks import load_denoiser

    config = json.loads(json.dumps(UNET | {"in_channels": 4}).replace("MV2D", "2D"))
    write_network(tmp_path / "unet", UNet2DConditionModel, config)
    with pytest.raises(InputError, match="expected 11 channels in, found 4"):
        load_denoiser(tmp_path / "unet", "sd15")
    (tmp_path / "unet" / "config.json").write_text('{"down_block_types": ["NoBlock"]}')
    with pytest.raises(InputError, match=r"config\.json describes no UNet2DConditionModel"):
        load_denoiser(tmp_path / "unet", "sd15")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gsdiff_gobj83k_sd15_image__render: no checkpoint"):
        DiffSplat.from_checkpoint(tmp_path, "cpu")
