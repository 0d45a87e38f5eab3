"""The project as an installed package."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gaussians.stage.command_line import EXTRAS

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the installed package and nothing else of this repository."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    archive = subprocess.run(["tar", "c", "--null", "-T", "-"], cwd=ROOT, input=files, capture_output=True, check=True)
    subprocess.run(["tar", "x"], cwd=source, input=archive.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", target, source], check=True)
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where only the installed package is found."""
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=installed.parent, env=environment, capture_output=True, text=True, check=False
    )


def test_commands_run_from_any_directory(installed: Path) -> None:
    for module in ("dataset.render", "dynamic_models.train", "videogen.eval"):
        found = run(installed, "-m", module, "--help")
        assert found.returncode == 0, found.stderr
        assert found.stdout.startswith("usage:")


def test_settings_types_and_trained_weights_are_installed(installed: Path) -> None:
    code = """
from dataset.config import load_config
from dynamic_models.models.checkpoints import load_checkpoint
from dynamic_models.models.registry import SHIPPED
print(load_config("quickstart_config").n_grid, load_checkpoint(SHIPPED / "ngff")[1].num_keypoints, SHIPPED)
"""
    found = run(installed, "-c", code)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split()[:1] == ["64"]
    assert str(installed) in found.stdout
    for room in ("gaussians", "dataset", "dynamic_models", "videogen"):
        assert (installed / room / "py.typed").is_file()


def test_requirements_pin_what_the_package_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = [entry for name, entries in extras.items() if name != "all" for entry in entries]
    depends = [*project["dependencies"], *optional]
    declared = {re.split(r"[<>=]", entry)[0].lower().replace("_", "-") for entry in depends}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert declared == pinned
    for library, extra in EXTRAS.items():
        assert any(entry.startswith(f"{library}>") for entry in extras[extra])
