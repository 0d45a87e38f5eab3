"""Run DiffSplat's and OSEDiff's networks on the arrays of their goldens."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.externals.gsrecon import GSRecon

Arrays = dict[str, np.ndarray]
Inputs = Mapping[str, np.ndarray]
Weights = Mapping[str, Any]


def tensors_of(weights: Weights) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}


def write_part(folder: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Path:
    """Write a network as diffusers does, and return its folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(weights), folder / "diffusion_pytorch_model.safetensors")
    return folder


def config_of(inputs: Inputs, name: str) -> dict[str, Any]:
    return json.loads(str(inputs[name]))


def tensor(inputs: Inputs, name: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(inputs[name]))


@torch.inference_mode()
def diffsplat_mv_denoisers(weights: Weights, inputs: Inputs) -> Arrays:
    """Return what both denoisers predict of two objects."""
    from externals.diffsplat.networks import load_denoiser

    with TemporaryDirectory() as folder:
        unet_folder, sd3_folder = (
            write_part(Path(folder) / name, config_of(inputs, f"{name}_config"), tensors_of(weights[name]))
            for name in ("unet", "sd3")
        )
        unet, sd3 = load_denoiser(unet_folder, "sd15"), load_denoiser(sd3_folder, "sd35m")
        unet_out = unet(
            tensor(inputs, "unet_sample"), tensor(inputs, "unet_timestep"), tensor(inputs, "unet_encoder_hidden_states")
        ).sample
        sd3_out = sd3(
            tensor(inputs, "sd3_sample"),
            encoder_hidden_states=tensor(inputs, "sd3_encoder_hidden_states"),
            pooled_projections=tensor(inputs, "sd3_pooled"),
            timestep=tensor(inputs, "sd3_timestep"),
        ).sample
        return {"unet_out": unet_out.numpy(), "sd3_out": sd3_out.numpy()}


@torch.inference_mode()
def diffsplat_sd15_loop(weights: Weights, inputs: Inputs) -> Arrays:
    """Return the latents that twenty steps make of given noise."""
    from externals.diffsplat.denoising import TextEmbeddings, generate_latents
    from externals.diffsplat.diffsplat import picture_latent
    from externals.diffsplat.networks import load_denoiser
    from externals.stable_diffusion import load_autoencoder

    with TemporaryDirectory() as folder:
        unet, vae = (
            write_part(Path(folder) / name, config_of(inputs, f"{name}_config"), tensors_of(weights[name]))
            for name in ("unet", "vae")
        )
        noise = iter([tensor(inputs, "initial_latents"), *tensor(inputs, "step_noise")])
        latents = generate_latents(
            load_denoiser(unet, "sd15"),
            "sd15",
            picture_latent(load_autoencoder(vae), tensor(inputs, "image")[0, 0]),
            tensor(inputs, "plucker"),
            TextEmbeddings(torch.cat([tensor(inputs, "negative_prompt_embeds"), tensor(inputs, "prompt_embeds")])),
            lambda shape: next(noise).reshape(shape),
        )
        return {"final_latents": latents.numpy()}


@torch.inference_mode()
def diffsplat_gsrecon_geometry(weights: Weights, inputs: Inputs) -> Arrays:
    """Return cameras, their rays, the maps of the published network, and the Gaussians of those maps."""
    from externals.diffsplat.orbit import FOCAL, VIEWS, camera_to_world, orbit_cameras, plucker_maps
    from externals.diffsplat.splat_maps import gaussians_of_maps
    from gaussians.spherical_harmonics import sh_to_rgb

    images = tensor(inputs, "images")
    # The published angle counts downwards.
    cameras = orbit_cameras(-float(inputs["elevation_deg_into_orbit"]), images.shape[-1])
    plucker = plucker_maps(cameras)[None]
    heads = config_of(inputs, "config")["num_heads"]
    maps = GSRecon(tensors_of(weights), heads)(images, plucker)
    joined = torch.cat([maps[name] for name in ("rgb", "scale", "rotation", "opacity", "depth")], 2)[0]
    gaussians = gaussians_of_maps(joined, cameras)
    assert gaussians.scales is not None
    assert gaussians.quaternions is not None
    poses = camera_to_world(cameras)
    outputs = {
        "orbit_c2w_opengl": poses * torch.tensor([1.0, -1.0, -1.0, 1.0]),
        "c2w_opencv": poses,
        "fxfycxcy": torch.tensor([FOCAL, FOCAL, 0.5, 0.5]).expand(VIEWS, 4),
        "plucker": plucker,
        "gauss_xyz": gaussians.means,
        "gauss_rgb": sh_to_rgb(gaussians.sh, torch.zeros_like(gaussians.means)),
        "gauss_scale": gaussians.scales,
        "gauss_rotation": gaussians.quaternions,
        "gauss_opacity": gaussians.opacities[:, None],
    }
    return {name: value.numpy() for name, value in outputs.items()} | {
        f"out_{name}": value.numpy() for name, value in maps.items()
    }


