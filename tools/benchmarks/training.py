"""Measure seconds and memory of an iteration of training, and what its arithmetic alone would take."""

import time
from collections.abc import Iterator
from functools import cache

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.utils.flop_counter import FlopCounterMode

from dynamic_models.data.scene_state import SceneState, collate
from dynamic_models.models.registry import build_model
from dynamic_models.training.backward import Backward
from tools.benchmarks.rollout import touching_objects

_LAYERS = {"ngff": 4, "pointformer": 3, "gcn": 4, "rigidformer": 3}
_WORKLOADS = {"cuda": (8, 2048, 80, 128), "cpu": (4, 128, 20, 64)}  # scenes, keypoints, frames, hidden
_OBJECTS, _FRAME_DT = 3, 0.02
_VARIANTS = {"cuda": (("no", True), ("bf16", True)), "cpu": (("no", False),)}  # precision, compiled
_REPEATS = 5


def measure(device: torch.device) -> Iterator[dict[str, object]]:
    """Yield a row for each model: the median of five iterations after two to warm up, with gradients and the update."""
    scenes, keypoints, frames, hidden = _WORKLOADS[device.type]
    state = collate([touching_objects(_OBJECTS, keypoints)] * scenes).to(device)
    for name, layers in _LAYERS.items():
        settings: dict[str, object] = {"dynamic_model": name, "hidden_dim": hidden, "num_layers": layers}
        if name == "ngff":
            settings |= {"threshold": 0.05, "step_size": _FRAME_DT}
        for precision, compiled in _VARIANTS[device.type]:
            row: dict[str, object] = {"model": name, "precision": precision, "compiled": compiled, "scenes": scenes}
            row |= {"objects": _OBJECTS, "keypoints": keypoints, "frames": frames, "hidden": hidden, "layers": layers}
            yield row | _iteration(settings, precision, compiled, state, frames)


def _iteration(
    settings: dict[str, object], precision: str, compiled: bool, state: SceneState, frames: int
) -> dict[str, object]:
    """Measure an iteration: its seconds, on a GPU its peak GiB, and the cost of its matrix products.

    That cost is their floating-point operations, and the seconds that these take at the rate of a large product in the
    same precision.
    """
    device = state.points.device
    torch.manual_seed(0)
    torch._dynamo.reset()  # PyTorch otherwise stops compiling at the eighth kind of step
    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate otherwise keeps the first precision asked for
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    model = build_model(settings).to(device)
    target = state.points[:, None].expand(-1, frames, -1, -1, -1).contiguous()
    pushes = state.points.new_zeros(len(target), frames - 1, _OBJECTS, 6)
    with FlopCounterMode(display=False) as counter:
        Backward(model, accelerator, "mse", 1, _FRAME_DT).run(state, model.begin(state), target, pushes)
    backward = Backward(model, accelerator, "mse", 1, _FRAME_DT, compiled=compiled)
    optimizer = torch.optim.Adam(model.parameters(), fused=device.type == "cuda")
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(2 + _REPEATS):
        start = time.perf_counter()
        float(backward(state, target, pushes).mean())  # waits for the device
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        times.append(time.perf_counter() - start)
    result: dict[str, object] = {"seconds": sorted(times[2:])[_REPEATS // 2]}
    if device.type == "cuda":
        result["peak GiB"] = torch.cuda.max_memory_reserved(device) / 2**30
    flops, dtype = counter.get_total_flops(), torch.bfloat16 if precision == "bf16" else torch.float32
    return result | {"TFLOP": flops / 1e12, "arithmetic alone": flops / _product_rate(device, dtype)}


@cache
def _product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large matrix product, the best of ten."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the device
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)
