"""Show measurements as Markdown tables, and record them on a page."""

import os
import platform
import re
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from gaussians.stage.atomic_files import atomic_path
from gaussians.stage.errors import InputError

Row = dict[str, object]


def markdown_table(rows: list[Row]) -> list[str]:
    """Return rows with the same keys as the lines of a Markdown table; numbers get three significant digits."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    return lines + ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def describe_machine(device: torch.device) -> str:
    """Return the processor or GPU, and the versions that matter, in one line."""
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
