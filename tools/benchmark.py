"""Measure the rasterizer, the simulator and the rollout on this machine.

Prints a Markdown table each; --record also puts them into docs/benchmarks.md, in place of the last ones recorded on
the same kind of device, with the machine and the versions.

Examples:
  python -m tools.benchmark
  python -m tools.benchmark --parts rollout --device cpu
  python -m tools.benchmark --record
"""

import os
import platform
import re
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from gaussians.command_line import ArgumentParser, resolve_device, run
from gaussians.errors import InputError
from gaussians.files import atomic_path
from tools import benchmark_rasterizer, benchmark_rollout, benchmark_simulator

Row = dict[str, object]
PARTS: dict[str, Callable[[torch.device], list[Row]]] = {
    "rasterizer": benchmark_rasterizer.measure,
    "simulator": benchmark_simulator.measure,
    "rollout": benchmark_rollout.measure,
}
RECORD = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def markdown_table(rows: list[Row]) -> str:
    """Rows with the same keys as a Markdown table; numbers get three significant digits."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


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
        table = markdown_table(PARTS[part](device))
        print(f"\n{part}\n\n{table}", flush=True)
        if args.record:
            record(RECORD, device, part, f"{machine}\n\n{table}")
    if args.record:
        print(f"\nrecorded {', '.join(parts)} in {RECORD}")


if __name__ == "__main__":
    run(main)
