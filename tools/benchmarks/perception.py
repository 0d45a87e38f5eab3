"""Measure the seconds and memory that perception models take, which do not depend on their weights: random ones."""

import gc
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from externals.pi3_splat import Pi3Splat
from externals.pi3_splat.network import Pi3Network, Pi3Sizes
from tools.benchmarks.stopwatch import peak_bytes, reset_peak, seconds

_REPEATS = 3
_PI3_SMALLER = Pi3Sizes(encoder_depth=2, decoder_depth=4, head_depth=1)
# Of Pi3_splat: sizes, and how many pictures of which side.
_PI3_WORKLOADS = {"cpu": (_PI3_SMALLER, 2, 112), "cuda": (Pi3Sizes(), 20, 448)}


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


_MODELS: tuple[Callable[[torch.device], Iterator[Work]], ...] = (_pi3_splat,)
