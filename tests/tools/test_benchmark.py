from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gaussians.stage.errors import InputError
from tools import benchmark
from tools.benchmark import describe_machine, markdown_table, record

CPU = torch.device("cpu")


def test_table_has_a_row_each_and_three_digits() -> None:
    rows: list[dict[str, object]] = [
        {"what": "frame", "Gaussians": 100_000, "s": 0.123456},
        {"what": "clip", "Gaussians": 8, "s": 12345.6},
    ]
    assert markdown_table(rows) == [
        "| what | Gaussians | s |",
        "| --- | --- | --- |",
        "| frame | 100,000 | 0.123 |",
        "| clip | 8 | 12,346 |",
    ]


def test_record_replaces_only_its_own_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\nWords.\n")
    record(page, CPU, "rollout", "one")
    record(page, CPU, "simulator", "two")
    record(page, CPU, "rollout", r"three \1")
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\nWords.\n")
    assert "one" not in text
    assert text.index(r"three \1") < text.index("two")
    assert text.count("<!-- rollout cpu -->") == 1


def test_record_needs_the_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        record(tmp_path / "page.md", CPU, "rollout", "text")


def test_machine_is_named_with_versions() -> None:
    line = describe_machine(CPU)
    assert "cores of " in line
    assert f"torch {torch.__version__.split('+')[0]}" in line


def test_command_records_the_sweep_with_its_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    points = [("particles", 1000, 32), ("particles", 2000, 32), ("grid", 1000, 32), ("grid", 1000, 64)]
    rows = [{"grows": g, "particles": p, "cells a side": n, "ms, median": p / 500} for g, p, n in points]
    monkeypatch.setitem(benchmark.PARTS, "sweep", lambda _: rows)
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
