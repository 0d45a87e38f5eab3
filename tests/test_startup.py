"""Every command answers --help and a wrong argument before it loads what its work needs."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

COMMANDS = (
    "dataset.generate_objects",
    "dataset.generate_configs",
    "dataset.generate_scene",
    "dataset.gs_simulation_scene",
    "dataset.render",
    "dataset.summarize",
    "dynamic_models.train",
    "dynamic_models.evaluate",
    "videogen.eval",
    "videogen.evaluate",
    "videogen.pipeline_reconstruct_and_eval",
    "videogen.reconstruct",
    "videogen.side_by_side",
    "tools.benchmark",
    "tools.check_dataset",
    "tools.download",
    "tools.gaussian_viser",
    "tools.interactive",
)
HEAVY = {
    *("torch", "numpy", "scipy", "warp", "pydantic", "h5py", "cv2", "imageio", "skimage", "trimesh", "matplotlib"),
    *("accelerate", "viser", "huggingface_hub", "httpx2", "pooch"),
}


def answer(command: str, argument: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """What ``python -m command argument`` says, and the heavy libraries that it loads for that."""
    line = [sys.executable, "-X", "importtime", "-m", command, argument]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    loaded = {name.partition(".")[0] for name in re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE)}
    assert "argparse" in loaded
    done.stderr = re.sub(r"^import time:.*\n", "", done.stderr, flags=re.MULTILINE)
    return done, loaded & HEAVY


def test_every_command_is_here() -> None:
    programs = [path for path in ROOT.glob("*/*.py") if "    run(main)\n" in path.read_text(encoding="utf-8")]
    assert {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in programs} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_before_anything_heavy_is_loaded(command: str) -> None:
    done, loaded = answer(command, "--help")
    assert (done.returncode, done.stderr, loaded) == (0, "", set())
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_argument_is_one_line_before_anything_heavy_is_loaded(command: str) -> None:
    done, loaded = answer(command, "--no_such_flag")
    assert (done.returncode, done.stdout, loaded) == (2, "", set())
    assert re.fullmatch(r"error: .*\n", done.stderr)
