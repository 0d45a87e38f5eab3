"""Measure the rasterizer, rendering, the simulator, models and their training on this machine.

Prints a Markdown table for each part; --record also puts them into docs/benchmarks.md, in place of the last ones
recorded on the same kind of device, with the machine and the versions, and the sweep's plot into docs/images.

  rasterizer  drawing a scene
  render      a clip from its files to videos, each stage alone, and what encoding loses
  simulator   a substep of bodies at rest, in flight, spread out, of mixed materials, and of a large scene
  sweep       a substep against the number of particles and of cells
  bounds      a substep against the time that its data takes through the device's memory
  kernels     what each kernel takes of a substep
  clip        a scene from its files to those of its motion
  rollout     predicting a clip with an NGFF
  training    an iteration of training, of every model
  keypoints   extracting keypoints from a trajectory
  dense_motion  carrying all Gaussians along with the predicted keypoints

On a GPU they measure the published sizes, on a CPU smaller ones.

Examples:
  python -m tools.benchmark
  python -m tools.benchmark --parts rollout --device cpu
  python -m tools.benchmark --parts simulator,sweep,bounds,kernels,clip --record
"""

import os
import platform
import re
from collections.abc import Callable, Iterable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.command_line import ArgumentParser, resolve_device, run
from gaussians.stage.errors import InputError
from tools.benchmarks import bounds as benchmark_bounds
from tools.benchmarks import clip as benchmark_clip
from tools.benchmarks import dense_motion as benchmark_dense_motion
from tools.benchmarks import keypoints as benchmark_keypoints
from tools.benchmarks import rasterizer as benchmark_rasterizer
from tools.benchmarks import render as benchmark_render
from tools.benchmarks import rollout as benchmark_rollout
from tools.benchmarks import simulator as benchmark_simulator
from tools.benchmarks import sweep as benchmark_sweep
from tools.benchmarks import training as benchmark_training

Row = dict[str, object]
PARTS: dict[str, Callable[[torch.device], Iterable[Row]]] = {
    "rasterizer": benchmark_rasterizer.measure,
    "render": benchmark_render.measure,
    "simulator": benchmark_simulator.measure,
    "sweep": benchmark_sweep.measure,
    "bounds": benchmark_bounds.measure,
    "kernels": benchmark_bounds.measure_kernels,
    "clip": benchmark_clip.measure,
    "rollout": benchmark_rollout.measure,
    "training": benchmark_training.measure,
    "keypoints": benchmark_keypoints.measure,
    "dense_motion": benchmark_dense_motion.measure,
}
RECORD = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def markdown_table(rows: list[Row]) -> list[str]:
    """Rows with the same keys as the lines of a Markdown table; numbers get three significant digits."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    return lines + ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def describe_machine(device: torch.device) -> str:
    """Processor or GPU, and the versions that matter, in one line."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        cpuinfo = Path("/proc/cpuinfo")
        models = re.findall(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.is_file() else []
        hardware = f"{os.cpu_count()} cores of {models[0] if models else platform.processor() or platform.machine()}"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "warp-lang", "gsplat", "numpy"))
    return f"{hardware}; Python {platform.python_version()}, {versions}; {date.today().isoformat()}"


def record(path: Path, device: torch.device, part: str, text: str) -> None:
    """Put ``text`` between the part's marks for this kind of device, or at the end if there are none yet.

    Raises:
        InputError: the page is not there.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    begin, end = f"<!-- {part} {device.type} -->", f"<!-- end {part} {device.type} -->"
    block = f"{begin}\n{text}\n{end}"
    page = path.read_text(encoding="utf-8")
    found = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    page = found.sub(lambda _: block, page) if found.search(page) else f"{page.rstrip()}\n\n{block}\n"
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def main() -> None:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure, with commas")
    parser.add_argument("--record", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_device()
    args = parser.parse_args()
    parts = args.parts.split(",")
    for part in parts:
        if part not in PARTS:
            raise InputError(f"--parts: expected {', '.join(PARTS)}, found {part!r}")
    device = resolve_device(args.device)
    machine = describe_machine(device)
    print(machine)
    for part in parts:
        print(f"\n{part}\n", flush=True)
        rows: list[Row] = []
        table: list[str] = []
        for row in PARTS[part](device):
            rows.append(row)
            shown, table = len(table), markdown_table(rows)
            print("\n".join(table[shown:]), flush=True)
        if args.record:
            text = "\n".join([f"{machine}\n", *table])
            if part == "sweep":
                picture = Path("images") / f"benchmark_simulator_{device.type}.png"
                benchmark_sweep.plot(rows, device, machine.split(";")[0], RECORD.parent / picture)
                text += f"\n\n![Milliseconds a substep against particles and against cells]({picture})"
            record(RECORD, device, part, text)
    if args.record:
        print(f"\nrecorded {', '.join(parts)} in {RECORD}")


if __name__ == "__main__":
    run(main)
