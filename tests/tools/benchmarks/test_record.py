from pathlib import Path

import pytest
import torch

from gaussians.stage.errors import InputError
from tools.benchmarks.record import describe_machine, markdown_table, record

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