def write_osediff(folder: Path, weights: Mapping[str, Weights], inputs: Inputs) -> Path:
    """Write Stable Diffusion and OSEDiff's pickle as published, of weights by peft's names, and return the folder."""
    targets, rank = json.loads(str(inputs["targets"])), int(inputs["rank"])
    pickle: dict[str, Any] = {"rank_unet": rank, "rank_vae": rank, **targets}
    for network in ("unet", "vae"):
        tensors = tensors_of(weights[network])
        base = {name.replace(".base_layer.", "."): values for name, values in tensors.items() if ".lora_" not in name}
        kept = {name: values for name, values in tensors.items() if ".lora_" in name}
        if network == "unet":  # of which the pickle has the first layer as well
            kept |= {name: values for name, values in tensors.items() if "conv_in" in name}
            base |= {name: torch.zeros_like(values) for name, values in base.items() if name.startswith("conv_in.")}
        write_part(folder / "stable-diffusion-2-1-base" / network, config_of(inputs, f"{network}_config"), base)
        pickle[f"state_dict_{network}"] = kept
    torch.save(pickle, folder / "osediff.pkl")
    return folder


@torch.inference_mode()
def osediff_tiny(weights: Weights, inputs: Inputs) -> Arrays:
    """Return what OSEDiff makes of a picture and a text's embedding, step by step."""
    from externals.osediff.osediff import OSEDiff, load_networks

    with TemporaryDirectory() as folder:
        denoiser, autoencoder = load_networks(write_osediff(Path(folder), weights, inputs))
        model = OSEDiff(denoiser, autoencoder, None)
        image = tensor(inputs, "image")
        expected = autoencoder.encode(2 * image - 1).latent_dist
        latent = model.latent(image)
        tokens = tensor(inputs, "encoder_hidden_states")
        sharp = model.denoise(latent, tokens)
        decoded = model.decode(sharp)
        outputs = {
            "latent_mean": expected.mean,
            # diffusers cuts off what the golden has as it comes
            "latent_logvar": autoencoder.quant_conv(autoencoder.encoder(2 * image - 1)).chunk(2, 1)[1],
            "latent_scaled_mode": latent,
            "eps": model.predict(latent, tokens),
            "x0_latent": sharp,
            "decoded_before_clamp": decoded,
            "decoded": decoded.clamp(-1, 1),
        }
        return {name: value.numpy() for name, value in outputs.items()}


def write_ram(folder: Path, weights: Weights) -> Path:
    """Write RAM and DAPE as published, and return the folder."""
    tensors = tensors_of(weights)
    ram = {
        name.replace("tagging_head.", "vision_multi."): values
        for name, values in tensors.items()
        if ".lora_" not in name
    }
    ram["text_decoder.cls.predictions.bias"] = torch.zeros(4)
    torch.save({"model": ram}, folder / "ram_swin_large_14m.pth")
    torch.save({name: values for name, values in tensors.items() if ".lora_" in name}, folder / "DAPE.pth")
    return folder


@torch.inference_mode()
def ram_dape_tiny(weights: Weights, inputs: Inputs) -> Arrays:
    """Return what a picture's tokens are, and the tags' logits."""
    from externals.osediff.tag_network import TagNetwork

    with TemporaryDirectory() as folder:
        network = TagNetwork.from_checkpoint(write_ram(Path(folder), weights))
        visual = network.encode(tensor(inputs, "image"))
        projected = network.project(visual)
        outputs = {"visual": visual, "image_embeds": projected, "logits": network.decode(projected)}
        return {name: value.numpy() for name, value in outputs.items()}
