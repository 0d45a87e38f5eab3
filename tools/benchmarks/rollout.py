"""Measure how long rollouts of ngff and ngff_impulses take, which does not depend on their weights."""

from collections.abc import Iterator

import torch

from dynamic_models.data.scene_state import SceneState, World, equal_shares
from dynamic_models.models.registry import build_model
from tools.benchmarks.stopwatch import seconds

# The model, objects, keypoints, hidden, steps.
_SMALLER = (
    ("ngff", 3, 512, 128, 100),
    ("ngff", 3, 2048, 128, 100),
    ("ngff_impulses", 3, 512, 64, 100),
    ("ngff_impulses", 3, 2048, 64, 100),
)
_WORKLOADS = {"cpu": _SMALLER, "cuda": (*_SMALLER, ("ngff", 3, 2048, 256, 200))}
_FORMS = {"ngff": {"num_layers": 4}, "ngff_impulses": {"num_layers": 2, "substeps": 16, "contacts": 96}}
# Each variant says whether the model is compiled, and the precision of matrix products.
_VARIANTS = {"cpu": ((False, "float32"),), "cuda": ((False, "float32"), (True, "float32"), (True, "TF32"))}
_FRAMES, _FRAME_DT = 100, 0.02
_REPEATS = 3


def measure(device: torch.device) -> Iterator[dict[str, object]]:
    """Yield a row for each workload: the best of three rollouts of 100 frames by Euler steps, after one to warm up."""
    for model, objects, keypoints, hidden, steps in _WORKLOADS[device.type]:
        for compiled, products in _VARIANTS[device.type]:
            row: dict[str, object] = {"model": model, "compiled": compiled, "products": products, "objects": objects}
            row |= {"keypoints": keypoints, "hidden": hidden, "frames": _FRAMES, "steps": steps}
            torch.set_float32_matmul_precision("high" if products == "TF32" else "highest")
            yield row | {"seconds": _seconds(model, compiled, device, objects, keypoints, hidden, steps)}
    torch.set_float32_matmul_precision("highest")


@torch.no_grad()
def _seconds(
    name: str, compiled: bool, device: torch.device, objects: int, keypoints: int, hidden: int, steps: int
) -> float:
    torch._dynamo.reset()  # PyTorch otherwise stops compiling at the eighth kind of step
    settings: dict[str, object] = {"dynamic_model": name, "hidden_dim": hidden, "threshold": 0.05}
    model = build_model(settings | _FORMS[name] | {"step_size": _FRAMES * _FRAME_DT / steps}).to(device).eval()
    model.compiled = compiled
    state = touching_objects(objects, keypoints).to(device)
    durations = [seconds(lambda: model(state, _FRAMES, _FRAME_DT), device) for _ in range(_REPEATS + 1)]
    return min(durations[1:])


def touching_objects(objects: int, keypoints: int) -> SceneState:
    """Make balls of keypoints so near each other that every step has to search for contacts."""
    generator = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(1, objects, keypoints, 3, generator=generator)
    points[..., 0] += 0.4 * torch.arange(objects)[:, None]
    world, mask = World(), torch.ones(1, objects, keypoints, dtype=torch.bool)
    return SceneState(
        points=points,
        velocities=torch.zeros_like(points),
        rest=points,
        mask=mask,
        materials=torch.ones(1, objects, 4),
        gravity=torch.tensor([world.gravity]),
        walls=torch.tensor([world.walls]),
        shares=equal_shares(mask),
    )
