"""How many threads commands choose."""

import os
import subprocess
import sys

import pytest

from gaussians.stage.threads import choose_threads, core_count
from tests.conftest import ROOT


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nobody has chosen anything, on a machine of eight cores without control groups."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "SLURM_CPUS_PER_TASK"):
        monkeypatch.setenv(name, "")  # so that what is set is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("gaussians.stage.threads.cpu_quotas", lambda *_: iter(()))
    core_count.cache_clear()
    return monkeypatch


@pytest.fixture(autouse=True)
def forgotten() -> None:
    core_count.cache_clear()


def test_slurm_and_quotas_leave_fewer_cores(bare: pytest.MonkeyPatch) -> None:
    assert core_count() == 8
    bare.setenv("SLURM_CPUS_PER_TASK", "3")
    core_count.cache_clear()
    assert core_count() == 3
    bare.setattr("gaussians.stage.threads.cpu_quotas", lambda *_: iter((2.5, 0.5)))
    core_count.cache_clear()
    assert core_count() == 1


def test_what_a_person_chose_stays(bare: pytest.MonkeyPatch) -> None:
    choose_threads()
    assert "OMP_NUM_THREADS" not in os.environ  # it may use all cores, as it does by itself
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    bare.setenv("SLURM_CPUS_PER_TASK", "3")
    core_count.cache_clear()
    choose_threads()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    bare.setenv("OMP_NUM_THREADS", "5")
    bare.setenv("OMP_WAIT_POLICY", "active")
    choose_threads()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("5", "active")
    bare.delenv("OMP_WAIT_POLICY")
    bare.setenv("GOMP_SPINCOUNT", "100")
    choose_threads()
    assert "OMP_WAIT_POLICY" not in os.environ


def test_commands_do_not_spin() -> None:
    """OpenMP reports its settings as it is loaded: with PyTorch, after a command has begun."""
    program = "from gaussians.stage.command_line import run; run(lambda: __import__('torch'))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    environment |= {"OMP_DISPLAY_ENV": "true", "SLURM_CPUS_PER_TASK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert "OMP_NUM_THREADS = '1'" in done.stderr
