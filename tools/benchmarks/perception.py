"""Measure the seconds and memory that perception models take, which do not depend on their weights: random ones."""

import gc
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from externals.diffsplat.versions import Version
from externals.pi3_splat import Pi3Splat
from externals.pi3_splat.network import Pi3Network, Pi3Sizes
from externals.sam2 import SIZES, ObjectPrompt, Sam2
from tools.benchmarks.generation import GenerationSizes, random_diffsplat, random_osediff
from tools.benchmarks.stopwatch import peak_bytes, reset_peak, seconds

_REPEATS = 3
_PI3_SMALLER = Pi3Sizes(encoder_depth=2, decoder_depth=4, head_depth=1)
# Of Pi3_splat: sizes, and how many pictures of which side.
_PI3_WORKLOADS = {"cpu": (_PI3_SMALLER, 2, 112), "cuda": (Pi3Sizes(), 20, 448)}
# Of SAM 2.1: its size, the pixels of a side of what it sees, how many pictures of which side, and how many objects.
_SAM2_WORKLOADS = {"cpu": ("tiny", 128, 2, 64, 1), "cuda": ("large", 1024, 20, 448, 3)}
_UNET_SMALLER = {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
    "cross_attention_dim": 32,
}
_CLIP_SMALLER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_GENERATION_SMALLER = GenerationSizes(
    unet=_UNET_SMALLER | {"in_channels": 11},
    sd3={
        "in_channels": 23,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 64,
        "pos_embed_max_size": 16,
        "dual_attention_layers": [0],
        "qk_norm": "rms_norm",
    },
    sharpener=_UNET_SMALLER,
    autoencoder={
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [8] * 4,
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    texts=_CLIP_SMALLER | {"projection_dim": 32},
    larger_texts=_CLIP_SMALLER | {"projection_dim": 32},
    sharpener_texts=_CLIP_SMALLER,
)
# Of OSEDiff and DiffSplat: sizes, the type of OSEDiff's matrix products, and the longer side of what OSEDiff makes.
_GENERATION_WORKLOADS = {
    "cpu": (_GENERATION_SMALLER, torch.float32, 128),
    "cuda": (GenerationSizes(), torch.bfloat16, 768),
}


@dataclass(frozen=True)
class Work:
    """A ``Work`` is what one row measures.

    Attributes:
        model, products: the model, and the type of its matrix products.
        described: what it is given.
        do: does it once.
    """

    model: str
    products: str
    described: str
    do: Callable[[], object]


def measure(device: torch.device) -> Iterator[dict[str, object]]:
    """Yield a row for each model: the median of three calls after one to warm up, and the peak of memory, weights too.

    On a CPU, where the whole process's memory counts, the models are much smaller ones.
    """
    for prepare in _MODELS:
        for work in prepare(device):
            gc.collect()
            reset_peak(device)
            durations = [seconds(work.do, device) for _ in range(_REPEATS + 1)]
            row: dict[str, object] = {"model": work.model, "products": work.products, "work": work.described}
            yield row | {"seconds": statistics.median(durations[1:]), "peak GiB": peak_bytes(device) / 2**30}


def _pi3_splat(device: torch.device) -> Iterator[Work]:
    sizes, views, side = _PI3_WORKLOADS[device.type]
    images = torch.rand(views, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    for dtype in (torch.bfloat16, torch.float32):
        with device:
            network = Pi3Network(sizes).eval().requires_grad_(False)
        model = Pi3Splat(network, dtype)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        described = f"{views} pictures of {side} x {side}, {parameters / 1e6:,.0f} M parameters"
        yield Work("Pi3_splat", str(dtype).removeprefix("torch."), described, lambda m=model: m.reconstruct(images))  # type: ignore[misc]
        del network, model


def _sam2(device: torch.device) -> Iterator[Work]:
    from transformers import Sam2VideoModel

    name, seen, views, side, objects = _SAM2_WORKLOADS[device.type]
    with device:
        model = Sam2(Sam2VideoModel(SIZES[name].settings(seen)).eval(), device)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (views, side, side, 3), dtype=torch.uint8, generator=generator)
    step = side // (objects + 1)
    prompts = [ObjectPrompt(0, box=(step * k, step, step * (k + 1), 2 * step)) for k in range(objects)]
    described = f"{views} pictures of {side} x {side}, {objects} objects"
    yield Work(f"SAM 2.1 {name}", "float32", described, lambda: model.segment(frames, prompts))


def _osediff(device: torch.device) -> Iterator[Work]:
    sizes, dtype, side = _GENERATION_WORKLOADS[device.type]
    model = random_osediff(sizes, dtype, device)
    image, _ = _picture(device)
    described = f"a picture to {side} x {side}"
    yield Work("OSEDiff", str(dtype).removeprefix("torch."), described, lambda: model.enlarge(image, "a mug", side))


def _diffsplat(device: torch.device) -> Iterator[Work]:
    sizes, dtype, _ = _GENERATION_WORKLOADS[device.type]
    image, mask = _picture(device)
    versions: tuple[Version, ...] = ("sd15", "sd35m")
    for version in versions:
        model = random_diffsplat(sizes, version, device)
        name = f"DiffSplat {version}"
        yield Work(
            name,
            str(dtype).removeprefix("torch."),
            "an object",
            lambda m=model: m.complete(image, mask, "a mug", 20.0),  # type: ignore[misc]
        )
        del model


def _picture(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a picture (256, 256, 3) and its object (256, 256)."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (256, 256, 3), dtype=torch.uint8, generator=generator)
    mask = torch.zeros(256, 256, dtype=torch.bool)
    mask[32:224, 32:224] = True
    return image.to(device), mask.to(device)


_MODELS: tuple[Callable[[torch.device], Iterator[Work]], ...] = (_pi3_splat, _sam2, _osediff, _diffsplat)
