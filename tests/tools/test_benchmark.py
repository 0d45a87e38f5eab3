from collections.abc import Callable
from pathlib import Path

import pytest

from gaussians.stage.errors import InputError
from tools import benchmark
from tools.benchmarks.simulation import sweep


def test_command_records_the_sweep_with_its_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    points = [("particles", 1000, 32), ("particles", 2000, 32), ("grid", 1000, 32), ("grid", 1000, 64)]
    rows = [{"grows": g, "particles": p, "cells a side": n, "ms, median": p / 500} for g, p, n in points]
    monkeypatch.setattr(sweep, "measure", lambda _: rows)
    monkeypatch.setattr(benchmark, "RECORD", tmp_path / "page.md")
    (tmp_path / "page.md").write_text("# Benchmarks\n")
    command("tools.benchmark", "--parts", "sweep", "--device", "cpu", "--record")
    page = (tmp_path / "page.md").read_text()
    assert "| grid | 1,000 | 64 | 2 |" in page
    assert "(images/benchmark_simulator_cpu.png)" in page
    assert (tmp_path / "images" / "benchmark_simulator_cpu.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines()[-1] == f"recorded sweep in {tmp_path / 'page.md'}"


def test_command_names_the_parts_there_are(command: Callable[..., None]) -> None:
    with pytest.raises(InputError, match=r"--parts: expected rasterizer, render, .*, found 'simulaton'"):
        command("tools.benchmark", "--parts", "simulaton")
