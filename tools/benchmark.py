"""Measure the rasterizer, rendering, the simulator, models and their training on this machine.

It prints a Markdown table for each part. --record also puts the tables into docs/benchmarks.md, in place of the last
ones recorded on the same kind of device, with the machine and the versions, and the plots of the sweep and of contact
into docs/images.

  rasterizer  drawing a scene
  render      a clip from its files to videos, each stage alone, and what encoding loses
  simulator   a substep of bodies at rest, in flight, spread out, of mixed materials, and of a large scene
  sweep       a substep against the number of particles and of cells
  contact     blocks that slide on slopes and balls that collide, against the mechanics of rigid bodies
  rigid_bodies  balls and a box that collide, against MuJoCo
  bounds      a substep against the time that its data takes through the device's memory
  kernels     what each kernel takes of a substep
  clip        a scene from its files to those of its motion
  rollout     predicting a clip with an NGFF
  training    an iteration of training, of every model
  keypoints   extracting keypoints from a trajectory
  dense_motion  carrying all Gaussians along with the predicted keypoints
  live        predicting and packing what browsers show while people push it
  perception  the perception models, in their real sizes on a GPU, with random weights

On a GPU the published sizes are measured, on a CPU smaller ones.

Examples:
  python -m tools.benchmark
  python -m tools.benchmark --parts rollout --device cpu
  python -m tools.benchmark --parts simulator,sweep,bounds,kernels,clip --record
"""

import importlib
from dataclasses import dataclass
from pathlib import Path

from gaussians.stage.command_line import ArgumentParser, resolve_device, run
from gaussians.stage.errors import InputError

# The module below tools.benchmarks that measures each part, and its function of a device.
PARTS = {
    "rasterizer": ("rasterizer", "measure"),
    "render": ("render", "measure"),
    "simulator": ("simulation.simulator", "measure"),
    "sweep": ("simulation.sweep", "measure"),
    "contact": ("simulation.contact", "measure"),
    "rigid_bodies": ("simulation.rigid_bodies", "measure"),
    "bounds": ("simulation.bounds", "measure"),
    "kernels": ("simulation.bounds", "measure_kernels"),
    "clip": ("simulation.clip", "measure"),
    "rollout": ("rollout", "measure"),
    "training": ("training", "measure"),
    "keypoints": ("keypoints", "measure"),
    "dense_motion": ("dense_motion", "measure"),
    "live": ("live", "measure"),
    "perception": ("perception", "measure"),
}
# What each plot is called, and what it shows.
PICTURES = {
    "sweep": ("benchmark_simulator", "Milliseconds a substep against particles and against cells"),
    "contact": ("contact", "Accelerations of a block on slopes, and what elastic balls lose in a collision"),
}
RECORD = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class BenchmarkSettings:
    """A ``BenchmarkSettings`` says what to measure, and on which device.

    Attributes:
        parts: names in ``PARTS``, in the order in which they are measured.
        record: whether to put the tables into docs/benchmarks.md.
        device: "auto", "cpu" or "cuda".
    """

    parts: tuple[str, ...]
    record: bool
    device: str


def parse_settings() -> BenchmarkSettings:
    """Parse the command line.

    Raises:
        InputError: there is no such part.
    """
    parser = ArgumentParser(__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="parts to measure, separated by commas")
    parser.add_argument("--record", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_device()
    arguments = parser.parse_args()
    parts = tuple(arguments.parts.split(","))
    for part in parts:
        if part not in PARTS:
            raise InputError(f"--parts: expected {', '.join(PARTS)}, found {part!r}")
    return BenchmarkSettings(parts, arguments.record, arguments.device)


def main() -> None:
    settings = parse_settings()

    from tools.benchmarks.record import Row, describe_machine, markdown_table, record

    device = resolve_device(settings.device)
    machine = describe_machine(device)
    print(machine)
    for part in settings.parts:
        print(f"\n{part}\n", flush=True)
        # Import only the part's own module: some need libraries that others do not.
        module_name, function = PARTS[part]
        module = importlib.import_module(f"tools.benchmarks.{module_name}")
        rows: list[Row] = []
        table: list[str] = []
        for row in getattr(module, function)(device):
            rows.append(row)
            shown, table = len(table), markdown_table(rows)
            print("\n".join(table[shown:]), flush=True)
        if settings.record:
            text = "\n".join([f"{machine}\n", *table])
            if part in PICTURES:
                name, caption = PICTURES[part]
                picture = Path("images") / f"{name}_{device.type}.png"
                module.plot(rows, device, machine.split(";")[0], RECORD.parent / picture)
                text += f"\n\n![{caption}]({picture})"
            record(RECORD, device, part, text)
    if settings.record:
        print(f"\nrecorded {', '.join(settings.parts)} in {RECORD}")


if __name__ == "__main__":
    run(main)
